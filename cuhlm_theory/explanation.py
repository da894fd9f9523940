"""The operating point in words: which constraint binds, and what one more unit of each resource would buy."""

from dataclasses import dataclass, replace

import numpy as np

from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Budget
from cuhlm_theory.summary import Answer, Setting, answer

_DB = 10.0**0.1
_STEP = 0.01  # of a budget
_MARGIN = 0.001  # of bias, at the multiplier's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the best operating point gains from a change of the setting."""

    change: str
    """The change, in words."""
    saved_s: float | None
    """Latency saved, negative where it costs [s/token]; None where the changed setting has no answer."""


def gains(setting: Setting, found: Answer) -> list[Gain]:
    """Solve the problem again with one more unit of each resource.

    Parameters
    ----------
    setting : Setting
        The question.
    found : Answer
        Its operating point.

    Returns
    -------
    list of Gain
        For 0.01 more bias, 0.01 more of a part of the budget that binds, one dB, one bit a probability and a
        tenth less LLM latency.

    Examples
    --------
    See `explain`.
    """
    budget, system = setting.budget, setting.system
    more = {"bias": min(budget.bias + _STEP, 1.0)}
    changed = {f"{_STEP:g} more bias": replace(setting, budget=replace(budget, **more))}
    if found.binds in ("risk", "truncation"):
        part = {found.binds: min(getattr(budget, found.binds) + _STEP, 1.0)}
        changed[f"{_STEP:g} more {found.binds} budget"] = replace(setting, budget=replace(budget, **part))
    faster = replace(system.latency, llm_s=0.9 * system.latency.llm_s)
    finer = replace(system.codec, prob_bits=system.codec.prob_bits + 1)
    for what, better in (
        ("One more dB of SNR", replace(system, link=replace(system.link, snr=system.link.snr * _DB))),
        ("One more bit a probability", replace(system, codec=finer)),
        ("10 % less LLM latency", replace(system, latency=faster)),
    ):
        changed[what] = replace(setting, system=better)
    return [Gain(change=what, saved_s=_saved_s(found, change)) for what, change in changed.items()]


def _saved_s(found: Answer, change: Setting) -> float | None:
    try:
        return found.row.latency_s - answer(change, bound=False).row.latency_s
    except CuhlmError:
        return None


def explain(budget: Budget, found: Answer, gained: list[Gain]) -> list[str]:
    """Say in words which constraint binds and what one more unit of each resource would buy.

    Parameters
    ----------
    budget : Budget
        Bias that may be spent.
    found : Answer
        Operating point within that budget.
    gained : list of Gain
        What `gains` found for it.

    Returns
    -------
    list of str
        Sentences.

    Examples
    --------
    >>> from cuhlm_theory.contexts import Tokens
    >>> from cuhlm_theory.parameters import Codec, Latency, Link, System
    >>> setting = Setting(
    ...     slope=0.8,
    ...     intercept=0.0,
    ...     delta=None,
    ...     tokens=Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.08, 0.72])),
    ...     system=System(
    ...         link=Link(bandwidth_hz=1e6, snr=3.0),
    ...         codec=Codec(vocab_size=32_000),
    ...         latency=Latency(slm_s=0.01, llm_s=0.1),
    ...     ),
    ...     budget=Budget(bias=0.05),
    ... )
    >>> found = answer(setting)
    >>> for sentence in explain(setting.budget, found, gains(setting, found))[:2]:
    ...     print(sentence)
    The bias budget of 0.05 binds: the bias is unknown (risk 0.04), with 50.0% of the tokens skipped.
    0.01 more bias saves 0 ms a token (0.00%).
    """
    sentences = [_what_binds(found, budget), *_certified(found)]
    for gain in gained:
        if gain.saved_s is None or not np.isfinite(gain.saved_s):
            sentences.append(f"{gain.change} would not change what is possible.")
            continue
        verb = "saves" if gain.saved_s >= 0.0 else "costs"
        amount_s = abs(gain.saved_s)
        sentences.append(
            f"{gain.change} {verb} {amount_s * 1e3:.4g} ms a token ({amount_s / found.row.latency_s:.2%})."
        )
    return sentences


def _certified(found: Answer) -> list[str]:
    point = found.point
    if point is None or point.optimum_s is None or point.multiplier_s is None:
        return []
    most_s = min(_MARGIN * point.multiplier_s, point.optimum_s)
    return [
        f"The multiplier of the bias budget is {point.multiplier_s:.4g} s a token per unit of bias: the "
        f"certified optimum falls at that rate here, so {_MARGIN:g} more bias saves it at most "
        f"{most_s * 1e3:.3g} ms a token.",
        f"One threshold and one rule for k take {point.excess:.2%} more latency than the certified "
        f"optimum, which knows the risk of every context; no device does.",
    ]


def _what_binds(found: Answer, budget: Budget) -> str:
    row = found.row
    spent = "unknown" if found.bias_bound is None else f"{found.bias_bound:.4g}"
    parts = f"risk {found.row.risk if found.point is None else found.point.risk:.4g}"
    if found.point is not None:
        parts += f" + truncation {found.point.truncation:.4g}"
    if found.binds == "none":
        return f"No budget binds: the bias is {spent} ({parts}) of the {budget.bias:.4g} allowed."
    named = {"bias": budget.bias, "risk": budget.risk, "truncation": budget.truncation}[found.binds]
    return (
        f"The {found.binds} budget of {named:.4g} binds: the bias is {spent} ({parts}), with "
        f"{row.skip_rate:.1%} of the tokens skipped."
    )
