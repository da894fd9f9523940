r"""Theory against measurement: the recorded trace, and decoding that was really run.

Every row sets a prediction beside a measurement of the same quantity and an interval. ``ci95`` is the
interval of the measurement around its prediction: predicted + the 95 % interval of (measured - predicted),
by prompts. Where both come from the same tokens, the noise they share cancels, which makes the test sharper
than two separate intervals would. Where theory also knows the sampling noise given the contexts (a coin with
a known chance, say), the interval is widened to at least that noise: resampling cannot see rare events that
did not happen. A row agrees if its prediction lies in ``ci95``, a bound if the measurement does not exceed
it. Rows where theory fails stay, with the reason.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import bootstrap, estimators, rejection_models
from calibration.estimate import Calibration
from calibration.trace import Trace
from cuhlm_theory import threshold as thresholds
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import System, Tokens
from cuhlm_theory.schemes.rounds import independent_rounds, recorded_rounds
from cuhlm_theory.schemes.rules import PAYLOAD_RULES, SKIP_RULES, threshold_index
from cuhlm_theory.schemes.table import SCHEMES, Policy, Scheme

Floats = NDArray[np.float64]
Kind = Literal["equal", "bound", "model"]
Entry = tuple[str, Kind, str, str]  # quantity, kind, what the prediction rests on, why it may fail

_ROUNDING = 2e-5  # columns are float32, and bounds are sums over the vocabulary
_NORMAL_95 = 1.96
_SKIP_RATES = (0.1, 0.3, 0.6)  # where the skip rule is tried
_CHANCE = 3.5  # standard errors beyond which chance no longer explains a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity, predicted and measured."""

    quantity: str
    """What is compared, with its unit in brackets if it has one."""
    predicted: float
    """Theory."""
    measured: float
    """Measurement."""
    ci95: tuple[float, float] | None
    """Interval of the measurement around the prediction; None where there is one prompt."""
    agrees: bool | None
    """Whether the prediction lies in the interval (a bound: whether it holds); None where nothing says."""
    reason: str
    """What the prediction rests on, and for a row that fails, why."""
    kind: Kind
    """`equal` or `bound`: theory claims it. `model`: a fitted model or an assumed law that may be wrong."""
    table: str
    """`trace` or the decoding run."""

    @property
    def claimed(self) -> bool:
        """Whether theory claims this row."""
        return self.kind != "model"


def agreement(rows: Sequence[Row]) -> tuple[int, int]:
    """Count the rows that theory claims and that agree.

    Parameters
    ----------
    rows : sequence of Row
        Compared rows.

    Returns
    -------
    agreeing : int
        Claimed rows that agree.
    claimed : int
        Claimed rows that could be judged.

    Examples
    --------
    >>> agreement([])
    (0, 0)
    """
    judged = [row.agrees for row in rows if row.claimed and row.agrees is not None]
    return sum(judged), len(judged)


class _Ratios:
    """Rows whose two sides are ratios of sums over the same tokens, resampled together."""

    def __init__(self, prompt: ArrayLike, table: str) -> None:
        self.prompt = np.asarray(prompt)
        self.table = table
        self.entries: list[Entry] = []
        self.columns: list[Floats] = []
        self.noise: list[Floats] = []

    def add(
        self,
        quantity: str,
        predicted: ArrayLike,
        measured: ArrayLike,
        *,
        over: ArrayLike = 1.0,
        measured_over: ArrayLike | None = None,
        kind: Kind = "equal",
        basis: str = "",
        failing: str = "",
        variance: ArrayLike = 0.0,
    ) -> None:
        """Compare sum(predicted)/sum(over) with sum(measured)/sum(measured_over).

        ``variance`` is that of a token's measured part given its context; the deviations of successive tokens
        are uncorrelated (martingale differences), so the variances add.
        """
        last = over if measured_over is None else measured_over
        for values in (predicted, over, measured, last):
            column = np.asarray(values, dtype=np.float64)
            self.columns.append(np.broadcast_to(column, self.prompt.shape))
        self.noise.append(np.broadcast_to(np.asarray(variance, dtype=np.float64), self.prompt.shape))
        self.entries.append((quantity, kind, basis, failing))

    def rows(self, *, seed: int, num_resamples: int) -> list[Row]:
        if not self.entries:
            return []

        def statistic(sums: Floats) -> Floats:
            top, under, low, below = (sums[..., i::4] for i in range(4))
            predicted, measured = top / under, low / below
            return np.concatenate([predicted, measured, measured - predicted], axis=-1)

        result = bootstrap.of_sums(
            statistic,
            np.column_stack(self.columns),
            self.prompt,
            num_resamples=num_resamples,
            rng=np.random.default_rng(seed),
        )
        num = len(self.entries)
        rows = []
        for i, entry in enumerate(self.entries):
            predicted, measured = float(result.estimate[i]), float(result.estimate[num + i])
            total = float(self.columns[4 * i + 1].sum())
            known = float(np.sqrt(self.noise[i].sum())) / total if total > 0.0 else 0.0
            gap = result.interval(2 * num + i)
            if known > 0.0:
                centre, half = measured - predicted, _NORMAL_95 * known
                gap = gap or (centre, centre)
                gap = (min(gap[0], centre - half), max(gap[1], centre + half))
            error = max(known, float(np.std(result.replicates[:, 2 * num + i])))
            rows.append(_row(entry, predicted, measured, gap, error, self.table))
        return rows


