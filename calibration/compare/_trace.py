"""Theory beside the recorded tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import estimators
from calibration.calibration import Calibration
from calibration.compare import _ledgers
from calibration.compare._rows import (
    ROUNDING,
    Entry,
    Floats,
    Ratios,
    Row,
    add_skips,
    judge,
    largest_variance,
    needed,
)
from calibration.trace import Trace
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.law import Beta, Recorded
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes import SCHEMES, Ledger, Scheme, charged, independent_rounds, recorded_rounds
from cuhlm_theory.schemes.ledger import resync_bit_per_transmission

_SKIP_RATES = (0.05, 0.2, 0.4)  # where the skip rule is tried


def compare_trace(
    recorded: Trace,
    calibration: Calibration,
    system: System,
    *,
    numbers: Mapping[str, Any] | None = None,
    budgets: Sequence[float] = (0.02, 0.05, 0.1),
    seed: int = 0,
    num_resamples: int = 2000,
) -> list[Row]:
    """Compare theory with the recorded tokens.

    Verification, sampling noise, skip rule, truncation, schemes, rounds, then fitted models. ``numbers`` are
    the truncation budget and the offline k of the schemes; ``budgets`` are risks that thresholds are chosen
    for. A trace without a profile raises `MissingInputError`.
    """
    tokens = recorded.tokens()
    if tokens.prompt is None:
        raise MissingInputError("the trace must say which prompt each token belongs to")
    table = Ratios(tokens.prompt, "trace")
    _verification_rows(table, tokens)
    _noise_rows(table, recorded.columns)
    grid = _grid_thresholds(tokens, calibration)
    _skip_rows(table, tokens, grid)
    _truncation_rows(table, tokens, recorded)
    told = {"truncation_budget": 0.02, "line": calibration.line}
    told |= {"threshold": grid[len(grid) // 2], **(numbers or {})}
    _scheme_rows(table, tokens, recorded, system, told)
    rows = table.rows(seed=seed, num_resamples=num_resamples)
    rows += _attenuation_rows(recorded.columns, seed=seed, num_resamples=num_resamples)
    models = Ratios(tokens.prompt, "trace")
    _round_rows(models, tokens, grid)
    _line_rows(models, tokens, calibration, grid, budgets)
    _server_rows(models, tokens, grid)
    return rows + models.rows(seed=seed, num_resamples=num_resamples)


def _grid_thresholds(tokens: Tokens, calibration: Calibration) -> list[float]:
    """Thresholds of the recorded grid: nearest to the risk-averse one and to three quantiles of u."""
    if tokens.threshold_grid is None:
        raise MissingInputError("the trace must hold skip profiles on a threshold grid")
    wanted = [float(value) for value in np.quantile(tokens.uncertainty, _SKIP_RATES)]
    averse = calibration.estimates["risk_averse"]
    if averse is not None and averse > 0.0:
        wanted.append(averse)
    inside = tokens.threshold_grid[tokens.threshold_grid < 1.0]  # at 1 everything is skipped
    places = {int(np.argmin(np.abs(inside - value))) for value in wanted}
    return [float(tokens.threshold_grid[place]) for place in sorted(places)]


def _at(tokens: Tokens, name: str, threshold: float) -> Floats:
    place = tokens.threshold_place(threshold)
    if place is None or place < 0:
        raise MissingInputError(f"the trace must hold {name} at the threshold {threshold:g}")
    return np.asarray(needed(tokens, name)[:, place], dtype=np.float64)


def _verification_rows(table: Ratios, tokens: Tokens) -> None:
    tv = np.asarray(needed(tokens, "tv"))
    table.add(
        "mean rejection of a draft",
        tv,
        tokens.rejection,
        variance=largest_variance(tv),
        basis="E_{d~x} beta_d = TV(x, y) [SD]; predicted from full distributions, measured on drawn drafts",
    )


def _noise_rows(table: Ratios, columns: Mapping[str, NDArray[Any]]) -> None:
    mean = columns["uncertainty"].astype(np.float64)
    for num_samples, name in estimators.SAMPLE_COLUMNS.items():
        u = columns[name].astype(np.float64)
        coin = mean * (1.0 - mean)
        table.add(
            f"mean u at M = {num_samples}",
            mean,
            u,
            basis="E[u | context, draft] = u-bar (uncertainty.mean_uncertainty)",
            variance=coin / num_samples,
        )
        fourth = (coin * (1.0 - 6.0 * coin) + 3.0 * num_samples * coin**2) / num_samples**3
        table.add(
            f"variance of u around u-bar at M = {num_samples}",
            coin / num_samples,
            (u - mean) ** 2,
            basis="M u is binomial (uncertainty.disagreement_count_pmf)",
            variance=fourth - (coin / num_samples) ** 2,
        )


def _skip_rows(table: Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    for value in grid:
        mass, risk = _at(tokens, "skip_mass", value), _at(tokens, "skip_risk", value)
        skipped = (tokens.uncertainty <= value).astype(np.float64)
        loss = tokens.rejection * skipped
        add_skips(table, f"{{}} at u_th = {value:g}", (mass, risk), skipped, loss, ", over the vocabulary")


def _truncation_rows(table: Ratios, tokens: Tokens, recorded: Trace) -> None:
    k_grid, coarse = needed(tokens, "k_grid"), needed(tokens, "coarse_k_grid")
    profile, output = needed(tokens, "tv_profile"), needed(tokens, "output_bias")
    tail, accepted = needed(tokens, "tail_mass"), needed(tokens, "truncated_acceptance")
    tv = needed(tokens, "tv")
    place = np.searchsorted(k_grid, coarse)  # every coarse size is on the fine grid
    over = output > profile[:, place] + ROUNDING
    table.add(
        "share of contexts where truncation costs more than TV_k",
        0.0,
        over.any(axis=1),
        bound=True,
        basis="the bound of verification.data_processing, at every recorded k",
    )
    for size in (4, 30, 256):
        if size in coarse:
            column = int(np.searchsorted(coarse, size))
            table.add(
                f"output bias of k = {size}, nothing skipped",
                profile[:, place[column]],
                output[:, column],
                bound=True,
                basis="at most TV_k (verification.bias_bound)",
            )
            table.add(
                f"rejection of drafts from the top {size}",
                tv + tail[:, place[column]],
                1.0 - accepted[:, column],
                bound=True,
                basis="TV(x-tilde_k, y) is at most TV(x, y) + the dropped mass (truncation.drop_tail)",
            )
    table.add(
        "rejection of drafts from the top V",
        tv,
        1.0 - accepted[:, -1],
        basis="nothing is dropped, so TV(x, y) (truncation.drop_tail)",
    )
    exact, printed = recorded.columns["k_exact"], recorded.columns["k_printed"]
    for i, budget in enumerate(recorded.header.budgets):
        table.add(
            f"share of tokens where the printed rule keeps fewer entries, budget {budget:g}",
            0.0,
            printed[:, i] < exact[:, i],
            bound=True,
            basis="U(k) is at least 2.885 TV_k (truncation.printed_bound)",
        )


def _scheme_rows(
    table: Ratios, tokens: Tokens, recorded: Trace, system: System, numbers: Mapping[str, Any]
) -> None:
    """Compare mean cost over contexts with a replay of the recorded drafts and measured latencies."""
    for name in ("hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact", "cu-hlm-online"):
        scheme = SCHEMES[name].given(dict(numbers))
        line = scheme.numbers.get("line")
        if line is not None and line.slope <= 0.0:
            continue  # its printed k rule is made for a line that rises
        predicted = scheme.ledger(tokens, system)
        measured = _replayed(scheme, tokens, recorded, system)
        at = name if scheme.threshold is None else f"{name} at u_th = {scheme.threshold:g}"
        _ledgers.add_pairs(table, at, predicted, measured, basis=_REPLAY, measures_time=True)
        if name == "cu-hlm-exact":
            table.add(
                f"{at}: TV_k of the chosen k",
                numbers["truncation_budget"],
                np.asarray(scheme.payload.carried(tokens, system, scheme.skip).truncation_tv),
                bound=True,
                basis="the exact rule's budget (truncation.exact_rule)",
            )


_REPLAY = "against a replay of the recorded drafts and the latencies recorded with them"


def _replayed(scheme: Scheme, tokens: Tokens, recorded: Trace, system: System) -> Ledger:
    """Return the rounds of the drafts that were recorded, with the seconds that the models took."""
    num, ones = len(tokens), np.ones(len(tokens))
    sent = scheme.skip.skips(tokens, drafts=True).transmit
    carried = scheme.payload.carried(tokens, system, scheme.skip)
    extra_bit = resync_bit_per_transmission(system, float(tokens.weight @ sent))
    down_bit = scheme.verification.answer_bit(system.codec, bonus=False)[0]
    counts: dict[str, Any] = {
        "drafts": ones,
        "slm_catch_up": np.zeros(num),
        "llm_calls": sent,
        "llm_width": sent,
        "uplink_bit": sent * (carried.bit + extra_bit),
    }
    counts |= {"downlink_bit": sent * down_bit, "catch_up": 1.0 - sent}
    seconds: dict[str, Any] = charged(system, **counts)
    slm_s, llm_s = (recorded.columns[f"{side}_latency_s"].astype(np.float64) for side in ("slm", "llm"))
    seconds |= {"slm_s": slm_s, "llm_s": seconds["llm_s"] + sent * (llm_s - system.latency.llm_s)}
    unknown = np.full(num, np.nan)
    return Ledger(
        scheme=scheme.name,
        system=system,
        weight=ones,
        prompt=tokens.prompt,
        tokens=ones,
        entries=unknown if carried.size is None else sent * carried.size,
        bias=unknown,
        risk=(1.0 - sent) * tokens.rejection,
        truncation=unknown,
        **counts,
        **seconds,
    )


def _attenuation_rows(columns: Mapping[str, NDArray[Any]], *, seed: int, num_resamples: int) -> list[Row]:
    rows = []
    for num_samples, name in estimators.SAMPLE_COLUMNS.items():
        found = estimators.attenuation(
            columns["uncertainty"],
            columns[name],
            num_samples,
            columns["rejection"],
            columns["prompt"],
            seed=seed,
            num_resamples=num_resamples,
        )
        for key, theory in (
            ("slope", "lambda a (uncertainty.attenuated_line)"),
            ("intercept", "E beta - lambda a E u (uncertainty.attenuated_line)"),
            ("correlation", "rho sqrt(lambda) (uncertainty.attenuated_correlation)"),
        ):
            entry: Entry = (f"{key} on u at M = {num_samples}", "internal", False, theory)
            predicted, measured = (getattr(found, f"{key}_{side}") for side in ("predicted", "measured"))
            rows.append(judge(entry, predicted, measured, getattr(found, f"{key}_gap_ci95"), "trace"))
    return rows


def _round_rows(table: Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    """Verify-on-sync: tokens kept per round of i.i.d. drafts against the runs that were recorded."""
    value = grid[len(grid) // 2]
    sent = tokens.uncertainty > value
    if not sent.any() or sent.all():
        return
    kept = 1.0 - tokens.rejection
    rounds = recorded_rounds(kept, sent, needed(tokens, "prompt"), np.zeros(len(tokens)), bonus=False)
    theory = independent_rounds(
        float(sent.mean()), float(kept[~sent].mean()), float(kept[sent].mean()), 0.0, bonus=False
    )
    table.add(
        f"verify-on-sync at u_th = {value:g}: tokens per round",
        theory.mean(theory.num_tokens),
        rounds.weight * rounds.num_tokens,
        over=(1.0, rounds.weight),
        basis="i.i.d. drafts and geometric runs (drafting.sync_tokens_per_round), against recorded runs",
    )


def _line_rows(
    table: Ratios,
    tokens: Tokens,
    calibration: Calibration,
    grid: Sequence[float],
    budgets: Sequence[float],
) -> None:
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    line = calibration.line
    expected = line(u)
    averse = calibration.estimates["risk_averse"]
    if averse is not None and averse >= 0.0:
        table.add(
            f"risk at the risk-averse threshold {averse:.4g}",
            0.0,
            beta * (u <= averse),
            basis="the line is 0 up to -b/a (threshold.risk_averse)",
        )
    for value in grid:
        table.add(
            f"risk by the line at u_th = {value:g}",
            expected * (u <= value),
            beta * (u <= value),
            basis="clipped line (rejection.line)",
        )
    mean, variance = float(u.mean()), float(u.var())
    size = mean * (1.0 - mean) / variance - 1.0 if variance > 0.0 else 0.0
    for budget in budgets if line.slope > 0.0 else ():
        by_line = Recorded(u, expected).within(budget, split_ties=False).threshold
        table.add(
            f"risk at the line's threshold for {budget:g}, u_th = {by_line:.3g}",
            budget,
            beta * (u <= by_line),
            basis="risk budget by the clipped line and the recorded u (threshold.risk_empirical)",
        )
        if size > 0.0:
            at = Beta(mean * size, (1.0 - mean) * size).within(budget, line).threshold
            table.add(
                f"risk at the beta law's threshold for {budget:g}, u_th = {at:.3g}",
                budget,
                beta * (u <= at),
                basis="closed form for u ~ Beta with the recorded mean and variance (threshold.risk_beta)",
            )


def _server_rows(table: Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    for value in grid:
        table.add(
            f"bias when the server draws its own token, u_th = {value:g}",
            _at(tokens, "skip_risk", value),
            _at(tokens, "server_bias", value),
            basis="no bias beyond the skipping risk, as if skipping ignored the draft",
        )
