"""The wider problem: scheme, threshold, size, bits a probability, codec and draft count together."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from cuhlm_theory._checks import as_count
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.optimisation.actions import curves
from cuhlm_theory.optimisation.operating import operating_point
from cuhlm_theory.parameters import Budget, Codec, System
from cuhlm_theory.schemes import SCHEMES, Outcome, Scheme, at_bias, best_num_drafts
from cuhlm_theory.schemes.payload import Exact, Top
from cuhlm_theory.schemes.skip import AtRandom
from cuhlm_theory.truncation import quantisation_tv_bound

_SLACK = 1e-9
_MOST_BITS = 32  # a probability; more would only lengthen the packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scheme with the settings that make it fastest within the budget."""

    outcome: Outcome
    """What it achieves; its bias includes quantisation where that is charged."""
    scheme: Scheme
    """The scheme with its numbers."""
    codec: Codec
    """Its codec: kind and bits a probability."""
    chosen: tuple[str, ...] = ()
    """Numbers of the scheme that were chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The best setting of every scheme, fastest first."""

    candidates: tuple[Candidate, ...]
    """At least one; the first is the optimum."""

    @property
    def best(self) -> Candidate:
        """The fastest scheme within the budget."""
        return self.candidates[0]


def joint_optimum(
    tokens: Tokens,
    system: System,
    budget: Budget,
    *,
    max_drafts: int = 32,
    charge_quantisation: bool = True,
) -> Joint:
    r"""Minimise latency over scheme, threshold, size, bits a probability, codec and draft count.

    Nested: threshold and sizes of CU-HLM are closed forms for each :math:`b_\mathrm{prob}`; its search
    ends when quantising for free could no longer win, because bits only grow. The codec is the best of the
    three, which no other beats. Draft counts start from the closed form for the mean acceptance and climb to
    the best neighbour on the recorded tokens, up to ``max_drafts``; thresholds, sizes of candidate sets and
    confidences are tried one by one. `cu-hlm-online` is left out, because its bias is only estimated.
    Derivation: ``derivations.optimise.joint``.

    Quantisation to b bits adds at most (k + 1)/(4 (2^b - 1)) to the bias of CU-HLM, which verifies with what
    it received. With ``charge_quantisation`` off, the device drafts from the law quantised to the bits of the
    given codec, as at the plain `operating_point`: CU-HLM is also tried at those bits uncharged, in the given
    codec too, so that the plain point is never the faster one; other bits stay charged. Schemes that always
    draft from the quantised law (K-SQS) pay in acceptance instead. HLM, U-HLM and DSD send all of x and
    DSSD-like schemes one scalar, both at the bits of the given codec and uncharged.
    """
    as_count("max_drafts", max_drafts)
    for name in ("k_grid", "coarse_k_grid", "threshold_grid"):
        tokens.need(name)  # refuse at once what would be missed after minutes
    lean = replace(system, codec=replace(system.codec, kind="best"))
    uncharged = () if charge_quantisation else (lean, system)
    found = []
    for scheme in SCHEMES.values():
        if not scheme.payload.depends_on_draft:
            tried = [_best(scheme, tokens, lean, budget, max_drafts)]
            tried += [_uncharged(scheme, tokens, at, budget) for at in uncharged]
            found.append(_fastest(tried))
    usable = [one for one in found if one is not None and np.isfinite(one.outcome.latency_s)]
    if not usable:
        raise InfeasibleError("no scheme meets the budget over this link; raise snr_db or bias_budget")
    return Joint(candidates=tuple(sorted(usable, key=lambda candidate: candidate.outcome.latency_s)))


def _best(
    scheme: Scheme, tokens: Tokens, system: System, budget: Budget, max_drafts: int
) -> Candidate | None:
    """Return the fastest setting of a scheme within the budget; its rules say what can be chosen."""
    match scheme.payload:
        case Exact():
            return _compressed(scheme, tokens, system, budget)
        case Top():
            return _one_size(scheme, tokens, system, budget)
    if isinstance(scheme.skip, AtRandom):
        limit = budget.bias if budget.risk is None else min(budget.bias, budget.risk)
        candidates = iter([_candidate(at_bias(scheme, tokens, system, limit), tokens, system, "skip_rate")])
    else:
        candidates = _settings(scheme, tokens, system, max_drafts)
    return _fastest(one for one in candidates if _meets(one.outcome, budget))


