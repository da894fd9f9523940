"""The wider problem: scheme, threshold, size, bits a probability, codec and draft count together."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from cuhlm_theory._checks import as_count
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.optimise.actions import curves
from cuhlm_theory.optimise.operating import operating_point
from cuhlm_theory.parameters import Budget, Codec, System
from cuhlm_theory.schemes import SCHEMES, Outcome, Policy, evaluate
from cuhlm_theory.schemes.lineup import candidate_thresholds
from cuhlm_theory.schemes.rules import column, mean_rejection
from cuhlm_theory.truncation import quantisation_tv_bound

_SLACK = 1e-9
_MOST_BITS = 32  # a probability; more would only lengthen the packet
_CONFIDENCES = np.linspace(0.05, 0.95, 19)
_LEVELS = (15, 63, 255, 1023)
_TARGETS = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scheme with the settings that make it fastest within the budget."""

    outcome: Outcome
    """What it achieves; its bias includes quantisation where that is charged."""
    policy: Policy
    """Its settings."""
    codec: Codec
    """Its codec: kind and bits a probability."""
    chosen: tuple[str, ...] = ()
    """Fields of the policy that were chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The best setting of every scheme, fastest first."""

    candidates: tuple[Candidate, ...]
    """At least one; the first is the optimum."""

    @property
    def best(self) -> Candidate:
        """The fastest scheme within the budget."""
        return self.candidates[0]


def joint_optimum(tokens: Tokens, system: System, budget: Budget, *, max_drafts: int = 32) -> Joint:
    r"""Minimise latency over scheme, threshold, size, bits a probability, codec and draft count.

    Nested: threshold and sizes of CU-HLM are closed forms for each :math:`b_\mathrm{prob}`; its search
    ends when quantising for free could no longer win, because bits only grow. The codec is the best of the
    three, which no other beats. Draft counts start from the closed form for the mean acceptance and climb to
    the best neighbour on the recorded tokens, up to ``max_drafts``; thresholds, sizes of candidate sets and
    confidences are tried one by one. `cu-hlm-online` is left out, because its bias is only estimated.
    Derivation: ``derivations.optimise.joint``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with every profile.
    system : System
        Device, server and link; its codec supplies V and the bits an index.
    budget : Budget
        Bias that may be spent.
    max_drafts : int, default 32
        Most drafts a round [token].

    Returns
    -------
    Joint
        The best setting of each scheme that can meet the budget, fastest first.

    Raises
    ------
    MissingInputError
        If the tokens lack a profile.
    InfeasibleError
        If no scheme meets the budget over this link.

    Notes
    -----
    Quantisation to b bits adds at most (k + 1)/(4 (2^b - 1)) to the bias of CU-HLM, which verifies with what
    it received. Schemes that draft from the quantised law (K-SQS) pay in acceptance instead. HLM, U-HLM and
    DSD send all of x and DSSD-like schemes one scalar, both at the bits of the given codec and uncharged.

    Examples
    --------
    See `cuhlm_theory.optimise.operating_point`.
    """
    as_count("max_drafts", max_drafts)
    for name in ("k_grid", "coarse_k_grid", "threshold_grid"):
        column(tokens, name)  # refuse at once what would be missed after minutes
    lean = replace(system, codec=replace(system.codec, kind="best"))
    found = [
        *(_candidate(name, tokens, lean, Policy()) for name in ("slm", "llm", "hlm")),
        _at_random(tokens, lean, budget),
        *(_by_threshold(name, tokens, lean, budget) for name in ("u-hlm", "floor")),
        _one_size(tokens, lean, budget),
        _compressed(tokens, lean, budget),
        *(_drafting(name, tokens, lean, max_drafts) for name in ("dsd", "dssd")),
        *(_sparse(name, tokens, lean, max_drafts) for name in ("tk-slt", "tslt", "k-sqs")),
        _conformal(tokens, lean, max_drafts),
        _stopping(tokens, lean, max_drafts),
        _syncing(tokens, lean),
    ]
    usable = [one for one in found if one is not None and _meets(one.outcome, budget)]
    usable = [one for one in usable if np.isfinite(one.outcome.latency_s)]
    if not usable:
        raise InfeasibleError("no scheme meets the budget over this link; raise snr_db or bias_budget")
    return Joint(candidates=tuple(sorted(usable, key=lambda candidate: candidate.outcome.latency_s)))


