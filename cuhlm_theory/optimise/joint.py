"""The wider problem: scheme, threshold, size, bits a probability, codec and draft count together."""

from dataclasses import dataclass, replace

import numpy as np

from cuhlm_theory._checks import as_count
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.optimise.operating import operating_point
from cuhlm_theory.parameters import Budget, Codec, System, Tokens
from cuhlm_theory.schemes import SCHEMES, Outcome, Policy, evaluate
from cuhlm_theory.schemes.lineup import candidate_thresholds
from cuhlm_theory.truncation import quantisation_tv_bound

_SLACK = 1e-9
_CONFIDENCES = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scheme with the settings that make it fastest within the budget."""

    outcome: Outcome
    """What it achieves; its bias includes quantisation where that is charged."""
    policy: Policy
    """Its settings."""
    codec: Codec
    """Its codec: kind and bits a probability."""


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
    three, which no other beats. Exact schemes have no bias; their draft counts come from the closed form for
    the mean acceptance and then from the neighbours on the recorded tokens, up to ``max_drafts``.
    Derivation: ``derivations.optimise.joint``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with every profile.
    system : System
        Device, server and link; its codec supplies V and the bits an index.
    budget : Budget
        Bias that may be spent.
    max_drafts : int
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
    it received. Schemes that draft from the quantised law (K-SQS) pay in acceptance instead. DSSD-like
    schemes send one scalar, kept at the bits of the given codec.

    Examples
    --------
    See `cuhlm_theory.optimise.operating_point`.
    """
    as_count("max_drafts", max_drafts)
    lean = replace(system, codec=replace(system.codec, kind="best"))
    found = [
        candidate
        for candidate in (
            *_alone(tokens, system, budget),
            _compressed(tokens, lean, budget),
            *(_drafting(name, tokens, lean, max_drafts) for name in ("dsd", "dssd")),
            *(_sparse(name, tokens, lean, max_drafts) for name in ("tk-slt", "tslt", "k-sqs")),
            _stopping(tokens, lean, max_drafts),
            _syncing(tokens, lean),
        )
        if candidate is not None and np.isfinite(candidate.outcome.latency_s)
    ]
    if not found:
        raise InfeasibleError("no scheme meets the budget over this link; raise snr_db or bias_budget")
    return Joint(candidates=tuple(sorted(found, key=lambda candidate: candidate.outcome.latency_s)))


def _candidate(name: str, tokens: Tokens, system: System, policy: Policy) -> Candidate:
    return Candidate(
        outcome=evaluate(SCHEMES[name], tokens, system, policy), policy=policy, codec=system.codec
    )


def _fastest(candidates: list[Candidate]) -> Candidate | None:
    return min(candidates, key=lambda candidate: candidate.outcome.latency_s, default=None)


def _alone(tokens: Tokens, system: System, budget: Budget) -> list[Candidate]:
    both = [_candidate(name, tokens, system, Policy()) for name in ("slm", "llm")]
    return [one for one in both if (one.outcome.bias or 0.0) <= budget.bias]


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
    sizes = np.asarray(tokens.k_grid)
    return quantisation_tv_bound(np.minimum(sizes + 1, codec.vocab_size), codec.prob_bits)


def _compressed(tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    """CU-HLM with the exact rule: the best bits a probability, threshold and sizes."""
    best = None
    for bits in range(1, 33):
        at = replace(system, codec=replace(system.codec, prob_bits=bits))
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
        charged = replace(tokens, tv_profile=np.minimum(tokens.tv_profile + extra, 1.0))
        candidate = _candidate("cu-hlm-exact", charged, at, policy)
        if best is None or candidate.outcome.latency_s < best.outcome.latency_s:
            best = candidate
    return best


def _drafting(
    name: str, tokens: Tokens, system: System, max_drafts: int, given: Policy | None = None
) -> Candidate:
    """Climb from the best count for the mean acceptance to the best one on the recorded tokens."""

    def at(count: int) -> Candidate:
        return _candidate(name, tokens, system, replace(policy, num_drafts=count))

    policy = given or Policy()
    start = evaluate(SCHEMES[name], tokens, system, policy)
    count = int(min(max(round(start.num_drafts or 1.0), 1), max_drafts))
    best = at(count)
    for step in (-1, 1):
        trial = count + step
        while 1 <= trial <= max_drafts:
            candidate = at(trial)
            if candidate.outcome.latency_s >= best.outcome.latency_s:
                break
            best, trial = candidate, trial + step
    return best


def _sparse(name: str, tokens: Tokens, system: System, max_drafts: int) -> Candidate | None:
    if tokens.coarse_k_grid is None:
        return None
    candidates = []
    for size in tokens.coarse_k_grid:
        for levels in (15, 63, 255, 1023) if name == "k-sqs" else (100,):
            policy = Policy(num_candidates=int(size), lattice_levels=levels)
            candidates.append(_drafting(name, tokens, system, max_drafts, policy))
    return _fastest(candidates)


def _stopping(tokens: Tokens, system: System, max_drafts: int) -> Candidate | None:
    if tokens.max_prob is None:
        return None
    policies = [Policy(confidence=float(at), max_drafts=max_drafts) for at in _CONFIDENCES]
    return _fastest([_candidate("confidence-stop", tokens, system, policy) for policy in policies])


def _syncing(tokens: Tokens, system: System) -> Candidate | None:
    candidates = []
    for threshold in candidate_thresholds(tokens):
        for bonus in (False, True):
            try:
                policy = Policy(threshold=float(threshold), bonus=bonus)
                candidates.append(_candidate("verify-on-sync", tokens, system, policy))
            except CuhlmError:  # i.i.d. tokens that are all skipped never synchronise
                continue
    return _fastest(candidates)