def _settings(scheme: Scheme, tokens: Tokens, system: System, max_drafts: int) -> Iterator[Candidate]:
    """Every combination of what the rules offer, each with the best count of drafts."""
    for numbers in scheme.offered(tokens):
        tuned, count = scheme.using(**numbers), scheme.draft.count
        try:
            if count is None:
                yield _candidate(tuned, tokens, system, *numbers)
            elif scheme.verification.exact:
                yield _climb(tuned, tokens, system, max_drafts, *numbers)
            else:  # the bias of a token grows with the count as well
                for most in range(1, max_drafts + 1):
                    yield _candidate(tuned.using(**{count: most}), tokens, system, *numbers, count)
        except CuhlmError:  # i.i.d. tokens that are all skipped never synchronise
            continue


def _meets(outcome: Outcome, budget: Budget) -> bool:
    spent = (
        (outcome.bias, budget.bias),
        (outcome.risk, budget.risk),
        (outcome.truncation_bias, budget.truncation),
    )
    return all(limit is None or (part is not None and part <= limit + _SLACK) for part, limit in spent)


def _candidate(scheme: Scheme, tokens: Tokens, system: System, *chosen: str) -> Candidate:
    outcome = scheme.ledger(tokens, system).outcome()
    return Candidate(outcome=outcome, scheme=scheme, codec=system.codec, chosen=chosen)


def _fastest(candidates: Iterable[Candidate | None]) -> Candidate | None:
    usable = (one for one in candidates if one is not None)
    return min(usable, key=lambda candidate: candidate.outcome.latency_s, default=None)


def _climb(scheme: Scheme, tokens: Tokens, system: System, most: int, *chosen: str) -> Candidate:
    """Go from the best count for the mean acceptance to the neighbour that is faster, until none is."""
    name = scheme.draft.count or ""

    def at(count: int) -> Candidate:
        return _candidate(scheme.using(**{name: count}), tokens, system, *chosen, name)

    count = min(max(best_num_drafts(scheme, tokens, system), 1), most)
    best = at(count)
    for step in (-1, 1):
        trial = count + step
        while 1 <= trial <= most:
            candidate = at(trial)
            if candidate.outcome.latency_s >= best.outcome.latency_s:
                break
            best, trial = candidate, trial + step
    return best


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
    sizes = tokens.need("k_grid")
    return quantisation_tv_bound(np.minimum(sizes + 1, codec.vocab_size), codec.prob_bits)


def _with_bits(system: System, bits: int) -> System:
    return replace(system, codec=replace(system.codec, prob_bits=bits))


def _uncharged(scheme: Scheme, tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    """CU-HLM at the bits of the codec, which cost no bias: the device drafts from the quantised law."""
    match scheme.payload:
        case Exact():
            with contextlib.suppress(InfeasibleError):
                return _best_sizes(scheme, tokens, system, budget, None)
        case Top():
            return _best_size(scheme, tokens, system, budget, None)
    return None


def _one_size(scheme: Scheme, tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
    """CU-HLM with one size for all tokens: the best bits a probability, threshold and recorded size."""
    tried = []
    for bits in range(1, _MOST_BITS + 1):
        at = _with_bits(system, bits)
        tried.append(_best_size(scheme, tokens, at, budget, quantisation_profile(tokens, at.codec)))
    return _fastest(tried)


def _best_size(
    scheme: Scheme, tokens: Tokens, system: System, budget: Budget, quantisation_tv: np.ndarray | None
) -> Candidate | None:
    """One size for all tokens at given bits: the best threshold and recorded size; None where none fits."""
    given = curves(tokens, system, quantisation_tv=quantisation_tv)
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
        return None
    tuned = scheme.using(threshold=float(given.thresholds[j]), offline_k=int(given.sizes[k]))
    return _candidate(tuned, _charged(tokens, quantisation_tv), system, "threshold", "offline_k")


def _charged(tokens: Tokens, extra: np.ndarray | None) -> Tokens:
    if extra is None:
        return tokens
    return tokens.having(tv_profile=np.minimum(tokens.need("tv_profile") + extra, 1.0))


def _compressed(scheme: Scheme, tokens: Tokens, system: System, budget: Budget) -> Candidate | None:
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
            best = _fastest([best, _best_sizes(scheme, tokens, at, budget, extra)])
        except InfeasibleError:
            continue
    return best


def _best_sizes(
    scheme: Scheme, tokens: Tokens, system: System, budget: Budget, quantisation_tv: np.ndarray | None
) -> Candidate:
    """Sizes by the exact rule at given bits: the best threshold and price of truncation."""
    point = operating_point(tokens, system, budget, quantisation_tv=quantisation_tv, bound=False)
    tuned = scheme.using(threshold=point.threshold, truncation_price_s=point.truncation_price_s)
    return _candidate(tuned, _charged(tokens, quantisation_tv), system, "threshold", "truncation_price_s")
