"""The loop of every scheme that drafts one token a round, and of the LLM alone."""

from calibration.decoding import laws, records
from calibration.decoding.link import Clock
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings
from calibration.decoding.stage import Stage
from cuhlm_theory.payload import resync_bit

_REMEMBERED = 16  # skipped contexts, several laws each, that wait to be measured


def run(
    device: Session | None,
    server: Session,
    settings: Settings,
    clock: Clock,
    draws: laws.Draws,
    stage: Stage,
) -> Asking[None]:
    """Decode; every committed token goes to ``stage``, every pass is asked for.

    What the device skipped is unknown to the server until the next transmission, whose pass feeds it: the
    logits of that catch-up are the laws that the skipped tokens should have followed, so measuring the bias
    costs no pass of its own. A text that ends skipping, or skips more than can be remembered, is measured by
    passes that are not charged.
    """
    waiting: list[tuple[records.Row, laws.Context]] = []  # skipped and not yet measured
    catch_up = 0  # tokens skipped since the last transmission
    while not stage.finished:
        here, slm_wall_s = None, 0.0
        if device is not None:
            here = laws.Context((yield device, stage.text, 1)[0], settings, clock.system)
            slm_wall_s = device.seconds
        row = records.new_row(position=stage.num_new, round=stage.num_new, drafted=int(here is not None))
        proposal = None
        if here is not None:
            proposal = laws.propose(here, draws)
            row.update(draft=int(proposal.draft[0]), uncertainty=proposal.uncertainty[0])
        if proposal is not None and proposal.skipped[0]:
            assert here is not None
            row.update(token=row["draft"], action=records.SKIPPED)
            _charge(row, settings, clock, slm_wall_s, 0.0)
            catch_up += 1
            stage.commit([row])
            if stage.measure:
                waiting.append((row, here))
            if len(waiting) == _REMEMBERED:
                _measure(waiting, (yield server, stage.text[:-1], len(waiting)))
            continue
        bonus = settings.bonus and proposal is not None and stage.room > 1
        fed = [*stage.text, row["draft"]] if bonus else stage.text
        logits = yield server, fed, 1 + bonus + len(waiting)
        y = laws.next_law(logits[-1 - bonus], settings.temperature)
        _measure(waiting, logits[: -1 - bonus])
        if proposal is None or here is None:
            row.update(token=int(draws.token(y)[0]), action=records.SAMPLED, tv=0.0, skip_mass=0.0, risk=0.0)
            row["truncation_tv"] = 0.0
        else:
            token, action = laws.settle(here, proposal, y, draws)
            row.update(token=int(token[0]), action=int(action[0]), k=int(proposal.k[0]))
            if stage.measure:
                row.update(laws.measure(here, y, row["draft"]))
        row.update(llm_calls=1, catch_up=catch_up, kept=int(row["action"] == records.ACCEPTED))
        row.update(entries=row["k"], llm_width=1 + bonus, slm_catch_up=int(bonus and row["kept"]))
        catch_up = 0
        _charge(row, settings, clock, slm_wall_s, server.seconds)
        rows = [row]
        if bonus and row["action"] == records.ACCEPTED and row["token"] not in stage.stop_tokens:
            after = laws.next_law(logits[-1], settings.temperature)
            rows.append(bonus_row(int(draws.token(after)[0]), row))
        elif bonus:
            server.rollback(len(stage.text))
        stage.commit(rows)
    if waiting:
        _measure(waiting, (yield server, stage.text[:-1], len(waiting)))


def bonus_row(token: int, before: records.Row) -> records.Row:
    """Token that the server added after keeping all drafts of the round: free, and of its own law."""
    return records.new_row(
        position=before["position"] + 1,
        round=before["round"],
        token=token,
        action=records.SAMPLED,
        tv=0.0,
        skip_mass=0.0,
        risk=0.0,
        truncation_tv=0.0,
    )


def _measure(waiting: list[tuple[records.Row, laws.Context]], logits: laws.Law) -> None:
    for (row, here), z in zip(waiting, logits, strict=True):
        y = laws.next_law(z, here.settings.temperature)
        row.update(laws.measure(here, y, row["draft"]))
    waiting.clear()


def _charge(row: records.Row, settings: Settings, clock: Clock, slm_wall_s: float, llm_wall_s: float) -> None:
    """Enter the bits and seconds of a round whose counts are in its row."""
    codec, scheme = clock.system.codec, settings.scheme
    if row["llm_calls"]:
        row["downlink_bit"] = scheme.verification.answer_bit(codec, bonus=settings.bonus)[0]
        if row["drafted"]:
            row["uplink_bit"] = float(scheme.payload.bit(row["k"], codec, scheme.skip))
            if clock.system.latency.charge_resync and row["catch_up"]:
                row["uplink_bit"] += float(resync_bit(row["catch_up"], codec.vocab_size, codec.index_bits))
    row.update(records.charged(row, clock, slm_wall_s, llm_wall_s))
