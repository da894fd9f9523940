"""Everything that one channel and one calibration lead to: thresholds, operating point, proof, schemes."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cuhlm_theory import threshold as thresholds_of
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.drafting import sync_break_even_risk
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.optimise import (
    Certificate,
    OperatingPoint,
    curves,
    operating_point,
    quantisation_profile,
    solve_curves,
    solve_lp,
)
from cuhlm_theory.parameters import Budget, System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import line
from cuhlm_theory.schemes import SCHEMES, Outcome, Policy, evaluate, line_up
from cuhlm_theory.throughput import transmission_latency_s
from cuhlm_theory.truncation import printed_k_offline


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One question: a rejection line, the tokens it came from, a system, and what may be spent."""

    slope: float
    """a of the rejection line [-]."""
    intercept: float
    """b [-]."""
    delta: float | None
    """Delta = P(y_d < x_d) [-]."""
    tokens: Tokens
    """Recorded tokens, or the nodes of an assumed law."""
    system: System
    """Device, server and link."""
    budget: Budget
    """Bias that may be spent."""
    bias_price_s: float | None = None
    """lambda of THEORY section 6.4 [s]; None takes the multiplier of the budget."""
    charge_quantisation: bool = False
    """Whether the TV of b_prob bits is charged; else the device drafts from the quantised law (bias 0)."""
    offline_k: int | None = None
    """k of CU-HLM offline [token]; None applies its printed rule, or 30 where no profile was recorded."""

    def __post_init__(self) -> None:
        if self.slope <= 0.0:
            raise CuhlmError(
                f"the rejection line does not rise (slope {self.slope:g}), so no threshold on the "
                "uncertainty tells which drafts to keep; calibrate on more prompts, or another pair"
            )

    @property
    def has_profile(self) -> bool:
        """Whether truncation can be optimised on these tokens."""
        return self.tokens.tv_profile is not None and self.tokens.skip_mass is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The operating point of a setting and the row that evaluates it."""

    row: Outcome
    """Columns of the recommended scheme."""
    policy: Policy
    """Its settings, and those of the schemes beside it."""
    point: OperatingPoint | None
    """How it was found; None where no profile was recorded."""
    bias_bound: float | None
    """Bound on its bias [-]; None where the bias of truncation is not known."""
    binds: str
    """Budget that binds."""
    tokens: Tokens
    """The tokens of the setting, quantisation charged to their profile where it is."""


def answer(setting: Setting, *, bound: bool = True) -> Answer:
    """Find the operating point of a setting.

    Parameters
    ----------
    setting : Setting
        The question.
    bound : bool, default True
        Whether to compute the best randomised policy too.

    Returns
    -------
    Answer
        Operating point, its policy and its columns.

    Raises
    ------
    InfeasibleError
        If nothing meets the budgets.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> nodes = (np.arange(1000) + 0.5) / 1000
    >>> setting = Setting(
    ...     slope=0.815,
    ...     intercept=-0.066,
    ...     delta=0.5955,
    ...     tokens=Tokens(uncertainty=nodes, rejection=line(nodes, 0.815, -0.066)),
    ...     system=System(
    ...         link=Link(bandwidth_hz=1e6, snr=3.0),
    ...         codec=Codec(vocab_size=32_000),
    ...         latency=Latency(slm_s=0.01, llm_s=0.1),
    ...     ),
    ...     budget=Budget(bias=0.05),
    ... )
    >>> round(answer(setting).row.skip_rate, 2)
    0.43
    """
    if not setting.has_profile:
        return _answer_from_law(setting)
    extra = (
        quantisation_profile(setting.tokens, setting.system.codec) if setting.charge_quantisation else None
    )
    point = operating_point(
        setting.tokens,
        setting.system,
        setting.budget,
        bias_price_s=setting.bias_price_s or 0.0,
        quantisation_tv=extra,
        bound=bound,
    )
    tokens = setting.tokens
    if extra is not None:
        tokens = replace(tokens, tv_profile=np.clip(np.asarray(tokens.tv_profile) + extra, 0.0, 1.0))
    theta = setting.budget.truncation
    if theta is None:
        theta = point.truncation or max(setting.budget.bias - point.risk, 0.0)
    policy = Policy(
        threshold=point.threshold,
        truncation_price_s=point.truncation_price_s,
        truncation_budget=theta,
        slope=setting.slope,
        intercept=setting.intercept,
        offline_k=_offline_k(setting, theta),
    )
    return Answer(
        row=evaluate(SCHEMES["cu-hlm-exact"], tokens, setting.system, policy),
        policy=policy,
        point=point,
        bias_bound=point.bias,
        binds=point.binds,
        tokens=tokens,
    )


def _offline_k(setting: Setting, theta: float) -> int:
    tokens = setting.tokens
    if setting.offline_k is not None:
        return setting.offline_k
    if tokens.tv_profile is None or tokens.draft_prob is None or tokens.k_grid is None:
        return Policy().offline_k
    rejection = line(tokens.uncertainty, setting.slope, setting.intercept)
    profile = np.clip(tokens.tv_profile, 0.0, 1.0)
    return printed_k_offline(
        profile, tokens.k_grid, tokens.draft_prob, rejection, theta, weight=tokens.weight
    )


def _answer_from_law(setting: Setting) -> Answer:
    tokens, limit = setting.tokens, setting.budget.bias
    if setting.budget.risk is not None:
        limit = min(limit, setting.budget.risk)
    found = thresholds_of.risk_budget_empirical(
        tokens.uncertainty, tokens.rejection, limit, weight=tokens.weight
    )
    below = tokens.uncertainty[tokens.uncertainty < found.threshold]
    whole = found.tie_probability == 1.0
    threshold = found.threshold if whole or below.size == 0 else float(below.max())
    if not whole and below.size == 0:
        threshold = -1.0
    policy = Policy(
        threshold=threshold,
        slope=setting.slope,
        intercept=setting.intercept,
        offline_k=min(setting.offline_k or Policy().offline_k, setting.system.codec.vocab_size),
    )
    row = evaluate(SCHEMES["cu-hlm-offline"], tokens, setting.system, policy)
    all_skipped = row.skip_rate == 1.0
    own = setting.budget.risk is not None and setting.budget.risk < setting.budget.bias
    binds = "none" if all_skipped else "risk" if own else "bias"
    return Answer(row=row, policy=policy, point=None, bias_bound=row.bias, binds=binds, tokens=tokens)


def transmit_s(setting: Setting, bias_price_s: float) -> float:
    r"""Seconds that a transmission costs at the size which is best for a price of bias.

    .. math:: \tau_\mathrm{LLM} + E[\min_k \tau_\mathrm{up}(k) + \lambda \mathrm{TV}_k]

    A minimum of costs that fall with the SNR falls with the SNR, so the threshold that follows from it does.
    Derivation: ``derivations.optimise.transmit_cost``.

    Parameters
    ----------
    setting : Setting
        The question.
    bias_price_s : float
        :math:`\lambda` [s].

    Returns
    -------
    float
        Seconds [s].

    Examples
    --------
    See `answer`.
    """
    system, tokens = setting.system, setting.tokens
    index = system.codec.bits_per_index
    if not setting.has_profile or tokens.k_grid is None or tokens.tv_profile is None:
        size = min(setting.offline_k or Policy().offline_k, system.codec.vocab_size)
        uplink_s = packet_latency_s(system.link, distribution_bit(system.codec, size))
        return float(transmission_latency_s(system.latency, uplink_s, downlink_bit=index))
    uplink_s = packet_latency_s(system.link, distribution_bit(system.codec, tokens.k_grid))
    cost_s = np.min(uplink_s + bias_price_s * np.clip(tokens.tv_profile, 0.0, 1.0), axis=1)
    return float(transmission_latency_s(system.latency, float(tokens.weight @ cost_s), downlink_bit=index))


def thresholds(setting: Setting, found: Answer) -> dict[str, float | None]:
    """Return the thresholds of THEORY section 6 for a setting.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point, whose multiplier prices bias where no price is given.

    Returns
    -------
    dict
        `risk_averse`, `risk_prone`, `risk_budget`, `cost_optimal` [-] and the `bias_price_s` of the last one;
        None where an input is missing.

    Examples
    --------
    See `answer`.
    """
    tokens, limit = setting.tokens, setting.budget.risk
    limit = setting.budget.bias if limit is None else limit
    budgeted = thresholds_of.risk_budget_empirical(
        tokens.uncertainty, tokens.rejection, limit, weight=tokens.weight
    )
    price_s = setting.bias_price_s
    if price_s is None and found.point is not None:
        price_s = found.point.multiplier_s
    optimal = None
    if price_s is not None and price_s > 0.0:
        cost_s = transmit_s(setting, price_s)
        optimal = float(thresholds_of.cost_optimal(setting.slope, setting.intercept, cost_s, price_s))
    prone = None
    if setting.delta is not None:
        prone = float(thresholds_of.risk_prone(setting.slope, setting.intercept, setting.delta))
    return {
        "risk_averse": float(thresholds_of.risk_averse(setting.slope, setting.intercept)),
        "risk_prone": prone,
        "risk_budget": budgeted.threshold,
        "cost_optimal": optimal,
        "bias_price_s": price_s,
    }


def certificate(setting: Setting, found: Answer, *, solver: bool = False) -> dict[str, Any] | None:
    """Return the proof that no policy within the budget is faster than the best randomised one.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point.
    solver : bool, default False
        Whether to solve the linear programme in cvxpy too, and take the bound from its multiplier.

    Returns
    -------
    dict or None
        `primal`, `dual`, `gap` in seconds, `relative_gap`, and where they come from; None without profiles.

    Examples
    --------
    See `answer`.
    """
    point = found.point
    if point is None or point.optimum_s is None or point.dual_s is None:
        return None
    result: dict[str, Any] = {
        "primal": point.optimum_s,
        "dual": point.dual_s,
        "solver": "closed form, weak duality",
        "multiplier_s": point.multiplier_s,
    }
    if solver:
        extra = (
            quantisation_profile(setting.tokens, setting.system.codec)
            if setting.charge_quantisation
            else None
        )
        given = curves(setting.tokens, setting.system, quantisation_tv=extra)
        table, solved = solve_curves(given, setting.budget.bias)
        proof: Certificate = solve_lp(table.latency_s, table.bias, given.weight, setting.budget.bias)
        result |= {
            "dual": given.base_s + proof.dual_s,
            "solver": proof.solver,
            "solver_primal": given.base_s + proof.primal_s,
            "solver_multiplier_s": proof.multiplier_s,
            "num_contexts": len(given.weight),
            "num_actions": table.latency_s.shape[1],
            "closed_form_dual": given.base_s + solved.dual_s,
        }
    result["gap"] = result["primal"] - result["dual"]
    result["relative_gap"] = result["gap"] / result["primal"]
    return result


def operating_point_row(setting: Setting, found: Answer) -> dict[str, Any]:
    """Return the operating point under the names of the command line.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point.

    Returns
    -------
    dict
        Columns of the recommended scheme, its bounds and how far it is from the best randomised policy.

    Examples
    --------
    See `answer`.
    """
    row, point = found.row, found.point
    names = (
        *("threshold", "skip_rate", "risk", "k_mean", "uplink_bit_per_token", "latency_s"),
        *("throughput_token_per_s", "mean_rate_token_per_s", "speedup_over_hlm", "floor_ratio"),
        *("llm_calls_per_token", "energy_j_per_token"),
    )
    result = {name: getattr(row, name) for name in names}
    result |= {
        "scheme": row.name,
        "risk": row.risk if point is None else point.risk,
        "truncation_bias": row.truncation_bias if point is None else point.truncation,
        "bias_bound": found.bias_bound,
        "bias_budget": setting.budget.bias,
        "binds": found.binds,
        "truncation_price_s": None if point is None else point.truncation_price_s,
        "optimum_latency_s": None if point is None else point.optimum_s,
        "excess_over_optimum": None if point is None else point.excess,
    }
    return result


def scheme_rows(
    setting: Setting,
    found: Answer,
    names: tuple[str, ...] = tuple(SCHEMES),
    *,
    equal_bias: float | None = None,
    equal_bits: float | None = None,
    policy: Policy | None = None,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the schemes side by side at the operating point's threshold, or lined up.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point.
    names : tuple of str
        Schemes to evaluate.
    equal_bias : float, optional
        Bring each to this bias [-].
    equal_bits : float, optional
        Bring each to this many uplink bits [bit/token].
    policy : Policy, optional
        Settings in place of the operating point's.

    Returns
    -------
    tuple of list and dict
        A dict of columns a scheme, and the reason for each scheme that is missing.

    Examples
    --------
    See `answer`.
    """
    outcomes, missing = line_up(
        names,
        found.tokens,
        setting.system,
        policy or found.policy,
        equal_bias=equal_bias,
        equal_bits=equal_bits,
    )
    return [asdict(row) for row in outcomes], missing


