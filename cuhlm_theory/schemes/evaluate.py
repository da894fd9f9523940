"""One function that evaluates every row of the table into the same columns."""

from dataclasses import dataclass

import numpy as np

from cuhlm_theory._checks import Floats
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.drafting import best_drafts_on_link
from cuhlm_theory.parameters import System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.schemes.rounds import Rounds, independent_rounds, recorded_rounds
from cuhlm_theory.schemes.rules import (
    PAYLOAD_RULES,
    SKIP_RULES,
    Carried,
    Trigger,
    column,
    threshold_index,
    threshold_trigger,
)
from cuhlm_theory.schemes.table import Outcome, Policy, Scheme
from cuhlm_theory.throughput import floor_latency_s, round_latency_s, transmission_latency_s

_ROUNDING = 1e-12
_INEXACT_SERVER = "server draws from its own law: exact only where the skip rule ignores the draft"


def evaluate(scheme: Scheme, tokens: Tokens, system: System, policy: Policy) -> Outcome:
    """Evaluate a scheme on recorded tokens, or on the nodes of an assumed law of i.i.d. tokens.

    Tokens with ``prompt`` are a recording: rounds of several drafts run along each text. Without it tokens
    are i.i.d. and the closed forms apply. Single-draft rounds need only the marginal either way.

    Parameters
    ----------
    scheme : Scheme
        Row of `SCHEMES`.
    tokens : Tokens
        What is known of the tokens.
    system : System
        Device, server and link.
    policy : Policy
        Free numbers of the rules.

    Returns
    -------
    Outcome
        The columns; see its fields for their units.

    Raises
    ------
    MissingInputError
        If a rule needs a column that the tokens lack.

    Notes
    -----
    Bias follows THEORY sections 7 and 8 with the sound accounting: truncation is charged in every context in
    which the rule can transmit, not only when it does. A round trip is charged once an answer; the answer is
    one token index, or, where the device resamples, a dense distribution after a rejection.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> from cuhlm_theory.schemes import SCHEMES
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> tokens = Tokens(uncertainty=np.array([0.0, 0.5]), rejection=np.array([0.1, 0.4]))
    >>> outcome = evaluate(SCHEMES["u-hlm"], tokens, system, Policy(threshold=0.1))
    >>> outcome.bias, outcome.skip_rate, round(outcome.latency_s, 3)
    (0.05, 0.5, 0.244)
    """
    if scheme.drafts_several:
        return _several(scheme, tokens, system, policy)
    return _single(scheme, tokens, system, policy)


def hlm_latency_s(system: System) -> float:
    """Latency of a token of HLM: every draft verified with the full distribution.

    Parameters
    ----------
    system : System
        Device, server and link.

    Returns
    -------
    float
        Seconds a token [s]; infinite over a dead link.

    Raises
    ------
    ValueError
        If the codec cannot write a full distribution.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> hlm_latency_s(
    ...     System(
    ...         link=Link(bandwidth_hz=1e6, snr=3.0),
    ...         codec=Codec(vocab_size=32_000),
    ...         latency=Latency(slm_s=0.01, llm_s=0.1),
    ...     )
    ... )
    0.478
    """
    uplink_s = packet_latency_s(system.link, distribution_bit(system.codec, system.codec.vocab_size))
    answer = system.codec.bits_per_index
    return float(round_latency_s(system.latency, 1.0, uplink_s, downlink_bit=answer))


def floor_s(system: System, transmit_probability: float) -> float:
    """Latency of the single-draft floor at a skip rule.

    Parameters
    ----------
    system : System
        Device, server and link.
    transmit_probability : float
        Share of tokens transmitted [-].

    Returns
    -------
    float
        Seconds a token [s].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1].

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> round(floor_s(system, 0.25), 7)
    0.0350019
    """
    index_s = packet_latency_s(system.link, _index_packet_bit(system, transmit_probability))
    answer_s = transmit_probability * system.codec.bits_per_index / system.latency.downlink_bit_per_s
    return float(floor_latency_s(system.latency, transmit_probability, index_s)) + answer_s