def _row(
    entry: Entry,
    predicted: float,
    measured: float,
    gap: tuple[float, float] | None,
    error: float,
    table: str,
) -> Row:
    quantity, kind, basis, failing = entry
    slack = _ROUNDING * max(1.0, abs(predicted)) if np.isfinite(predicted) else 0.0
    if not (np.isfinite(predicted) and np.isfinite(measured)):
        agrees, verdict = None, "undefined here: no such token in the sample"
    elif kind == "bound":
        agrees = measured <= predicted + slack
        verdict = "" if agrees else failing
    elif gap is None:
        agrees, verdict = None, "no interval: too few prompts, or too few tokens of this kind"
    else:
        agrees = gap[0] - slack <= 0.0 <= gap[1] + slack
        sigmas = abs(measured - predicted) / error if error > 0.0 else np.inf
        verdict = ""
        if not agrees and kind == "equal" and sigmas < _CHANCE and not failing:
            verdict = f"chance: {sigmas:.1f} standard errors; one true row in twenty falls outside"
        elif not agrees:
            verdict = failing or f"not chance: {sigmas:.1f} standard errors"
    ci = None if gap is None else (predicted + gap[0], predicted + gap[1])
    reason = "; ".join(text for text in (basis, verdict) if text)
    return Row(
        quantity=quantity,
        predicted=predicted,
        measured=measured,
        ci95=ci,
        agrees=None if agrees is None else bool(agrees),
        reason=reason,
        kind=kind,
        table=table,
    )


def compare_trace(
    recorded: Trace,
    calibration: Calibration,
    system: System,
    *,
    policy: Policy | None = None,
    budgets: Sequence[float] = (0.02, 0.05, 0.1),
    seed: int = 0,
    num_resamples: int = 2000,
) -> list[Row]:
    """Set theory beside the recorded tokens.

    Parameters
    ----------
    recorded : Trace
        Recorded tokens.
    calibration : Calibration
        Line and latencies that the predictions use.
    system : System
        Simulated link, codec and latencies.
    policy : Policy, optional
        Truncation budget and offline k of the schemes.
    budgets : sequence of float
        Risk budgets whose thresholds are tried on unseen prompts [-].
    seed : int
        Seed of the bootstrap.
    num_resamples : int
        Resamples.

    Returns
    -------
    list of Row
        Verification, sampling noise, skip rule, truncation, schemes, rounds, promises, then fitted models.

    Raises
    ------
    MissingInputError
        If the trace lacks a profile.
    """
    tokens = recorded.tokens()
    policy = Policy() if policy is None else policy
    if tokens.prompt is None:
        raise MissingInputError("the trace must say which prompt each token belongs to")
    table = _Ratios(tokens.prompt, "trace")
    _verification_rows(table, tokens)
    _noise_rows(table, recorded.columns)
    grid = _grid_thresholds(tokens, calibration)
    _skip_rows(table, tokens, grid)
    _truncation_rows(table, tokens, recorded)
    _scheme_rows(table, tokens, recorded, calibration, system, policy, grid)
    rows = table.rows(seed=seed, num_resamples=num_resamples)
    rows += _attenuation_rows(recorded.columns, seed=seed, num_resamples=num_resamples)
    rows += _promise_rows(tokens, budgets, seed=seed, num_resamples=num_resamples)
    models = _Ratios(tokens.prompt, "trace")
    _round_rows(models, tokens, grid)
    _line_rows(models, tokens, calibration, grid, budgets)
    _server_rows(models, tokens, grid)
    return rows + models.rows(seed=seed, num_resamples=num_resamples)


def _grid_thresholds(tokens: Tokens, calibration: Calibration) -> list[float]:
    """Thresholds of the recorded grid: nearest to the risk-averse one and to three quantiles of u."""
    if tokens.threshold_grid is None:
        raise MissingInputError("the trace must hold skip profiles on a threshold grid")
    wanted = [float(value) for value in np.quantile(tokens.uncertainty, _SKIP_RATES)]
    if calibration.risk_averse is not None and calibration.risk_averse > 0.0:
        wanted.append(calibration.risk_averse)
    places = {int(np.argmin(np.abs(tokens.threshold_grid - value))) for value in wanted}
    return [float(tokens.threshold_grid[place]) for place in sorted(places)]