def verify_on_sync(setting: Setting, found: Answer) -> dict[str, Any] | None:
    """Compare exact CU-HLM with CU-HLM at the same trigger.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point.

    Returns
    -------
    dict or None
        Latencies of both, with and without the bonus token, and the risk at which both are equally fast; None
        where nothing is skipped or everything is.

    Examples
    --------
    See `answer`.
    """
    row, system = found.row, setting.system
    if not 0.0 < row.skip_rate < 1.0 or not np.isfinite(row.latency_s):
        return None
    plain, bonus = (
        evaluate(SCHEMES["verify-on-sync"], setting.tokens, system, replace(found.policy, bonus=with_bonus))
        for with_bonus in (False, True)
    )
    chance, index = 1.0 - row.skip_rate, system.codec.bits_per_index
    latency = system.latency
    answered_s = float(transmission_latency_s(latency, 0.0, downlink_bit=index))
    sent_s = (row.latency_s - latency.slm_s - row.skip_rate * latency.llm_prefill_s) / chance - answered_s
    draft_s = float(packet_latency_s(system.link, index + system.codec.prob_bits))
    rejected = float(setting.tokens.weight @ setting.tokens.rejection) - row.risk
    break_even = sync_break_even_risk(
        latency,
        chance,
        max(sent_s, 0.0),
        draft_s,
        transmitted_rejection=min(max(rejected / chance, 0.0), 1.0),
        answer_bit=index,
        kept_bit=1.0,
        rejected_bit=system.codec.vocab_size * system.codec.prob_bits,
    )
    return {
        "cu_hlm_latency_s": row.latency_s,
        "cu_hlm_bias": found.bias_bound,
        "latency_s": plain.latency_s,
        "latency_with_bonus_s": bonus.latency_s,
        "tokens_per_round": plain.tokens_per_round,
        "tokens_per_round_with_bonus": bonus.tokens_per_round,
        "risk": row.risk,
        "break_even_risk": float(break_even),
        "exact_wins": plain.latency_s < row.latency_s,
    }


