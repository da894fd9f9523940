"""Ledgers of what a scheme would do on recorded tokens, or on i.i.d. tokens of an assumed law."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Ints, Skips, Tokens
from cuhlm_theory.drafting import best_drafts_of_survival, best_drafts_on_link
from cuhlm_theory.kept_law import most_kept_tokens
from cuhlm_theory.parameters import System
from cuhlm_theory.rivals import independent_survival_curve, survival_curve
from cuhlm_theory.schemes.draft import FixedBySurvival, Run, Scheduled
from cuhlm_theory.schemes.ledger import (
    COUNTS,
    Ledger,
    charged,
    drafting_on_server,
    resync_bit_per_transmission,
)
from cuhlm_theory.schemes.payload import Carried
from cuhlm_theory.schemes.rounds import (
    Charges,
    Rounds,
    TextRows,
    block_rounds,
    independent_rounds,
    recorded_rounds,
)
from cuhlm_theory.schemes.schedule import independent_scheduled_rounds, recorded_scheduled_rounds
from cuhlm_theory.schemes.verification import Account

if TYPE_CHECKING:
    from cuhlm_theory.schemes.table import Scheme

_ROUNDING = 1e-12
_MOST_DRAFTS = 32
_STEPS = 8


def one_draft(scheme: "Scheme", tokens: Tokens, system: System) -> Ledger:
    """Return the rounds of at most one draft: in each context one that asks and one that does not.

    Truncation is charged in every context in which the rule can transmit, not only when it does.
    """
    verification = scheme.verification
    carried, skips, account = _one_draft(scheme, tokens, system)
    recorded = _as_recorded(scheme, tokens, system, skips, account, carried.size)
    chance, weight, happens = _kinds(tokens, skips)
    drafts, sized = float(scheme.draft.present), carried.size is not None
    extra_bit = resync_bit_per_transmission(system, chance)
    place = happens % len(tokens)
    columns = _columns(
        system,
        len(tokens),
        happens,
        drafts=(drafts, drafts),  # where it asks, and where it keeps
        slm_catch_up=(0.0, 0.0),
        llm_calls=(1.0, 0.0),
        llm_width=(1.0, 0.0),
        catch_up=(0.0, float(verification.asks)),
        uplink_bit=((carried.bit + extra_bit) * drafts, 0.0),
        downlink_bit=(float(system.codec.bits_per_index), 0.0),
        entries=(np.nan if carried.size is None else carried.size, 0.0 if sized else np.nan),
    )
    return Ledger(
        scheme=scheme.name,
        system=system,
        weight=weight[happens],
        prompt=None if tokens.prompt is None else tokens.prompt[place],
        tokens=np.ones(len(happens)),
        bias=account.bias[place],
        risk=account.risk[place],
        truncation=account.truncation[place],
        recorded=None if recorded is None else recorded[place],
        bias_is_bound=account.is_bound,
        bias_note=account.note,
        threshold=scheme.threshold,
        has_floor=scheme.draft.present and scheme.payload.names_draft,
        place=place,
        side=None if tokens.side is None else tokens.side[place],
        **columns,
    )


def _one_draft(scheme: "Scheme", tokens: Tokens, system: System) -> tuple[Carried, Skips, Account]:
    """Return what is carried in each context, what is skipped, and the bias that follows."""
    payload = scheme.payload
    carried = payload.carried(tokens, system, scheme.skip)
    skips = scheme.skip.skips(tokens, drafts=payload.depends_on_draft)
    return carried, skips, scheme.verification.account(tokens, scheme.skip, skips, payload, carried)


def one_draft_bias(scheme: "Scheme", tokens: Tokens, system: System) -> float:
    """Return the mean bias of the rounds of at most one draft, without the rest of their ledger [-]."""
    _, skips, account = _one_draft(scheme, tokens, system)
    _, weight, happens = _kinds(tokens, skips)
    return float(np.sum(weight[happens] * account.bias[happens % len(tokens)]) / np.sum(weight[happens]))


def _kinds(tokens: Tokens, skips: Skips) -> tuple[float, Floats, Ints]:
    """Chance to ask, weights of the rounds that ask and then of those that keep, and which of them happen."""
    chance = float(tokens.weight @ skips.transmit)
    chance = float(np.round(chance)) if abs(chance - np.round(chance)) < _ROUNDING else chance
    keep_weight = tokens.weight * (1.0 - skips.transmit) if chance < 1.0 else np.zeros(len(tokens))
    weight = np.concatenate((tokens.weight * skips.transmit, keep_weight))
    return chance, weight, np.flatnonzero(weight > 0.0)


def _as_recorded(
    scheme: "Scheme", tokens: Tokens, system: System, skips: Skips, account: Account, sizes: Ints | None
) -> Floats | None:
    """Bias with truncation charged as it was recorded, where there is truncation and that is known."""
    if sizes is None or tokens.output_bias is None or not account.is_bound or not account.truncation.any():
        return None
    may_keep = int(most_kept_tokens(max(scheme.skip.highest, 0.0), system.codec.vocab_size))
    return account.risk + skips.truncates * tokens.output_bias_at(sizes, may_keep)


def _columns(system: System, num: int, happens: Ints, **sides: tuple[ArrayLike, ArrayLike]) -> dict[str, Any]:
    """Columns of the rounds that happen, two kinds of which begin at each of ``num`` places; their seconds.

    What never happens must not cost an infinite time over a dead link.
    """
    both = np.empty((2, num))
    columns: dict[str, Any] = {}
    for name, (first, second) in sides.items():
        both[0], both[1] = first, second
        columns[name] = both.reshape(-1).take(happens)
    return columns | charged(system, **{name: columns[name] for name in COUNTS})


def several_drafts(
    scheme: "Scheme", tokens: Tokens, system: System, rng: np.random.Generator | None = None
) -> Ledger:
    """Return the rounds of several drafts: for each start one that keeps all and one that meets a rejection.

    Tokens with ``prompt`` are a recording, and rounds run along each text; without it they are i.i.d. With
    ``rng`` it is drawn which drafts are kept, so that a round happens or does not.
    """
    scheme = replace(scheme, payload=scheme.payload.settled(tokens))
    carried = scheme.payload.carried(tokens, system, scheme.skip)
    acceptance = _acceptance(scheme, tokens, carried)
    if _open(scheme):
        scheme = scheme.using(num_drafts=_best_count(scheme, tokens, system, carried, acceptance))
    draft, verification = cast(Run, scheme.draft), scheme.verification
    skips = scheme.skip.skips(tokens, drafts=True)
    account = verification.account(tokens, scheme.skip, skips, scheme.payload, carried)
    if rng is not None and not verification.by_block:
        acceptance = (rng.random(len(tokens)) < acceptance).astype(np.float64)
    rounds = _happening(_rounds(scheme, tokens, acceptance, skips, carried, account.bias))

    columns, happens = _kept_and_rejected(scheme, system, rounds, sized=carried.size is not None)
    skip_rate, triggered = 0.0, draft.triggered
    note, risk = account.note, float(tokens.weight @ skips.risk)
    if triggered:
        skip_rate = 1.0 - float(tokens.weight @ skips.transmit)
        note = f"CU-HLM takes risk {risk:.4g} at this trigger"
    place = happens % len(rounds.weight)
    bias = rounds.bias[place]
    return Ledger(
        scheme=scheme.name,
        system=system,
        prompt=None if rounds.prompt is None else rounds.prompt[place],
        bias=bias,
        risk=bias,
        truncation=np.zeros(len(bias)),
        bias_is_bound=account.is_bound,
        bias_note=note,
        throughput_is_bound=carried.acceptance_is_bound or account.acceptance_is_bound,
        threshold=scheme.threshold if triggered else None,
        skip_rate=skip_rate,
        on_server=verification.on_server,
        has_floor=triggered and scheme.payload.names_draft,
        **columns,
    )


def _acceptance(scheme: "Scheme", tokens: Tokens, carried: Carried) -> Floats:
    """Chance that the server keeps each draft, shape [N]."""
    acceptance = tokens.acceptance if carried.acceptance is None else carried.acceptance
    return scheme.verification.of_drafts(tokens, acceptance)


def _kept_and_rejected(
    scheme: "Scheme", system: System, rounds: Rounds, *, sized: bool
) -> tuple[dict[str, Any], Ints]:
    """Columns of the rounds that keep every draft, then of those that meet a rejection; which ones happen."""
    draft, verification = cast(Run, scheme.draft), scheme.verification
    kept, share, rejected = rounds.all_kept, rounds.weight, 1.0 - rounds.all_kept
    all_tokens, kept_tokens = rounds.num_tokens, rounds.kept_tokens
    lost = np.divide(all_tokens - kept * kept_tokens, rejected, out=np.ones(len(kept)), where=rejected > 0.0)
    lost_tokens = np.maximum(lost, 0.0)
    drafts = rounds.num_drafts
    verified = all_tokens - kept * (kept_tokens - drafts)  # all but the LLM's own token after a kept run
    proposals = float(share @ verified) / max(float(share @ rejected), _ROUNDING)
    kept_bit, lost_bit = verification.answer_bit(system.codec, bonus=draft.adds_bonus, proposals=proposals)
    bonus, bit = float(draft.adds_bonus), rounds.draft_bit
    entries = rounds.entries if sized else np.nan
    weight = np.concatenate((share * kept, share * rejected))
    happens = np.flatnonzero(weight > 0.0)
    columns = _columns(
        drafting_on_server(system) if verification.on_server else system,
        len(drafts),
        happens,
        weight=(share * kept, share * rejected),
        tokens=(kept_tokens, lost_tokens),
        entries=(entries, entries),
        drafts=(drafts, drafts),
        slm_catch_up=(bonus, 0.0),
        llm_calls=(1.0, 1.0),
        llm_width=(drafts + bonus, drafts + bonus),
        catch_up=(0.0, 0.0),
        uplink_bit=(bit, bit),
        downlink_bit=(kept_bit * kept_tokens, lost_bit * lost_tokens)
        if verification.on_server
        else (kept_bit, lost_bit),
    )
    return columns, happens


def _happening(rounds: Rounds) -> Rounds:
    """Leave out the kinds of round that never happen."""
    columns: dict[str, Any] = {entry.name: getattr(rounds, entry.name) for entry in fields(rounds)}
    happens = np.flatnonzero(rounds.weight > 0.0)
    chosen: dict[str, Any] = {k: None if column is None else column[happens] for k, column in columns.items()}
    return Rounds(**chosen)


def _rounds(
    scheme: "Scheme", tokens: Tokens, acceptance: Floats, skips: Skips, carried: Carried, bias: Floats
) -> Rounds:
    draft, verification = cast(Run, scheme.draft), scheme.verification
    ends, kept, last = draft.ends(tokens, skips), acceptance, acceptance
    if draft.triggered:
        ends, kept, last = verification.run(ends, acceptance, tokens.rejection)
    size = np.zeros(len(tokens)) if carried.size is None else carried.size.astype(np.float64)
    options = {"max_drafts": draft.longest_from(tokens), "bonus": draft.adds_bonus}
    if verification.by_block:
        return _blocks(tokens, acceptance, carried.bit, size, **options)
    if tokens.prompt is not None:
        charges = Charges(entries=size, bias=bias)
        if isinstance(draft, Scheduled):
            return recorded_scheduled_rounds(kept, tokens.prompt, carried.bit, draft, charges=charges)
        return recorded_rounds(
            kept, ends, tokens.prompt, carried.bit, ending_acceptance=last, charges=charges, **options
        )
    weight = tokens.weight
    ending = min(float(weight @ ends), 1.0)
    keep = float(weight @ ((1.0 - ends) * kept)) / (1.0 - ending) if ending < 1.0 else 1.0
    final = float(weight @ (ends * last)) / ending if ending > 0.0 else 1.0
    charges = Charges(entries=float(weight @ size), bias=float(weight @ bias))
    bit = float(weight @ carried.bit)
    if isinstance(draft, Scheduled):
        return independent_scheduled_rounds(min(keep, 1.0), bit, draft, charges=charges)
    return independent_rounds(ending, min(keep, 1.0), min(final, 1.0), bit, charges=charges, **options)


def _blocks(
    tokens: Tokens, ratio: Floats, bit: Floats, size: Floats, *, max_drafts: int, bonus: bool
) -> Rounds:
    """Find the rounds of blocks, of each text that is long enough, or of i.i.d. drafts."""
    if tokens.prompt is None:
        means = (np.atleast_1d(tokens.weight @ column) for column in (bit, size))
        survival = independent_survival_curve(ratio, tokens.weight, max_drafts)[None]
        return block_rounds(survival, np.ones(1, dtype=np.int64), *means, bonus=bonus)
    texts = TextRows(tokens.prompt)
    as_count("num_drafts", max_drafts, at_most=int(texts.length.max()))
    used = texts.length >= max_drafts
    survival = _survival_curves(texts.grid(ratio, 0.0)[used], texts.length[used], max_drafts)
    means = (texts.grid(column, 0.0)[used].sum(axis=1) / texts.length[used] for column in (bit, size))
    rounds = block_rounds(survival, texts.length[used], *means, bonus=bonus)
    return replace(rounds, prompt=np.unique(tokens.prompt)[used])


def _survival_curves(ratio: Floats, length: Ints, count: int) -> Floats:
    """`survival_curve` of each text by itself, shape [P, count], ratios padded to the longest, [P, n]."""
    starts = ratio.shape[1] - count + 1
    begins = np.arange(starts) <= (length - count)[:, None]  # where so many drafts were recorded
    stands, curve = begins.astype(np.float64), np.empty((len(ratio), count))
    for place in range(count):
        stands = np.minimum(stands * ratio[:, place : place + starts], 1.0)
        curve[:, place] = stands.sum(axis=1)
    return curve / begins.sum(axis=1, keepdims=True)


def resolved(scheme: "Scheme", tokens: Tokens, system: System) -> "Scheme":
    """Return the scheme with what a recording settles: what is remembered, and the best number of drafts."""
    scheme = replace(scheme, payload=scheme.payload.settled(tokens))
    return scheme.using(num_drafts=best_num_drafts(scheme, tokens, system)) if _open(scheme) else scheme


def _open(scheme: "Scheme") -> bool:
    """Whether the scheme has a number of drafts that is not given."""
    return "num_drafts" in scheme.numbers and scheme.numbers["num_drafts"] is None


def best_num_drafts(scheme: "Scheme", tokens: Tokens, system: System) -> int:
    """Return the number of drafts a round of the highest throughput at the mean acceptance [token]."""
    carried = scheme.payload.carried(tokens, system, scheme.skip)
    return _best_count(scheme, tokens, system, carried, _acceptance(scheme, tokens, carried))


def _best_count(
    scheme: "Scheme", tokens: Tokens, system: System, carried: Carried, acceptance: Floats
) -> int:
    bit = float(tokens.weight @ carried.bit)
    if not np.isfinite(packet_latency_s(system.link, bit)):
        return 1
    mean = min(float(tokens.weight @ np.minimum(acceptance, 1.0)), 1.0 - 1e-6)
    kept_bit, lost_bit = scheme.verification.answer_bit(
        system.codec, bonus=True, proposals=1.0 / (1.0 - mean)
    )
    latency = system.latency
    if scheme.verification.on_server:  # an index a token comes down, however many are drafted
        latency = replace(drafting_on_server(system).latency, downlink_bit_per_s=np.inf)
    plan = best_drafts_on_link(
        mean,
        latency,
        system.link,
        bit,
        downlink_bit=kept_bit,
        rejection_downlink_bit=lost_bit - kept_bit,
    )
    if isinstance(scheme.draft, FixedBySurvival) and tokens.prompt is not None:
        return _by_survival(plan.num_drafts, tokens, tokens.prompt, system, acceptance, bit)
    return plan.num_drafts


def _by_survival(
    count: int, tokens: Tokens, prompt: Ints, system: System, acceptance: Floats, bit: float
) -> int:
    """Go from a count to that of the survival where its rounds begin, until it is its own."""
    longest = min(tokens.longest_text or _MOST_DRAFTS, _MOST_DRAFTS)
    nothing = np.zeros(len(tokens))
    for _ in range(_STEPS):  # drafts survive less where rounds begin than elsewhere
        rounds = recorded_rounds(acceptance, nothing, prompt, nothing, max_drafts=min(count, longest))
        curve = survival_curve(acceptance, prompt, longest, rounds.weight)
        found = best_drafts_of_survival(np.minimum.accumulate(curve), system.latency, system.link, bit)
        if found.num_drafts == count:
            break
        count = found.num_drafts
    return count