def _needed(tokens: Tokens, name: str) -> NDArray[Any]:
    value = getattr(tokens, name)
    if value is None:
        raise MissingInputError(f"the trace must hold the column {name}")
    return value


def _at(tokens: Tokens, name: str, threshold: float) -> Floats:
    place = threshold_index(tokens, threshold)
    if place is None or place < 0:
        raise MissingInputError(f"the trace must hold {name} at the threshold {threshold:g}")
    return np.asarray(_needed(tokens, name)[:, place], dtype=np.float64)


def _verification_rows(table: _Ratios, tokens: Tokens) -> None:
    tv = np.asarray(_needed(tokens, "tv"))
    table.add(
        "mean rejection of a draft",
        tv,
        tokens.rejection,
        variance=_at_most(tv),
        basis="E_{d~x} beta_d = TV(x, y) [SD]; predicted from full distributions, measured on drawn drafts",
    )


def _at_most(mean: Floats) -> Floats:
    """Largest variance of a value in [0, 1] with this mean (Bhatia-Davis), shape [N]."""
    return np.clip(mean * (1.0 - mean), 0.0, None)


def _noise_rows(table: _Ratios, columns: Mapping[str, NDArray[Any]]) -> None:
    mean = columns["uncertainty"].astype(np.float64)
    for num_samples, name in estimators.SAMPLE_COLUMNS.items():
        u = columns[name].astype(np.float64)
        coin = mean * (1.0 - mean)
        table.add(
            f"mean u at M = {num_samples}",
            mean,
            u,
            basis="E[u | context, draft] = u-bar (THEORY 4.2)",
            variance=coin / num_samples,
        )
        fourth = (coin * (1.0 - 6.0 * coin) + 3.0 * num_samples * coin**2) / num_samples**3
        table.add(
            f"variance of u around u-bar at M = {num_samples}",
            coin / num_samples,
            (u - mean) ** 2,
            basis="M u is binomial (THEORY 4.2)",
            variance=fourth - (coin / num_samples) ** 2,
        )


