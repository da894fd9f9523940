"""The operating point in words: which constraint binds, and what one more unit of each resource would buy."""

from dataclasses import dataclass, replace

import numpy as np

from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Link
from cuhlm_theory.recommendation import Question, Recommendation

_DB = 10.0**0.1
_STEP = 0.01  # of a budget
_MARGIN = 0.001  # of bias, at the multiplier's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the best operating point gains from a change of the question."""

    change: str
    """The change, in words."""
    saved_s: float | None
    """Latency saved, negative where it costs [s/token]; None where the changed question has no answer."""


def gains(found: Recommendation) -> list[Gain]:
    """Solve the problem again with one more unit of each resource.

    Those are 0.01 more bias, 0.01 more of a part of the budget that binds, one dB, one bit a probability and
    a tenth less LLM latency.
    """
    asked = found.question
    budget, system = asked.budget, asked.system
    more = {"bias": min(budget.bias + _STEP, 1.0)}
    changed = {f"{_STEP:g} more bias": replace(asked, budget=replace(budget, **more))}
    if found.binds in ("risk", "truncation"):
        part = {found.binds: min(getattr(budget, found.binds) + _STEP, 1.0)}
        changed[f"{_STEP:g} more {found.binds} budget"] = replace(asked, budget=replace(budget, **part))
    tau = system.latency
    faster = replace(tau, llm_s=0.9 * tau.llm_s, llm_per_token_s=0.9 * tau.llm_per_token_s)
    finer = replace(system.codec, prob_bits=system.codec.prob_bits + 1)
    louder = (
        [("One more dB of SNR", replace(system, link=replace(system.link, snr=system.link.snr * _DB)))]
        if isinstance(system.link, Link)
        else []
    )
    for what, better in (
        *louder,
        ("One more bit a probability", replace(system, codec=finer)),
        ("10 % less LLM latency", replace(system, latency=faster)),
    ):
        changed[what] = replace(asked, system=better)
    return [Gain(change=what, saved_s=_saved_s(found, change)) for what, change in changed.items()]


def _saved_s(found: Recommendation, change: Question) -> float | None:
    try:
        return found.operating.latency_s - change.answer(bound=False).operating.latency_s
    except CuhlmError:
        return None


def explain(found: Recommendation, gained: list[Gain]) -> list[str]:
    """Say in words which constraint binds and what one more unit of each resource would buy."""
    sentences = [_what_binds(found), *_certified(found)]
    for gain in gained:
        if gain.saved_s is None or not np.isfinite(gain.saved_s):
            sentences.append(f"{gain.change} would not change what is possible.")
            continue
        verb = "saves" if gain.saved_s >= 0.0 else "costs"
        amount_s = abs(gain.saved_s)
        share = amount_s / found.operating.latency_s
        sentences.append(f"{gain.change} {verb} {amount_s * 1e3:.4g} ms a token ({share:.2%}).")
    return sentences


def _certified(found: Recommendation) -> list[str]:
    point = found.point
    if point is None or point.optimum_s is None or point.multiplier_s is None:
        return []
    most_s = min(_MARGIN * point.multiplier_s, point.optimum_s)
    return [
        f"To the best randomised policy, which knows the risk of every context, bias is worth "
        f"{point.multiplier_s:.4g} s a token per unit: {_MARGIN:g} more saves at most {most_s * 1e3:.3g} ms.",
        f"One threshold and one rule for k take {point.excess:.2%} more latency; no device knows that risk.",
    ]


def _what_binds(found: Recommendation) -> str:
    row, budget = found.operating, found.question.budget
    spent = "unknown" if found.bias_bound is None else f"{found.bias_bound:.4g}"
    parts = f"risk {row.risk if found.point is None else found.point.risk:.4g}"
    if found.point is not None:
        parts += f" + truncation {found.point.truncation:.4g}"
    if found.binds == "none":
        return f"No budget binds CU-HLM: its bias is {spent} ({parts}) of the {budget.bias:.4g} allowed."
    named = {"bias": budget.bias, "risk": budget.risk, "truncation": budget.truncation}[found.binds]
    return (
        f"The {found.binds} budget of {named:.4g} binds CU-HLM: its bias is {spent} ({parts}), with "
        f"{row.skip_rate:.1%} of the tokens skipped."
    )
