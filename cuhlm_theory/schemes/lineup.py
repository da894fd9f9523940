"""Line the schemes up: turn the knob of each until it has a wanted bias, or sends a wanted number of bits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cuhlm_theory._checks import as_positive, as_probability
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes.evaluate import evaluate
from cuhlm_theory.schemes.rules import mean_rejection
from cuhlm_theory.schemes.table import NEVER_SKIP, Outcome, Policy, Scheme, scheme

_CLOSE = 1e-12


def candidate_thresholds(tokens: Tokens) -> np.ndarray:
    """Return the thresholds to choose from: `NEVER_SKIP`, then the recorded grid or the drafts' own values.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens, or the nodes of a law.

    Returns
    -------
    ndarray of float64, shape [J + 1]
        Increasing thresholds [-].

    Examples
    --------
    >>> candidate_thresholds(Tokens(uncertainty=np.array([0.5, 0.2]), rejection=np.array([0.1, 0.1])))
    array([-1. ,  0.2,  0.5])
    """
    if tokens.threshold_grid is not None and tokens.skip_mass is not None:
        known = np.asarray(tokens.threshold_grid, dtype=np.float64)
    else:
        known = np.unique(tokens.uncertainty)
    return np.concatenate(([NEVER_SKIP], known))


def at_bias(scheme: Scheme, tokens: Tokens, system: System, policy: Policy, bias: float) -> Policy:
    """Return the policy at which a scheme has a wanted bias, as nearly as its knob allows.

    A threshold is randomised between two recorded neighbours, so the bias is met with equality.

    Parameters
    ----------
    scheme : Scheme
        Row to tune.
    tokens : Tokens
        Recorded tokens.
    system : System
        Device, server and link.
    policy : Policy
        Everything that is not tuned.
    bias : float
        Wanted mean bias [-].

    Returns
    -------
    Policy
        The tuned policy; unchanged for a scheme without such a knob.

    Raises
    ------
    ValueError
        If the bias is outside [0, 1].
    InfeasibleError
        If truncation alone exceeds the bias; the text names the knob.
    MissingInputError
        If the bias of the scheme is not known on these tokens.

    Examples
    --------
    >>> from cuhlm_theory.schemes import SCHEMES
    >>> tokens = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.5]))
    >>> at_bias(SCHEMES["rand-hlm"], tokens, None, Policy(), 0.15).skip_rate
    0.5
    """
    wanted = float(as_probability("equal_bias", bias))
    if scheme.knob == "skip_rate":
        most = float(tokens.weight @ mean_rejection(tokens))
        return replace(policy, skip_rate=min(wanted / most, 1.0) if most > 0.0 else 1.0)
    if scheme.knob != "threshold" or scheme.drafts_several:
        return policy

    def spent(threshold: float) -> float:
        tuned = replace(policy, threshold=threshold, upper_threshold=None, mix=0.0)
        outcome = evaluate(scheme, tokens, system, tuned)
        return np.nan if outcome.bias is None else outcome.bias

    return _by_threshold(tokens, policy, spent, wanted, f"{scheme.name} has a bias of", "equal_bias")


def at_bits(scheme: Scheme, tokens: Tokens, system: System, policy: Policy, bits: float) -> Policy:
    """Return the policy at which a scheme sends a wanted number of uplink bits per token, or fewer.

    Parameters
    ----------
    scheme : Scheme
        Row to tune.
    tokens : Tokens
        Recorded tokens.
    system : System
        Device, server and link.
    policy : Policy
        Everything that is not tuned.
    bits : float
        Wanted uplink payload [bit/token].

    Returns
    -------
    Policy
        The tuned policy: the smallest threshold or skip rate, or the most candidates, that fit; unchanged for
        a scheme without such a knob.

    Raises
    ------
    ValueError
        If the bits are not positive.
    InfeasibleError
        If one candidate a draft is already too much.

    Examples
    --------
    See `at_bias`.
    """
    wanted = float(as_positive("equal_bits", bits))
    if scheme.knob == "skip_rate":
        full = evaluate(scheme, tokens, system, replace(policy, skip_rate=0.0)).uplink_bit_per_token
        return replace(policy, skip_rate=max(1.0 - wanted / full, 0.0))
    if scheme.knob == "num_candidates":
        return _by_candidates(scheme, tokens, system, policy, wanted)
    if scheme.knob != "threshold" or scheme.drafts_several:
        return policy

    def unsent(threshold: float) -> float:  # falls below -wanted while too much is sent
        tuned = replace(policy, threshold=threshold, upper_threshold=None, mix=0.0)
        return -evaluate(scheme, tokens, system, tuned).uplink_bit_per_token

    thresholds = candidate_thresholds(tokens)
    if unsent(float(thresholds[0])) >= -wanted:
        return replace(policy, threshold=NEVER_SKIP, upper_threshold=None, mix=0.0)
    return _by_threshold(tokens, policy, unsent, -wanted, f"{scheme.name} sends", "equal_bits")


def _by_threshold(
    tokens: Tokens, policy: Policy, level: Callable[[float], float], wanted: float, what: str, knob: str
) -> Policy:
    """Find the randomised threshold at which a level that grows with the threshold is met with equality."""
    thresholds = candidate_thresholds(tokens)
    low, high = 0, len(thresholds) - 1
    at_low, at_high = level(float(thresholds[low])), level(float(thresholds[high]))
    if np.isnan(at_low) or np.isnan(at_high):
        raise InfeasibleError(f"{what} an unknown amount on these tokens; give a recorded --calibration")
    if at_low > wanted + _CLOSE:
        raise InfeasibleError(
            f"{what} {abs(at_low):.4g} even if nothing is skipped, above the wanted {abs(wanted):.4g}; "
            f"raise {knob} or lower truncation_budget"
        )
    wanted = max(wanted, at_low)  # rounding may leave the least just above
    if at_high <= wanted:
        return replace(policy, threshold=float(thresholds[high]), upper_threshold=None, mix=0.0)
    while high - low > 1:
        middle = (low + high) // 2
        value = level(float(thresholds[middle]))
        if value <= wanted:
            low, at_low = middle, value
        else:
            high, at_high = middle, value
    mix = (wanted - at_low) / (at_high - at_low)
    return replace(
        policy,
        threshold=float(thresholds[low]),
        upper_threshold=float(thresholds[high]),
        mix=min(max(mix, 0.0), 1.0),
    )


def _by_candidates(scheme: Scheme, tokens: Tokens, system: System, policy: Policy, wanted: float) -> Policy:
    low, high = 1, system.codec.vocab_size + 1

    def sent(count: int) -> float:
        tuned = replace(policy, num_candidates=count)
        return evaluate(scheme, tokens, system, tuned).uplink_bit_per_token

    if sent(low) > wanted:
        raise InfeasibleError(
            f"{scheme.name} sends {sent(low):.4g} bit a token even with one candidate; raise equal_bits"
        )
    while high - low > 1:
        middle = (low + high) // 2
        if sent(middle) <= wanted:
            low = middle
        else:
            high = middle
    return replace(policy, num_candidates=low)


def line_up(
    names: tuple[str, ...],
    tokens: Tokens,
    system: System,
    policy: Policy,
    *,
    equal_bias: float | None = None,
    equal_bits: float | None = None,
) -> tuple[list[Outcome], dict[str, str]]:
    """Evaluate schemes, each brought to one bias or one number of bits where it has a knob.

    Parameters
    ----------
    names : tuple of str
        Names of the schemes.
    tokens : Tokens
        Recorded tokens, or the nodes of a law.
    system : System
        Device, server and link.
    policy : Policy
        Free numbers of the rules.
    equal_bias : float, optional
        Wanted mean bias [-].
    equal_bits : float, optional
        Wanted uplink payload [bit/token].

    Returns
    -------
    tuple of list and dict
        The outcomes, and for each scheme that could not be evaluated the reason.

    Raises
    ------
    ValueError
        If a name is unknown or both wishes are given.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> tokens = Tokens(uncertainty=np.array([0.0, 0.5]), rejection=np.array([0.1, 0.4]))
    >>> outcomes, missing = line_up(("rand-hlm", "u-hlm"), tokens, system, Policy(), equal_bias=0.05)
    >>> [round(outcome.skip_rate, 3) for outcome in outcomes]
    [0.2, 0.5]
    """
    if equal_bias is not None and equal_bits is not None:
        raise ValueError("equal_bias and equal_bits exclude each other; give one")
    outcomes, missing = [], {}
    for row in map(scheme, names):
        try:
            tuned = policy
            if equal_bias is not None:
                tuned = at_bias(row, tokens, system, policy, equal_bias)
            elif equal_bits is not None:
                tuned = at_bits(row, tokens, system, policy, equal_bits)
            outcomes.append(evaluate(row, tokens, system, tuned))
        except CuhlmError as error:
            missing[row.name] = str(error)
    return outcomes, missing