def _skip_rows(table: _Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    for value in grid:
        mass, risk = _at(tokens, "skip_mass", value), _at(tokens, "skip_risk", value)
        skipped = (tokens.uncertainty <= value).astype(np.float64)
        loss = tokens.rejection * skipped
        at = f"at u_th = {value:g}"
        table.add(
            f"skip rate {at}",
            mass,
            skipped,
            basis="sum_d x_d 1[u_d <= t] over the vocabulary; 1 - TR",
            variance=_at_most(mass),
        )
        table.add(
            f"risk {at}",
            risk,
            loss,
            basis="output bias of skipping (THEORY 7.1), over the vocabulary",
            variance=_at_most(risk),
        )
        table.add(
            f"true skip rate {at}",
            mass - risk,
            skipped - loss,
            over=mass,
            measured_over=skipped,
            basis="share of skipped tokens that verification would have kept (TSR)",
            variance=_kept_variance(mass, risk),
        )


def _kept_variance(mass: Floats, risk: Floats) -> Floats:
    """Largest variance of s (1 - beta - R), R the mean share of skips that are kept, shape [N]."""
    total = float(mass.sum())
    share = 1.0 - float(risk.sum()) / total if total > 0.0 else 0.0
    kept = 1.0 - np.divide(risk, mass, out=np.zeros_like(mass), where=mass > 0.0)
    return mass * (_at_most(kept) + (kept - share) ** 2)


def _truncation_rows(table: _Ratios, tokens: Tokens, recorded: Trace) -> None:
    k_grid, coarse = _needed(tokens, "k_grid"), _needed(tokens, "coarse_k_grid")
    profile, output = _needed(tokens, "tv_profile"), _needed(tokens, "output_bias")
    tail, accepted = _needed(tokens, "tail_mass"), _needed(tokens, "truncated_acceptance")
    tv = _needed(tokens, "tv")
    place = np.searchsorted(k_grid, coarse)  # every coarse size is on the fine grid
    over = output > profile[:, place] + _ROUNDING
    table.add(
        "share of contexts where truncation costs more than TV_k",
        0.0,
        over.any(axis=1),
        kind="bound",
        basis="data processing (THEORY 8.2), at every recorded k",
        failing="a context breaks the bound",
    )
    for size in (4, 30, 256):
        if size in coarse:
            column = int(np.searchsorted(coarse, size))
            table.add(
                f"output bias of k = {size}, nothing skipped",
                profile[:, place[column]],
                output[:, column],
                kind="bound",
                basis="at most TV_k (THEORY 8.2)",
            )
            table.add(
                f"rejection of drafts from the top {size}",
                tv + tail[:, place[column]],
                1.0 - accepted[:, column],
                kind="bound",
                basis="TV(x-tilde_k, y) is at most TV(x, y) + the dropped mass (THEORY 8.5)",
            )
    table.add(
        "rejection of drafts from the top V",
        tv,
        1.0 - accepted[:, -1],
        basis="nothing is dropped, so TV(x, y) (THEORY 8.5)",
    )
    exact, printed = recorded.columns["k_exact"], recorded.columns["k_printed"]
    for i, budget in enumerate(recorded.header.budgets):
        table.add(
            f"share of tokens where the printed rule keeps fewer entries, budget {budget:g}",
            0.0,
            printed[:, i] < exact[:, i],
            kind="bound",
            basis="U(k) is at least 2.885 TV_k (THEORY 8.3)",
            failing="the printed rule kept fewer",
        )


def _scheme_rows(
    table: _Ratios,
    tokens: Tokens,
    recorded: Trace,
    calibration: Calibration,
    system: System,
    policy: Policy,
    grid: Sequence[float],
) -> None:
    """Compare mean cost over contexts with a replay of the recorded drafts and measured latencies."""
    value = grid[len(grid) // 2]
    line = {"slope": calibration.slope, "intercept": calibration.intercept, "threshold": value}
    settings = Policy(**{**_fields(policy), **line})
    slm, llm = (recorded.columns[f"{name}_latency_s"].astype(np.float64) for name in ("slm", "llm"))
    other = system.latency.round_trip_s
    for name in ("hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact", "cu-hlm-online"):
        scheme = SCHEMES[name]
        carried = PAYLOAD_RULES[scheme.payload](tokens, system, settings)
        trigger = SKIP_RULES[scheme.skip](tokens, settings, carried.draft_dependent)
        if scheme.skip == "threshold":
            sent = (tokens.uncertainty > value).astype(np.float64)
        else:
            sent = np.ones(len(tokens))
        bit = carried.bit
        air = packet_latency_s(system.link, bit)
        at = f"{name} at u_th = {value:g}" if scheme.skip == "threshold" else name
        basis = "mean over contexts of P_tx times cost, against a replay of the recorded drafts"
        coin = _at_most(np.asarray(trigger.transmit))
        table.add(
            f"{at}: uplink [bit/token]",
            trigger.transmit * bit,
            sent * bit,
            basis=basis,
            variance=coin * bit**2,
        )
        if name == "u-hlm":
            table.add(f"{at}: LLM calls [1/token]", trigger.transmit, sent, basis=basis, variance=coin)
        predicted = system.latency.slm_s + trigger.transmit * (air + system.latency.llm_s + other)
        measured = slm + sent * (air + llm + other)
        basis = "constant tau_SLM and tau_LLM, against the latencies recorded with each token"
        noise = coin * (air + system.latency.llm_s + other) ** 2
        table.add(f"{at}: latency [s/token]", predicted, measured, basis=basis, variance=noise)
        table.add(
            f"{at}: throughput [token/s]",
            1.0,
            1.0,
            over=predicted,
            measured_over=measured,
            basis="E[N]/E[D] (THEORY 11)",
            variance=noise / predicted.mean() ** 2,
        )
        if carried.truncation_tv is not None and not carried.draft_dependent and name == "cu-hlm-exact":
            table.add(
                f"{at}: TV_k of the chosen k",
                settings.truncation_budget,
                carried.truncation_tv,
                kind="bound",
                basis="the exact rule's budget (THEORY 8.2)",
            )


def _fields(policy: Policy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in policy.__slots__}


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
            ("slope", "lambda a"),
            ("intercept", "E beta - lambda a E u"),
            ("correlation", "rho sqrt(lambda)"),
        ):
            gap = getattr(found, f"{key}_gap_ci95")
            error = (gap[1] - gap[0]) / 3.92 if gap else 0.0
            entry: Entry = (f"{key} on u at M = {num_samples}", "equal", f"{theory} (THEORY 4.3)", "")
            predicted, measured = (getattr(found, f"{key}_{side}") for side in ("predicted", "measured"))
            rows.append(_row(entry, predicted, measured, gap, error, "trace"))
    return rows


def _promise_rows(tokens: Tokens, budgets: Sequence[float], *, seed: int, num_resamples: int) -> list[Row]:
    """Choose thresholds on a random half of the prompts, try them on the rest; both halves are resampled."""
    index, num_prompts = bootstrap.cluster_index(_needed(tokens, "prompt"))
    if num_prompts < 4:
        return []
    first = np.random.default_rng([seed, 1]).permutation(num_prompts) < num_prompts // 2
    chooses = first[index].astype(np.float64)
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    order, starts = estimators._ties(u)
    rows = []

    def cumulative(weights: Floats) -> Floats:
        loss = np.cumsum(np.add.reduceat((weights * beta)[..., order], starts, axis=-1), axis=-1)
        total = loss / weights.sum(axis=-1, keepdims=True)
        return np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)  # skip nothing, then each u

    def statistic(weights: Floats) -> Floats:
        chosen, tried = cumulative(weights * chooses), cumulative(weights * (1.0 - chooses))
        result = []
        for budget in budgets:
            last = np.sum(chosen <= budget * (1.0 + 1e-12), axis=-1, keepdims=True) - 1
            result.append(np.take_along_axis(tried, last, axis=-1)[..., 0] - budget)
        return np.stack(result, axis=-1)

    result = bootstrap.of_weights(
        statistic,
        index,
        num_resamples=min(num_resamples, 1000),
        rng=np.random.default_rng(seed),
        method="percentile",
    )
    half = {
        side: Tokens(uncertainty=u[mask], rejection=beta[mask], prompt=index[mask])
        for side, mask in (("chosen", chooses > 0.0), ("tried", chooses == 0.0))
    }
    for i, budget in enumerate(budgets):
        entry: Entry = (
            f"risk on unseen prompts, threshold chosen for {budget:g}",
            "equal",
            "empirical risk budget (THEORY 6.3): chosen on a random half of the prompts, tried on the rest",
            "",
        )
        error = float(np.std(result.replicates[:, i]))
        measured = budget + float(result.estimate[i])
        rows.append(_row(entry, budget, measured, result.interval(i), error, "trace"))
        promise = rejection_models.guaranteed_threshold(half["chosen"], budget)
        tried = half["tried"]
        risk = float(np.mean(tried.rejection * (tried.uncertainty <= promise.threshold)))
        entry = (
            f"risk on unseen prompts, threshold guaranteed for {budget:g}",
            "bound",
            f"with probability 0.9 (THEORY 6.3 and betting bound), u_th = {promise.threshold:.4g}",
            "the one failure in ten that the promise allows, or prompts of another law",
        )
        rows.append(_row(entry, budget, risk, None, 0.0, "trace"))
    return rows


