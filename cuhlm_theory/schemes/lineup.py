"""Line the schemes up: turn the knob of each until it has a wanted bias, or sends a wanted number of bits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from cuhlm_theory._checks import as_positive, as_probability
from cuhlm_theory.contexts import NEVER_SKIP, Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes.draft import UntilUnsure
from cuhlm_theory.schemes.evaluation import one_draft_bias
from cuhlm_theory.schemes.ledger import Ledger
from cuhlm_theory.schemes.payload import KeptSet
from cuhlm_theory.schemes.shares import best_shares
from cuhlm_theory.schemes.skip import AtRandom, Below, KeepShare
from cuhlm_theory.schemes.table import Scheme
from cuhlm_theory.texts import Texts, Written

_CLOSE = 1e-12
_SPENT = 1e-16  # of a bias, where it is met with equality
_TRIALS = 8  # thresholds that are tried at once
_HALVINGS = 40
_KNOB_HALVINGS = 16
_REFINED = 3
_MOST_KEPT = (1, 2, 3, 4, 5, 7, 11, 15)


def at_bias(scheme: Scheme, contexts: Written, system: System, bias: float) -> Scheme:
    """Return the scheme at a wanted bias, as nearly as its knob allows.

    A threshold is randomised between two recorded neighbours, so the bias is met with equality. Shares are
    fitted to the tokens, and how uncertain a token they may keep is chosen for the least latency.

    >>> from cuhlm_theory.schemes import SCHEMES
    >>> tokens = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.5]))
    >>> at_bias(SCHEMES["rand-hlm"], tokens, None, 0.15).skip
    AtRandom(skip_rate=0.5)
    """
    wanted = float(as_probability("equal_bias", bias))
    if isinstance(scheme.skip, AtRandom):
        return _by_rate(scheme, contexts, wanted)
    if isinstance(scheme.skip, KeepShare) and not scheme.drafts_several:
        return _by_shares(scheme, contexts.at(scheme.text_at), system, wanted)
    if scheme.verification.knob is not None:
        return _by_acceptance(scheme, contexts.at(scheme.text_at), system, wanted)
    if not isinstance(scheme.skip, Below) or scheme.drafts_several:
        return scheme

    def spent(tuned: Scheme) -> float:
        return one_draft_bias(tuned, contexts.at(tuned.text_at), system)

    def met() -> Scheme:
        names = (f"{scheme.name} has a bias of", "equal_bias")
        return _spent_whole(_by_threshold(scheme, contexts, spent, wanted, names), spent, wanted)

    if scheme.payload.weighs_airtime or not isinstance(contexts, Texts):
        return met()
    # no link moves what is truncated, and so none moves the bias
    return contexts.once(f"{scheme.name} at a bias", met, (_at(scheme, NEVER_SKIP), system.codec, wanted))


def at_its_best(scheme: Scheme, contexts: Written, system: System, bias: float) -> Scheme:
    """Return the scheme with the numbers that are its own: what ends a run, a threshold, lossy acceptance.

    Bias is spent up to a limit; a scheme that has no such number, or cannot stay within, is left as it is.
    """
    if isinstance(scheme.draft, UntilUnsure):
        return _fastest_confidence(scheme, contexts, system)
    kept = isinstance(scheme.payload, KeptSet)
    if kept and scheme.drafts_several:
        return _fastest_threshold(scheme, contexts, system)
    if not kept and scheme.verification.knob is None:
        return scheme
    try:
        spent = at_bias(scheme, contexts, system, bias)
    except CuhlmError:
        return scheme
    if not kept:
        return spent
    plain = spent.using(upper_threshold=None, mix=0.0)  # sends a smaller set, which may be worth more
    return max((spent, plain), key=lambda one: one.ledger(contexts, system).rate_token_per_s)


def at_bits(scheme: Scheme, contexts: Written, system: System, bits: float) -> Scheme:
    """Return the scheme that sends a wanted number of uplink bits per token, or fewer."""
    wanted = float(as_positive("equal_bits", bits))

    def sent(tuned: Scheme) -> float:
        ledger = tuned.ledger(contexts, system)
        return ledger.per_token(ledger.uplink_bit)

    if isinstance(scheme.skip, AtRandom):
        most, half = (sent(scheme.using(skip_rate=share)) for share in (0.0, 0.5))  # linear but for the end
        return scheme.using(skip_rate=min(max((most - wanted) / (2.0 * (most - half)), 0.0), 1.0))
    if scheme.payload.knob is not None:
        return _by_candidates(scheme, system, sent, wanted)
    if not isinstance(scheme.skip, Below) or scheme.drafts_several:
        return scheme
    if sent(_at(scheme, NEVER_SKIP)) <= wanted:
        return _at(scheme, NEVER_SKIP)

    def unsent(tuned: Scheme) -> float:  # falls below -wanted while too much is sent
        return -sent(tuned)

    return _by_threshold(scheme, contexts, unsent, -wanted, (f"{scheme.name} sends", "equal_bits"))


def _fastest_threshold(scheme: Scheme, contexts: Written, system: System) -> Scheme:
    """Return a scheme that drafts until a trigger at the recorded threshold of the highest throughput."""
    return _fastest([_at(scheme, float(at)) for at in contexts.thresholds()], contexts, system)


def _fastest_confidence(scheme: Scheme, contexts: Written, system: System) -> Scheme:
    """Return a scheme that drafts until the device is unsure at the confidence of the highest throughput."""
    return _fastest([scheme.using(**numbers) for numbers in scheme.draft.options()], contexts, system)


def _fastest(row: Sequence[Scheme], contexts: Written, system: System) -> Scheme:
    """Try eight schemes of a row in the order of a number, then eight between the neighbours of the best."""

    @cache
    def latency_s(place: int) -> float:
        try:
            ledger = row[place].ledger(contexts, system)
        except CuhlmError:  # i.i.d. tokens that are all skipped never synchronise
            return np.inf
        return ledger.per_token(ledger.seconds)

    near = range(len(row))
    while True:
        stride = -(-len(near) // _TRIALS)
        best = min(near[::stride], key=latency_s)
        if stride == 1:
            return row[best]
        near = range(max(best - stride + 1, 0), min(best + stride, len(row)))


def _by_rate(scheme: Scheme, contexts: Written, wanted: float) -> Scheme:
    """Find the rate of random skipping whose bias is the wanted one on the text that this rate writes."""
    rate = 0.0
    for _ in range(_HALVINGS):
        tokens = contexts.at(scheme.using(skip_rate=rate).text_at)
        most = float(tokens.weight @ tokens.mean_rejection())
        before, rate = rate, min(wanted / most, 1.0) if most > 0.0 else 1.0
        if abs(rate - before) < _CLOSE:
            break
    return scheme.using(skip_rate=rate)


def _at(scheme: Scheme, threshold: float) -> Scheme:
    return scheme.using(threshold=threshold, upper_threshold=None, mix=0.0)


def shares_at_bias(scheme: Scheme, tokens: Tokens, bias: float) -> Iterator[Scheme]:
    """Yield the scheme with the best shares within a bias, a row a number of tokens that may be kept at once.

    >>> from cuhlm_theory.schemes import SCHEMES
    >>> tokens = Tokens(uncertainty=np.array([0.1, 0.6]), rejection=np.array([0.1, 0.5]))
    >>> [round(row.skip.highest, 1) for row in shares_at_bias(SCHEMES["kept-law"], tokens, 0.2)][:3]
    [0.1, 0.6, 0.6]
    """
    for most in _MOST_KEPT:
        highest = 1.0 - 1.0 / (most + 1.0) - _CLOSE
        if np.any(tokens.uncertainty <= highest):
            yield scheme.keeping(best_shares(tokens, bias, highest=highest).rule)


def _by_shares(scheme: Scheme, tokens: Tokens, system: System, wanted: float) -> Scheme:
    """Take the fastest of the shares within a bias."""

    def latency_s(tuned: Scheme) -> float:
        ledger = tuned.ledger(tokens, system)
        return ledger.per_token(ledger.seconds)

    nothing = scheme.keeping(KeepShare())
    return min(shares_at_bias(scheme, tokens, wanted), key=latency_s, default=nothing)


def _by_acceptance(scheme: Scheme, tokens: Tokens, system: System, wanted: float) -> Scheme:
    """Find how lenient the acceptance may be: the bias of a verified draft, then what a token has of it."""
    knob, options = scheme.verification.knob or "", scheme.verification.options()
    carried, skips = scheme.payload.carried(tokens, system, scheme.skip), scheme.skip.skips(tokens)

    @cache
    def of_draft(value: float) -> float:
        rule = scheme.using(**{knob: value}).verification
        account = rule.account(tokens, scheme.skip, skips, scheme.payload, carried)
        return float(tokens.weight @ account.bias)

    def within(most: float) -> Scheme:
        strict, loose = options[0][knob], options[-1][knob]
        if of_draft(loose) <= most:
            return scheme.using(**{knob: loose})
        for _ in range(_KNOB_HALVINGS):
            middle = 0.5 * (strict + loose)
            strict, loose = (middle, loose) if of_draft(middle) <= most else (strict, middle)
        return scheme.using(**{knob: strict})

    found, most, spent = None, wanted, 0.0
    for _ in range(_REFINED):
        trial = within(min(most, 1.0))
        ledger = trial.ledger(tokens, system)
        spent = ledger.per_token(ledger.bias)
        if spent <= wanted + _CLOSE:
            found = trial
        if abs(spent - wanted) <= _CLOSE or spent == 0.0:
            break
        most *= wanted / spent
    if found is None:
        raise InfeasibleError(
            f"{scheme.name} has a bias of {spent:.4g} at its strictest, above the wanted {wanted:.4g}; "
            "raise equal_bias"
        )
    return found


def _by_threshold(
    scheme: Scheme, contexts: Written, level: Callable[[Scheme], float], wanted: float, names: tuple[str, str]
) -> Scheme:
    """Find the randomised threshold at which a level that grows with the threshold is met with equality."""
    what, knob = names
    thresholds = [float(threshold) for threshold in contexts.thresholds()]
    low, high = 0, len(thresholds) - 1
    if scheme.payload.weighs_airtime and knob == "equal_bias":  # less is truncated at a higher threshold
        low = int(np.searchsorted(thresholds, scheme.threshold or NEVER_SKIP))
    at_low, at_high = level(_at(scheme, thresholds[low])), level(_at(scheme, thresholds[high]))
    if np.isnan(at_low) or np.isnan(at_high):
        raise InfeasibleError(f"{what} an unknown amount on these tokens; give a recorded --calibration")
    if at_low > wanted + _CLOSE:
        raise InfeasibleError(
            f"{what} {abs(at_low):.4g} even if nothing is skipped, above the wanted {abs(wanted):.4g}; "
            f"raise {knob} or lower truncation_budget"
        )
    wanted = max(wanted, at_low)  # rounding may leave the least just above
    if at_high <= wanted:
        return _at(scheme, thresholds[high])
    while high - low > 1:
        middle = (low + high) // 2
        value = level(_at(scheme, thresholds[middle]))
        if value <= wanted:
            low, at_low = middle, value
        else:
            high = middle
    part = 1.0 if knob == "equal_bias" else 0.5  # where nothing is sent, skipped tokens are not told either
    mixed = scheme.using(threshold=thresholds[low], upper_threshold=thresholds[high], mix=part)
    gain = (level(mixed) - at_low) / part
    mix = (wanted - at_low) / gain if gain > 0.0 else 0.0
    return mixed.using(mix=min(max(mix, 0.0), 1.0))


def _spent_whole(scheme: Scheme, spent: Callable[[Scheme], float], wanted: float) -> Scheme:
    """Move the mix of two thresholds to the bias, which is no straight line: the text moves with it."""
    assert isinstance(scheme.skip, Below)
    now = spent(scheme)
    if not scheme.skip.randomised or abs(now - wanted) <= _CLOSE:
        return scheme
    low, high = (scheme.skip.mix, 1.0) if now < wanted else (0.0, scheme.skip.mix)
    below, above = (spent(scheme.using(mix=mix)) - wanted for mix in (low, high))
    if above <= 0.0:
        return scheme.using(mix=high)
    moved = 0
    for _ in range(_HALVINGS):  # regula falsi; an end that stays twice counts half (Illinois)
        if below >= -_SPENT:
            break
        mix = low - below * (high - low) / (above - below)
        rest = spent(scheme.using(mix=mix)) - wanted
        if rest > 0.0:
            high, above, below, moved = mix, rest, below * (0.5 if moved > 0 else 1.0), 1
        else:
            low, below, above, moved = mix, rest, above * (0.5 if moved < 0 else 1.0), -1
    return scheme.using(mix=low)


def _by_candidates(scheme: Scheme, system: System, sent: Callable[[Scheme], float], wanted: float) -> Scheme:
    """Find the most candidates that fit where the bits rise; a lattice needs fewer again near all of V."""

    def at(count: int) -> Scheme:
        return scheme.using(num_candidates=count)

    if sent(at(1)) > wanted:
        raise InfeasibleError(
            f"{scheme.name} sends {sent(at(1)):.4g} bit a token even with one candidate; raise equal_bits"
        )
    counts = np.arange(1, system.codec.vocab_size + 1)
    low, high = 1, 2 + int(np.argmax(scheme.payload.bit(counts, system.codec, scheme.skip)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sent(at(middle)) <= wanted else (low, middle)
    return at(low)


def line_up(
    schemes: Iterable[Scheme],
    contexts: Written,
    system: System,
    *,
    equal_bias: float | None = None,
    equal_bits: float | None = None,
) -> tuple[list[tuple[Scheme, Ledger]], dict[str, str]]:
    """Evaluate schemes, each brought to one bias or one number of bits where it has a knob.

    Random skipping without a rate of its own takes that of the thresholds beside it.

    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> from cuhlm_theory.schemes import SCHEMES
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> tokens = Tokens(uncertainty=np.array([0.0, 0.5]), rejection=np.array([0.1, 0.4]))
    >>> rows, missing = line_up([SCHEMES["rand-hlm"], SCHEMES["u-hlm"]], tokens, system, equal_bias=0.05)
    >>> [round(ledger.outcome().skip_rate, 3) for _, ledger in rows]
    [0.2, 0.5]
    """
    if equal_bias is not None and equal_bits is not None:
        raise ValueError("equal_bias and equal_bits exclude each other; give one")
    rows, missing = [], {}
    for scheme in schemes:
        try:
            tuned = scheme
            if equal_bias is not None:
                tuned = at_bias(scheme, contexts, system, equal_bias)
            elif equal_bits is not None:
                tuned = at_bits(scheme, contexts, system, equal_bits)
            rows.append((tuned, tuned.ledger(contexts, system)))
        except CuhlmError as error:
            missing[scheme.name] = str(error)
    return rows, missing