def _index_packet_bit(system: System, transmit_probability: float) -> float:
    index = system.codec.bits_per_index
    return index + _resync_bit(system, transmit_probability)


def _resync_bit(system: System, transmit_probability: float) -> float:
    """Bits of the skipped tokens that a transmission must also report, on average."""
    if not system.latency.charge_resync or transmit_probability == 0.0:
        return 0.0
    return system.codec.bits_per_index * (1.0 - transmit_probability) / transmit_probability


def _share(weight: Floats, chance: Floats) -> float:
    """Mean chance, exactly 0 or 1 where it is up to rounding."""
    mean = float(weight @ chance)
    return float(np.round(mean)) if abs(mean - np.round(mean)) < _ROUNDING else mean


def _mean(weight: Floats, values: Floats, chance: Floats | float = 1.0) -> float:
    """Mean of chance times value, where a chance of 0 makes an infinite value irrelevant."""
    share = weight * chance
    return float(np.sum(np.where(share > 0.0, share, 0.0) * np.where(share > 0.0, values, 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bias:
    total: float | None
    is_bound: bool = False
    note: str = ""
    risk: float = 0.0
    truncation: float = 0.0


def _single_bias(scheme: Scheme, tokens: Tokens, policy: Policy, trigger: Trigger, carried: Carried) -> _Bias:
    risk = float(tokens.weight @ trigger.risk)
    if scheme.verification == "llm":
        return _Bias(total=0.0)
    if scheme.verification == "none":
        return _Bias(total=risk, risk=risk)
    if scheme.verification == "server-draws":
        return _server_bias(tokens, policy, risk)
    if carried.truncation_tv is None:
        return _Bias(total=risk, risk=risk)
    truncation = float(tokens.weight @ (trigger.truncates * carried.truncation_tv))
    if np.isnan(truncation):
        note = "truncation bias unknown: the tokens have no tv_profile"
        return _Bias(total=None, is_bound=True, note=note, risk=risk)
    if carried.draft_dependent:
        note = "estimate: k depends on the draft, which the truncation bound does not cover"
        return _Bias(total=risk + truncation, note=note, risk=risk, truncation=truncation)
    return _Bias(
        total=risk + truncation,
        is_bound=truncation > 0.0,
        note="risk plus truncation bound" if truncation > 0.0 else "",
        risk=risk,
        truncation=truncation,
    )


def _server_bias(tokens: Tokens, policy: Policy, risk: float) -> _Bias:
    def at(threshold: float) -> float | None:
        place = threshold_index(tokens, threshold)
        if place == -1:
            return 0.0
        if place is None or tokens.server_bias is None:
            return None
        return float(tokens.weight @ tokens.server_bias[:, place])

    low = at(policy.threshold)
    if policy.upper_threshold is None or policy.mix == 0.0:
        return _Bias(total=low, note=_INEXACT_SERVER, risk=risk)
    high = at(policy.upper_threshold)
    if low is None or high is None:
        return _Bias(total=None, note=_INEXACT_SERVER, risk=risk)
    mixed = (1.0 - policy.mix) * low + policy.mix * high
    return _Bias(total=mixed, is_bound=True, note=_INEXACT_SERVER, risk=risk)


def _single(scheme: Scheme, tokens: Tokens, system: System, policy: Policy) -> Outcome:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    trigger = SKIP_RULES[scheme.skip](tokens, policy, carried.draft_dependent)
    weight, transmit = tokens.weight, trigger.transmit
    chance = _share(weight, transmit)
    latency, index = system.latency, system.codec.bits_per_index
    drafts = scheme.draft != "none"

    packet_bit = carried.bit + _resync_bit(system, chance)
    uplink_s = packet_latency_s(system.link, packet_bit) if drafts else np.zeros(len(tokens))
    if drafts:
        sent_s = latency.slm_s + transmission_latency_s(latency, uplink_s, downlink_bit=index)
        kept_s = latency.slm_s + latency.llm_prefill_s
        if scheme.verification == "none":
            kept_s = latency.slm_s
    else:
        sent_s = np.full(len(tokens), latency.llm_s + index / latency.downlink_bit_per_s)
        kept_s = 0.0
    mean_s = _mean(weight, sent_s, transmit) + kept_s * (1.0 - chance)
    rate = _mean(weight, 1.0 / sent_s, transmit)
    if chance < 1.0:
        rate += (1.0 - chance) / kept_s
    bias = _single_bias(scheme, tokens, policy, trigger, carried)
    k_mean = None
    if carried.size is not None and chance > 0.0:
        k_mean = _mean(weight, carried.size, transmit) / chance
    return _outcome(
        scheme,
        system,
        bias,
        threshold=trigger.threshold,
        skip_rate=1.0 - chance,
        k_mean=k_mean,
        num_drafts=1.0 if drafts else None,
        uplink_bit=_mean(weight, packet_bit, transmit) if drafts else 0.0,
        downlink_bit=chance * index,
        llm_calls=chance,
        tokens_per_round=1.0,
        latency_s=mean_s,
        mean_rate=rate,
        air_s=_mean(weight, uplink_s, transmit),
        drafts_per_token=float(drafts),
        floor=floor_s(system, chance) if drafts else None,
    )


def _several(scheme: Scheme, tokens: Tokens, system: System, policy: Policy) -> Outcome:
    carried = PAYLOAD_RULES[scheme.payload](tokens, system, policy)
    acceptance = tokens.acceptance if carried.acceptance is None else carried.acceptance
    trigger, ends = None, np.zeros(len(tokens))
    if scheme.draft == "trigger":
        trigger = threshold_trigger(tokens, policy.threshold, recorded_drafts=True)
        ends = trigger.transmit
    elif scheme.draft == "confidence":
        ends = (column(tokens, "max_prob") < policy.confidence).astype(np.float64)
    most, bonus = _longest(scheme, tokens, system, policy, carried, acceptance)
    rounds = _rounds(tokens, acceptance, ends, carried.bit, most, bonus)

    index = system.codec.bits_per_index
    kept_bit, lost_bit = float(index), float(index)
    if scheme.verification == "prefix-on-device":
        kept_bit = index if bonus else 1.0
        lost_bit = system.codec.vocab_size * system.codec.prob_bits  # one dense distribution down
    answer_bit = rounds.all_kept * kept_bit + (1.0 - rounds.all_kept) * lost_bit
    uplink_s = packet_latency_s(system.link, rounds.draft_bit)

    def round_s(down_bit: Floats | float) -> Floats:
        answered_s = transmission_latency_s(system.latency, uplink_s, downlink_bit=down_bit)
        return rounds.num_drafts * system.latency.slm_s + answered_s

    per_round = rounds.mean(rounds.num_tokens)
    kept = rounds.all_kept * rounds.kept_tokens
    rate = rounds.mean(kept / round_s(kept_bit) + (rounds.num_tokens - kept) / round_s(lost_bit))
    chance = None if trigger is None else _share(tokens.weight, trigger.transmit)
    risk = 0.0 if trigger is None else float(tokens.weight @ trigger.risk)
    return _outcome(
        scheme,
        system,
        _Bias(total=0.0, note=f"CU-HLM takes risk {risk:.4g} at this trigger" if trigger else ""),
        threshold=None if trigger is None else trigger.threshold,
        skip_rate=0.0 if chance is None else 1.0 - chance,
        k_mean=None if carried.size is None else float(tokens.weight @ carried.size),
        num_drafts=rounds.mean(rounds.num_drafts),
        uplink_bit=rounds.mean(rounds.draft_bit) / per_round,
        downlink_bit=rounds.mean(answer_bit) / per_round,
        llm_calls=1.0 / per_round,
        tokens_per_round=per_round,
        latency_s=_over(rounds, round_s(answer_bit)) / per_round,
        mean_rate=rate,
        air_s=_over(rounds, uplink_s) / per_round,
        drafts_per_token=rounds.mean(rounds.num_drafts) / per_round,
        floor=None if chance is None else floor_s(system, chance),
    )


def _over(rounds: Rounds, seconds: Floats) -> float:
    """Mean of latencies that may be infinite, over the rounds that happen."""
    return _mean(rounds.weight / np.sum(rounds.weight), seconds)


def _longest(
    scheme: Scheme, tokens: Tokens, system: System, policy: Policy, carried: Carried, acceptance: Floats
) -> tuple[int | None, bool]:
    """Return the longest run and whether the LLM adds its own token."""
    if scheme.draft == "trigger":
        return None, policy.bonus
    if scheme.draft == "confidence":
        return policy.max_drafts, True
    if policy.num_drafts is not None:
        return policy.num_drafts, True
    mean = min(float(tokens.weight @ acceptance), 1.0 - 1e-6)
    bit = float(tokens.weight @ carried.bit)
    if not np.isfinite(packet_latency_s(system.link, bit)):
        return 1, True
    law_bit = (
        system.codec.vocab_size * system.codec.prob_bits if scheme.verification == "prefix-on-device" else 0
    )
    plan = best_drafts_on_link(
        mean,
        system.latency,
        system.link,
        bit,
        downlink_bit=system.codec.bits_per_index,
        rejection_downlink_bit=law_bit,
    )
    return plan.num_drafts, True


def _rounds(
    tokens: Tokens, acceptance: Floats, ends: Floats, bit: Floats, most: int | None, bonus: bool
) -> Rounds:
    if tokens.prompt is not None:
        return recorded_rounds(acceptance, ends, tokens.prompt, bit, max_drafts=most, bonus=bonus)
    weight = tokens.weight
    ending = float(weight @ ends)
    keep = float(weight @ ((1.0 - ends) * acceptance)) / (1.0 - ending) if ending < 1.0 else 1.0
    last = float(weight @ (ends * acceptance)) / ending if ending > 0.0 else 1.0
    return independent_rounds(
        ending, min(keep, 1.0), min(last, 1.0), float(weight @ bit), max_drafts=most, bonus=bonus
    )


def _outcome(
    scheme: Scheme,
    system: System,
    bias: _Bias,
    *,
    threshold: float | None,
    skip_rate: float,
    k_mean: float | None,
    num_drafts: float | None,
    uplink_bit: float,
    downlink_bit: float,
    llm_calls: float,
    tokens_per_round: float,
    latency_s: float,
    mean_rate: float,
    air_s: float,
    drafts_per_token: float,
    floor: float | None,
) -> Outcome:
    dead = not np.isfinite(latency_s)
    floor_ratio = None if floor is None or dead or not np.isfinite(floor) else latency_s / floor
    hlm_s = hlm_latency_s(system)
    return Outcome(
        name=scheme.name,
        bias=bias.total,
        bias_is_bound=bias.is_bound,
        bias_note=bias.note,
        risk=bias.risk,
        truncation_bias=bias.truncation,
        threshold=threshold,
        skip_rate=skip_rate,
        k_mean=k_mean,
        num_drafts=num_drafts,
        uplink_bit_per_token=uplink_bit,
        downlink_bit_per_token=downlink_bit,
        llm_calls_per_token=llm_calls,
        tokens_per_round=tokens_per_round,
        latency_s=latency_s,
        throughput_token_per_s=1.0 / latency_s,
        mean_rate_token_per_s=mean_rate,
        speedup_over_hlm=float("nan") if dead and not np.isfinite(hlm_s) else hlm_s / latency_s,
        energy_j_per_token=system.tx_power_w * air_s + system.slm_energy_j * drafts_per_token,
        floor_ratio=floor_ratio,
    )