def truncation_orders(setting: Setting) -> dict[str, Any] | None:
    """Compare the rules for k at equal budget, and the orders of truncating and drafting at equal bits.

    Parameters
    ----------
    setting : Setting
        The question.

    Returns
    -------
    dict or None
        Mean bits of the exact rule over the printed one at each budget; bias and acceptance of both orders at
        each recorded size. None without profiles.

    Examples
    --------
    See `answer`.
    """
    tokens, system = setting.tokens, setting.system
    if tokens.tv_profile is None or tokens.draft_prob is None:
        return None
    budgets = (0.01, 0.02, 0.05, 0.1, 0.2)
    ratios = []
    for theta in budgets:
        policy = Policy(
            threshold=-1.0, truncation_budget=theta, slope=setting.slope, intercept=setting.intercept
        )
        exact, printed = (
            evaluate(SCHEMES[name], tokens, system, policy).uplink_bit_per_token
            for name in ("cu-hlm-exact", "cu-hlm-online")
        )
        ratios.append({"budget": theta, "exact_bit": exact, "printed_bit": printed, "ratio": exact / printed})
    result: dict[str, Any] = {"exact_over_printed": ratios}
    if tokens.coarse_k_grid is not None and tokens.output_bias is not None and tokens.tv is not None:
        acceptance = tokens.truncated_acceptance
        result["orders"] = [
            {
                "k": int(size),
                "bit": int(distribution_bit(system.codec, int(size))),
                "sample_then_truncate_bias": float(tokens.weight @ tokens.output_bias[:, place]),
                "truncate_then_sample_bias": 0.0,
                "sample_acceptance": 1.0 - float(tokens.weight @ tokens.tv),
                "truncate_then_sample_acceptance": None
                if acceptance is None
                else float(tokens.weight @ acceptance[:, place]),
            }
            for place, size in enumerate(tokens.coarse_k_grid)
        ]
    return result