def _round_rows(table: _Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    """Verify-on-sync: tokens kept per round of i.i.d. drafts against the runs that were recorded."""
    value = grid[len(grid) // 2]
    sent = tokens.uncertainty > value
    if not sent.any() or sent.all():
        return
    kept = 1.0 - tokens.rejection
    rounds = recorded_rounds(kept, sent, _needed(tokens, "prompt"), np.zeros(len(tokens)), bonus=False)
    theory = independent_rounds(
        float(sent.mean()), float(kept[~sent].mean()), float(kept[sent].mean()), 0.0, bonus=False
    )
    table.add(
        f"verify-on-sync at u_th = {value:g}: tokens per round",
        theory.mean(theory.num_tokens),
        rounds.weight * rounds.num_tokens,
        over=1.0,
        measured_over=rounds.weight,
        kind="model",
        basis="i.i.d. drafts and geometric runs (THEORY 10.3), against recorded runs",
        failing="neither holds: uncertain tokens come in bursts, and a recorded answer ends",
    )


def _line_rows(
    table: _Ratios,
    tokens: Tokens,
    calibration: Calibration,
    grid: Sequence[float],
    budgets: Sequence[float],
) -> None:
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    slope, intercept = calibration.slope, calibration.intercept
    expected = np.clip(slope * u + intercept, 0.0, 1.0)
    bent = "E[beta | u] is not a straight line on these tokens; the isotonic curve has no such gap"
    averse = calibration.risk_averse
    if averse is not None and averse >= 0.0:
        table.add(
            f"risk at the risk-averse threshold {averse:.4g}",
            0.0,
            beta * (u <= averse),
            kind="model",
            basis="the line is 0 up to -b/a (THEORY 6.1)",
            failing="some tokens of little uncertainty are rejected all the same; the line's zero is a fit",
        )
    for value in grid:
        table.add(
            f"risk by the line at u_th = {value:g}",
            expected * (u <= value),
            beta * (u <= value),
            kind="model",
            basis="clipped line (THEORY 5)",
            failing=bent,
        )
    mean, variance = float(u.mean()), float(u.var())
    size = mean * (1.0 - mean) / variance - 1.0 if variance > 0.0 else 0.0
    for budget in budgets if slope > 0.0 else ():
        by_line = rejection_models.risk_threshold(u, expected, budget)
        table.add(
            f"risk at the line's threshold for {budget:g}, u_th = {by_line:.3g}",
            budget,
            beta * (u <= by_line),
            kind="model",
            basis="risk budget by the clipped line and the recorded u (THEORY 6.3)",
            failing=bent,
        )
        if size > 0.0:
            law = thresholds.risk_budget_beta(slope, intercept, budget, mean * size, (1.0 - mean) * size)
            table.add(
                f"risk at the beta law's threshold for {budget:g}, u_th = {float(law.threshold):.3g}",
                budget,
                beta * (u <= float(law.threshold)),
                kind="model",
                basis="closed form for u ~ Beta with the recorded mean and variance (THEORY 6.3)",
                failing="u is not beta distributed and the line is bent; use the empirical law",
            )


def _server_rows(table: _Ratios, tokens: Tokens, grid: Sequence[float]) -> None:
    for value in grid:
        table.add(
            f"bias when the server draws its own token, u_th = {value:g}",
            _at(tokens, "skip_risk", value),
            _at(tokens, "server_bias", value),
            kind="model",
            basis="THEORY 9 as written: no bias beyond the skipping risk",
            failing="holds only if skipping does not depend on the draft; kept drafts tilt the output",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedTable:
    """Tokens that hybrid decoding committed, from the runs of `calibration.runs`."""

    header: dict[str, Any]
    """Pair, seed and system; ``runs`` is a list of {name, scheme, threshold, ...}."""
    columns: dict[str, NDArray[Any]]
    """One entry a committed token; ``run`` and ``prompt`` say whose."""


_DECODED = (
    "run",
    "prompt",
    "draft",
    "action",
    "draft_prob",
    "rejection",
    "uncertainty",
    "tv",
    "skip_mass",
    "risk",
    "truncation_tv",
    "k",
    "uplink_bit",
    "llm_calls",
    "latency_s",
    "round",
)


def read_decoded(path: str | Path) -> DecodedTable:
    """Read ``decoded.parquet``.

    Parameters
    ----------
    path : str or Path
        File written by ``python -m calibration.runs``.

    Returns
    -------
    DecodedTable
        Header and columns.

    Raises
    ------
    ValueError
        If the file is missing, damaged, without a header or without a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path)
    if not file.is_file():
        raise ValueError(f"decoded must be an existing file; got {str(file)!r}")
    try:
        with pq.ParquetFile(file) as opened:  # read_table would import pandas where it is installed
            table = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"decoded {file} is not a whole parquet file: {error}") from None
    try:
        header = json.loads((table.schema.metadata or {})[b"cuhlm"])
        runs = header["runs"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"decoded {file} must have a cuhlm header with its runs") from None
    if missing := [name for name in _DECODED if name not in table.column_names]:
        raise ValueError(f"decoded {file} must have the column {missing[0]!r}; it is missing")
    columns = {name: np.from_dlpack(table.column(name).combine_chunks()) for name in table.column_names}
    if columns["run"].size and not 0 <= columns["run"].min() <= columns["run"].max() < len(runs):
        raise ValueError(f"decoded {file} has tokens of a run that its header does not list")
    return DecodedTable(header=header, columns=columns)


def compare_decoded(
    decoded: DecodedTable,
    recorded: Trace,
    calibration: Calibration,
    system: System,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> list[Row]:
    """Set theory beside decoding that was really run, run by run.

    Two predictions are tried. Given the contexts that decoding met, theory claims skip rate, risk, bias and
    resampling exactly. Given only the trace (contexts of the small model's own text) it claims them if
    contexts were alike: such rows are of kind ``model``, and their interval resamples trace and run
    independently.

    Parameters
    ----------
    decoded : DecodedTable
        What `read_decoded` returns.
    recorded : Trace
        The trace that the calibration was fitted on.
    calibration : Calibration
        Line and latencies.
    system : System
        Link, codec and latencies that the runs simulated.
    seed : int
        Seed of the bootstrap.
    num_resamples : int
        Resamples.

    Returns
    -------
    list of Row
        All runs; ``table`` names the run.
    """
    tokens = recorded.tokens()
    rows: list[Row] = []
    for number, run in enumerate(decoded.header["runs"]):
        chosen = decoded.columns["run"] == number
        if not chosen.any() or run.get("scheme") not in SCHEMES:
            continue
        part = {name: values[chosen] for name, values in decoded.columns.items()}
        name = str(run.get("name", run["scheme"]))
        rows += _run_rows(part, run, name, seed=seed, num_resamples=num_resamples)
        rows += _law_rows(
            part, run, name, tokens, calibration, system, seed=seed, num_resamples=num_resamples
        )
    return rows


def _run_rows(
    part: Mapping[str, NDArray[Any]], run: Mapping[str, Any], name: str, *, seed: int, num_resamples: int
) -> list[Row]:
    """Predict from the contexts that decoding met."""
    scheme = SCHEMES[run["scheme"]]
    table = _Ratios(part["prompt"], name)
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    skipped = (part["action"] == 0).astype(np.float64)
    resampled = (part["action"] == 2).astype(np.float64)
    has_draft = part["draft"] >= 0
    rejection = np.where(has_draft, np.nan_to_num(value["rejection"]), 0.0)
    tv = value["tv"]
    if scheme.draft == "one" and np.isfinite(tv).all():
        met = "given the contexts that decoding met"
        mass, risk = np.nan_to_num(value["skip_mass"]), np.nan_to_num(value["risk"])
        if 0.0 < mass.mean() < 1.0:
            table.add(
                f"{name}: skip rate",
                mass,
                skipped,
                basis=f"sum_d x_d s(d), {met}",
                variance=_at_most(mass),
            )
            table.add(
                f"{name}: risk",
                risk,
                rejection * skipped,
                basis=f"sum_d x_d s(d) beta_d, {met}",
                variance=_at_most(risk),
            )
            table.add(
                f"{name}: true skip rate",
                mass - risk,
                skipped * (1.0 - rejection),
                over=mass,
                measured_over=skipped,
                basis=f"share of skips that verification would have kept, {met}",
                variance=_kept_variance(mass, risk),
            )
        if scheme.verification == "received-law":
            bound = risk + np.nan_to_num(value["truncation_tv"])
            if scheme.payload == "full":
                table.add(f"{name}: output bias", risk, tv, basis="bias is the rejection risk (THEORY 7.1)")
                table.add(
                    f"{name}: resampled drafts",
                    rejection * (1.0 - skipped),
                    resampled,
                    basis="a transmitted draft is rejected with beta_d [SD]",
                    variance=_at_most(rejection * (1.0 - skipped)),
                )
            else:
                dependent = scheme.payload == "online"
                table.add(
                    f"{name}: output bias",
                    bound,
                    tv,
                    kind="model" if dependent else "bound",
                    basis="at most risk + TV_k (THEORY 8.2)"
                    + (", which does not cover a k that depends on the draft" if dependent else ""),
                )
                table.add(
                    f"{name}: share of tokens with a bias above risk + TV_k",
                    0.0,
                    tv > bound + _ROUNDING,
                    kind="model" if dependent else "bound",
                    basis="data processing, context by context (THEORY 8.2)",
                    failing="the printed k depends on the draft, so the bound does not apply (THEORY 8.1)",
                )
        elif scheme.verification == "none":
            table.add(f"{name}: output bias", risk, tv, basis="all drafts are kept: TV(x, y)")
        table.add(
            f"{name}: LLM calls [1/token]",
            1.0 - (np.ones_like(mass) if scheme.verification == "none" else mass),
            value["llm_calls"],
            basis="one a transmission",
            variance=_at_most(mass),
        )
    elif scheme.drafts_several and np.isfinite(tv).all():
        table.add(f"{name}: output bias", 0.0, tv, basis="prefix verification is exact [SD]")
    return table.rows(seed=seed, num_resamples=num_resamples)


def _law_rows(
    part: Mapping[str, NDArray[Any]],
    run: Mapping[str, Any],
    name: str,
    tokens: Tokens,
    calibration: Calibration,
    system: System,
    *,
    seed: int,
    num_resamples: int,
) -> list[Row]:
    """Predict from the trace: what `cuhlm optimize` does before anything is decoded."""
    scheme = SCHEMES[run["scheme"]]
    policy = _policy_of(run, calibration)
    if scheme.draft == "none":
        return []
    sides = _single_sides if scheme.draft == "one" else _several_sides
    pairs = sides(part, scheme, run, policy, tokens, system)
    both = _two_samples(
        [(a, b) for _, a, b, _, _ in pairs],
        _needed(tokens, "prompt"),
        [(c, d) for _, _, _, c, d in pairs],
        part["prompt"],
        seed=seed,
        num_resamples=num_resamples,
    )
    rows = []
    for (what, *_), (predicted, measured, gap, error) in zip(pairs, both, strict=True):
        entry: Entry = (
            f"{name}: {what}, from the trace",
            "model",
            "contexts of the small model's own text",
            "hybrid text has other contexts than the trace: the LLM corrects it as it runs",
        )
        rows.append(_row(entry, predicted, measured, gap, error, name))
    return rows


def _policy_of(run: Mapping[str, Any], calibration: Calibration) -> Policy:
    """Return the free numbers of a run: its whole policy, or what its row tells."""
    if isinstance(run.get("policy"), Mapping):
        return Policy(**run["policy"])
    told = {
        "threshold": run.get("threshold"),
        "offline_k": run.get("k") or None,
        "truncation_budget": run.get("truncation_budget"),
        "skip_rate": run.get("skip_probability"),
        "num_drafts": run.get("num_drafts"),
    }
    return Policy(
        slope=calibration.slope,
        intercept=calibration.intercept,
        **{key: item for key, item in told.items() if item is not None},
    )


Side = tuple[str, Floats, Floats, Floats, Floats]  # name, trace: sum over sum, run: sum over sum


def _single_sides(
    part: Mapping[str, NDArray[Any]],
    scheme: Scheme,
    run: Mapping[str, Any],
    policy: Policy,
    tokens: Tokens,
    system: System,
) -> list[Side]:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    trigger = SKIP_RULES[scheme.skip](tokens, policy, carried.draft_dependent)
    air = packet_latency_s(system.link, carried.bit)
    each = system.latency.llm_s + system.latency.round_trip_s
    alone = scheme.verification == "none"
    transmit = np.zeros(len(tokens)) if alone else trigger.transmit
    latency = system.latency.slm_s + transmit * np.where(transmit > 0.0, air + each, 0.0)
    one = np.ones(len(tokens))
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    skipped, ones = (part["action"] == 0).astype(np.float64), np.ones(len(part["action"]))
    sent = (value["k"] > 0).astype(np.float64)
    pairs: list[Side] = [
        ("uplink [bit/token]", transmit * carried.bit, one, value["uplink_bit"], ones),
        ("latency [s/token]", latency, one, value["latency_s"], ones),
        ("throughput [token/s]", one, latency, ones, value["latency_s"]),
    ]
    if scheme.skip == "threshold":
        pairs = [
            ("skip rate", 1.0 - transmit, one, skipped, ones),
            ("risk", trigger.risk, one, np.nan_to_num(value["risk"]), ones),
            *pairs,
        ]
    if carried.size is not None and sent.any():
        pairs.append(("entries a transmission", transmit * carried.size, transmit, value["k"], sent))
    return pairs


def _several_sides(
    part: Mapping[str, NDArray[Any]],
    scheme: Scheme,
    run: Mapping[str, Any],
    policy: Policy,
    tokens: Tokens,
    system: System,
) -> list[Side]:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    keep = 1.0 - tokens.rejection if carried.acceptance is None else carried.acceptance
    ends, most, bonus = np.zeros(len(tokens)), policy.num_drafts or run.get("num_drafts"), True
    if scheme.draft == "trigger":
        ends, most, bonus = (tokens.uncertainty > policy.threshold).astype(np.float64), None, policy.bonus
    elif scheme.draft == "confidence":
        ends, most = (_needed(tokens, "max_prob") < policy.confidence).astype(np.float64), policy.max_drafts
    told = (run.get("convention") or {}).get("bonus")
    rounds = recorded_rounds(
        keep,
        ends,
        _needed(tokens, "prompt"),
        carried.bit,
        max_drafts=most,
        bonus=bonus if told is None else bool(told),
    )
    air = packet_latency_s(system.link, rounds.draft_bit)
    seconds = rounds.num_drafts * system.latency.slm_s + air
    seconds = seconds + system.latency.llm_s + system.latency.round_trip_s
    weight, gained = rounds.weight, rounds.weight * rounds.num_tokens
    value = {key: np.asarray(column, dtype=np.float64) for key, column in part.items()}
    ones = np.ones(len(part["round"]))
    prompt, number = np.asarray(part["prompt"]), np.asarray(part["round"])
    opens = np.concatenate([[True], (number[1:] != number[:-1]) | (prompt[1:] != prompt[:-1])])
    pairs: list[Side] = [
        ("tokens per round", gained, weight, ones, opens.astype(np.float64)),
        ("LLM calls [1/token]", weight, gained, value["llm_calls"], ones),
        ("uplink [bit/token]", weight * rounds.draft_bit, gained, value["uplink_bit"], ones),
        ("latency [s/token]", weight * seconds, gained, value["latency_s"], ones),
        ("throughput [token/s]", gained, weight * seconds, ones, value["latency_s"]),
    ]
    if "drafted" in value:
        pairs.insert(1, ("drafts per token", weight * rounds.num_drafts, gained, value["drafted"], ones))
    return pairs


def _two_samples(
    first: Sequence[tuple[Floats, Floats]],
    first_prompt: ArrayLike,
    second: Sequence[tuple[Floats, Floats]],
    second_prompt: ArrayLike,
    *,
    seed: int,
    num_resamples: int,
) -> list[tuple[float, float, tuple[float, float] | None, float]]:
    """Ratio of sums in two independent samples: (first, second, interval of second - first, its error)."""

    def ratios(num: int) -> Callable[[Floats], Floats]:
        return lambda sums: sums[..., :num] / sums[..., num:]

    results = []
    for stream, (pairs, prompt) in enumerate(((first, first_prompt), (second, second_prompt))):
        columns = np.column_stack([*(a for a, _ in pairs), *(b for _, b in pairs)])
        results.append(
            bootstrap.of_sums(
                ratios(len(pairs)),
                columns,
                prompt,
                num_resamples=num_resamples,
                rng=np.random.default_rng([seed, stream]),
                method="percentile",
            )
        )
    predicted, measured = results
    gaps = measured.replicates - predicted.replicates  # [B, pairs]
    low, high = bootstrap.percentile_interval(gaps)
    out = []
    for i in range(len(first)):
        known = predicted.interval(i) is not None and measured.interval(i) is not None
        gap = (float(low[i]), float(high[i])) if known else None
        error = float(np.std(gaps[:, i])) if known else 0.0
        out.append((float(predicted.estimate[i]), float(measured.estimate[i]), gap, error))
    return out