def _meets(outcome: Outcome, budget: Budget) -> bool:
    spent = (
        (outcome.bias, budget.bias),
        (outcome.risk, budget.risk),
        (outcome.truncation_bias, budget.truncation),
    )
    return all(limit is None or (part is not None and part <= limit + _SLACK) for part, limit in spent)


def _candidate(name: str, tokens: Tokens, system: System, policy: Policy, *chosen: str) -> Candidate:
    outcome = evaluate(SCHEMES[name], tokens, system, policy)
    return Candidate(outcome=outcome, policy=policy, codec=system.codec, chosen=chosen)


def _fastest(candidates: Iterable[Candidate]) -> Candidate | None:
    return min(candidates, key=lambda candidate: candidate.outcome.latency_s, default=None)


def _at_random(tokens: Tokens, system: System, budget: Budget) -> Candidate:
    most = float(tokens.weight @ mean_rejection(tokens))
    risk = budget.bias if budget.risk is None else min(budget.bias, budget.risk)
    rate = min(risk / most, 1.0) if most > 0.0 else 1.0
    return _candidate("rand-hlm", tokens, system, Policy(skip_rate=rate), "skip_rate")


def _by_threshold(name: str, tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    tried = (
        _candidate(name, tokens, system, Policy(threshold=float(threshold)), "threshold")
        for threshold in candidate_thresholds(tokens)
    )
    return _fastest(candidate for candidate in tried if _meets(candidate.outcome, budget))


def quantisation_profile(tokens: Tokens, codec: Codec) -> np.ndarray:
    """Bound the TV that quantising adds at each recorded size: k entries and the tail as one more.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``k_grid``.
    codec : Codec
        Bits a probability.

    Returns
    -------
    ndarray of float64, shape [K]
        Bound on the added total variation [-].

    Examples
    --------
    >>> tokens = Tokens(uncertainty=np.zeros(1), rejection=np.zeros(1), k_grid=np.array([1, 29, 32_000]))
    >>> quantisation_profile(tokens, Codec(vocab_size=32_000)).round(6)
    array([0.001961, 0.029412, 1.      ])
    """
    sizes = column(tokens, "k_grid")
    return quantisation_tv_bound(np.minimum(sizes + 1, codec.vocab_size), codec.prob_bits)


def _with_bits(system: System, bits: int) -> System:
    return replace(system, codec=replace(system.codec, prob_bits=bits))


def _one_size(tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    """CU-HLM with one size for all tokens: the best bits a probability, threshold and recorded size."""
    best = None
    for bits in range(1, _MOST_BITS + 1):
        at = _with_bits(system, bits)
        extra = quantisation_profile(tokens, at.codec)
        given = curves(tokens, at, quantisation_tv=extra)
        if not np.all(np.isfinite(given.send_s)):
            return None
        risk = given.weight @ given.risk  # [J + 1]
        lost = ((given.transmit > 0.0) * given.weight[:, None]).T @ given.truncation  # [J + 1, K]
        within = risk[:, None] + lost <= budget.bias
        within &= (risk <= (1.0 if budget.risk is None else budget.risk))[:, None]
        within &= lost <= (1.0 if budget.truncation is None else budget.truncation)
        latency_s = np.outer(given.weight @ given.transmit, given.send_s)
        j, k = np.unravel_index(np.argmin(np.where(within, latency_s, np.inf)), within.shape)
        if not within[j, k]:
            continue
        policy = Policy(threshold=float(given.thresholds[j]), offline_k=int(given.sizes[k]))
        charged = _charged(tokens, extra)
        candidate = _candidate("cu-hlm-offline", charged, at, policy, "threshold", "offline_k")
        best = _fastest([candidate] if best is None else [best, candidate])
    return best


def _charged(tokens: Tokens, extra: np.ndarray) -> Tokens:
    return replace(tokens, tv_profile=np.minimum(column(tokens, "tv_profile") + extra, 1.0))


def _compressed(tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    """CU-HLM with the exact rule: the best bits a probability, threshold and sizes."""
    best = None
    for bits in range(1, _MOST_BITS + 1):
        at = _with_bits(system, bits)
        try:
            if best is not None:
                ideal = operating_point(tokens, at, budget, bound=False)
                if ideal.latency_s >= best.outcome.latency_s:
                    break
            extra = quantisation_profile(tokens, at.codec)
            point = operating_point(tokens, at, budget, quantisation_tv=extra, bound=False)
        except InfeasibleError:
            continue
        policy = Policy(threshold=point.threshold, truncation_price_s=point.truncation_price_s)
        charged = _charged(tokens, extra)
        candidate = _candidate("cu-hlm-exact", charged, at, policy, "threshold", "truncation_price_s")
        best = _fastest([candidate] if best is None else [best, candidate])
    return best


def _climb(at: Callable[[int], Candidate], start: int, most: int) -> Candidate:
    """Go from a count to the neighbour that is faster, until none is."""
    count = min(max(start, 1), most)
    best = at(count)
    for step in (-1, 1):
        trial = count + step
        while 1 <= trial <= most:
            candidate = at(trial)
            if candidate.outcome.latency_s >= best.outcome.latency_s:
                break
            best, trial = candidate, trial + step
    return best


def _drafting(
    name: str, tokens: Tokens, system: System, most: int, policy: Policy | None = None, *chosen: str
) -> Candidate:
    given = policy or Policy()
    start = evaluate(SCHEMES[name], tokens, system, given).num_drafts or 1.0

    def at(count: int) -> Candidate:
        return _candidate(name, tokens, system, replace(given, num_drafts=count), *chosen, "num_drafts")

    return _climb(at, round(start), most)


def _sparse(name: str, tokens: Tokens, system: System, most: int) -> Candidate | None:
    sizes, levels = column(tokens, "coarse_k_grid"), _LEVELS if name == "k-sqs" else (None,)
    tried = []
    for size, level in itertools.product(sizes, levels):
        policy, chosen = Policy(num_candidates=int(size)), ("num_candidates",)
        if level is not None:
            policy, chosen = replace(policy, lattice_levels=level), (*chosen, "lattice_levels")
        tried.append(_drafting(name, tokens, system, most, policy, *chosen))
    return _fastest(tried)


def _conformal(tokens: Tokens, system: System, most: int) -> Candidate | None:
    chosen = ("conformal_target", "lattice_levels")
    policies = [
        Policy(conformal_target=target, lattice_levels=levels)
        for target, levels in itertools.product(_TARGETS, _LEVELS)
    ]
    return _fastest(_drafting("c-sqs", tokens, system, most, policy, *chosen) for policy in policies)


def _stopping(tokens: Tokens, system: System, most: int) -> Candidate | None:
    start = round(_drafting("dssd", tokens, system, most).outcome.num_drafts or 1.0)

    def longest(confidence: float) -> Candidate:
        def at(count: int) -> Candidate:
            policy = Policy(confidence=confidence, max_drafts=count)
            return _candidate("confidence-stop", tokens, system, policy, "confidence", "max_drafts")

        return _climb(at, start, most)

    return _fastest(longest(float(confidence)) for confidence in _CONFIDENCES)


def _syncing(tokens: Tokens, system: System) -> Candidate | None:
    candidates = []
    for threshold, bonus in itertools.product(candidate_thresholds(tokens), (False, True)):
        policy = Policy(threshold=float(threshold), bonus=bonus)
        try:
            candidates.append(_candidate("verify-on-sync", tokens, system, policy, "threshold", "bonus"))
        except CuhlmError:  # i.i.d. tokens that are all skipped never synchronise
            continue
    return _fastest(candidates)
