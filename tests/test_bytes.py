"""Real bytes between device and server: the laws they leave, the bits they take, what is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.decoding import (
    Clock,
    Convention,
    Exchange,
    LostServerError,
    Opening,
    Remote,
    ServerText,
    Settings,
    decode,
    laws,
    loop,
    records,
    system_of,
)
from calibration.decoding.link import connection
from calibration.decoding.session import CachedModel, drive
from calibration.decoding.stage import Stage
from calibration.decoding.wire import Request, Wire
from cuhlm_theory import truncation, verification
from cuhlm_theory.errors import PacketError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES, KeepShare

pytest.importorskip("torch")

from tests.test_decode import MULTI, SINGLE, Fixed, enumerated, setting, system, tiny

TIES = np.zeros(4)
ZEROS = np.array([0.3, -50.0, 0.1, -50.0])
SKEWED = np.array([1.0, 0.2, -0.5])
FIVE = np.array([0.4, 0.0, -0.2, 0.1, 0.3])
PLACES = {"ties": TIES, "zeros": ZEROS, "skewed": SKEWED, "five": FIVE}


def other(logits: np.ndarray) -> np.ndarray:
    """Logits of the large model where the small one has these."""
    return np.roll(logits, 1) + 0.3 * np.arange(len(logits))


class Place(Fixed):
    """One context of a known vocabulary."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__(logits)
        self.vocab_size = len(logits)


def first_token(chosen: Settings, logits: np.ndarray, bits: int) -> np.ndarray:
    """Law of the first token, all ways it can come about enumerated, shape [V]."""
    found = enumerated((Place(logits), Place(other(logits))), replace(chosen, max_new_tokens=1), bits)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-9)
    return np.array([found.get((token,), 0.0) for token in range(len(logits))])


def laws_of(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return laws.next_law(logits, 0.9), laws.next_law(other(logits), 0.9)


# ------------------------------------------------------------------------------------- laws, by enumeration


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bits", [2, 5])
@pytest.mark.parametrize("scheme", SINGLE)
def test_a_single_draft_follows_the_exact_law_of_what_is_sent(scheme, bits, place):
    logits, chosen = PLACES[place], setting(scheme)
    x, y = laws_of(logits)
    found = first_token(chosen, logits, bits)
    if scheme in ("llm", "hlm"):
        np.testing.assert_allclose(found, y, atol=1e-9)
        return
    here = laws.Context(logits, chosen, system(len(logits), bits))
    np.testing.assert_allclose(found, laws.output(here, y), atol=1e-9)
    if scheme in ("u-hlm", "rand-hlm"):
        rounded = truncation.quantise(x, bits)
        np.testing.assert_allclose(found, verification.output_law(rounded, y, skip=here.skip()), atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bits", [2, 5])
def test_rounding_after_drafting_has_the_bias_that_theory_charges(bits, place):
    logits, chosen = PLACES[place], setting("hlm", Convention(quantised=False))
    x, y = laws_of(logits)
    rounded = truncation.quantise(x, bits)
    found = first_token(chosen, logits, bits)
    np.testing.assert_allclose(found, verification.output_law(x, y, verify_with=rounded), atol=1e-9)
    bias = float(verification.total_variation(found, y))
    apart = float(truncation.quantisation_tv(x, bits))
    assert bias <= apart + 1e-9
    assert apart <= truncation.quantisation_tv_bound(len(x), bits) + 1e-12
    if place == "skewed" and bits == 2:
        assert bias > 1e-3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bits", [2, 5])
@pytest.mark.parametrize("scheme", sorted({*MULTI} - {"asymspec"}))
def test_a_verified_draft_has_the_llm_s_law_as_far_as_bits_tell_it(scheme, bits, place):
    logits, chosen = PLACES[place], setting(scheme)
    rule, (_, y) = chosen.scheme.verification, laws_of(logits)
    found = first_token(chosen, logits, bits)
    if rule.exact and not rule.on_device:
        np.testing.assert_allclose(found, y, atol=1e-9)
        return
    here = laws.Context(logits, chosen, system(len(logits), bits))
    if not rule.on_device:
        np.testing.assert_allclose(found, rule.verified_law(here.x, y), atol=1e-9)
        return
    kept = here.x * rule.acceptance(here.x, y)
    came = truncation.quantise(y, bits)
    expected = kept + (1.0 - kept.sum()) * rule.replacement(here.x, came)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    if rule.exact and place == "skewed" and bits == 2:
        assert verification.total_variation(found, y) > 1e-3


@pytest.mark.parametrize("place", PLACES)
def test_the_kept_law_is_rounded_down_and_only_that_is_kept(place):
    logits, chosen = PLACES[place], setting("kept-law")
    x, y = laws_of(logits)
    here = laws.Context(logits, chosen, system(len(logits), 3))
    exact = x * (here.at_most(0.6))
    np.testing.assert_allclose(here.kept, np.floor(7.0 * exact + 1e-9) / 7.0)
    bias = verification.total_variation(first_token(chosen, logits, 3), y)
    assert bias == pytest.approx(np.maximum(here.kept - y, 0.0).sum(), abs=1e-9)


def test_a_level_tells_a_proposal_from_any_law_on_the_lattice_without_bias():
    class Even(laws.Draws):
        def __init__(self) -> None:
            self.rng = self

        def random(self) -> float:
            return self.at

    draws, parts = Even(), 20_000
    for y in (0.9, 0.31, 0.004):
        levels = []
        for part in range(parts):
            draws.at = (part + 0.5) / parts
            levels.append(draws.level(y, 15))
        for count in range(16):
            taken = np.mean(count <= np.array(levels))
            assert taken == pytest.approx(max(1.0 - count / (15 * y), 0.0), abs=1.0 / parts + 1e-12)


def test_proposals_leave_the_llm_s_law():
    chosen = replace(setting("asymspec", num_drafts=1, adds_bonus=False), max_new_tokens=3000)
    stage = decoded(chosen, SKEWED, bits=2)[0]
    _, y = laws_of(SKEWED)
    counts = np.bincount([row["token"] for row in stage.rows], minlength=3)
    spread = np.sqrt(y * (1.0 - y) / 3000)
    assert np.all(np.abs(counts / 3000 - y) < 4.0 * spread)


# ------------------------------------------------------------------------------------------ bits and packets


class Elsewhere:
    """A server that yields no passes: it makes its own, as one in another process does."""

    def __init__(self, inner: ServerText) -> None:
        self.inner, self.seconds, self.link_s = inner, 0.0, 0.0
        self.packets: list[tuple[bytes, bytes]] = []

    def answer(self, request: bytes) -> Any:
        reply = drive(self.inner.answer(request))
        self.packets.append((request, reply))
        return reply
        yield


def decoded(chosen: Settings, logits: np.ndarray, bits: int = 8, server: Any = None) -> tuple[Stage, Any]:
    here = system(len(logits), bits)
    told = {"scheme": chosen.scheme, "system": here}
    stage = Stage([0, 1], chosen.max_new_tokens, (), measure=server is None, **told)
    opening, own = Opening.of([0, 1], chosen, here.codec, np.random.default_rng([3, 1]))
    if server is not None:
        opening = Opening.from_json(json.loads(json.dumps(opening.to_json())))
    asked = ServerText(opening, Place(other(logits)))
    asked = asked if server is None else server(asked)
    drive(loop(Place(logits), asked, chosen, Clock(system=here), laws.Draws(own), stage))
    return stage, asked


@pytest.mark.parametrize("scheme", sorted({*SCHEMES} - {"slm"}))
def test_one_process_and_two_write_the_same_text_and_count_every_byte(scheme):
    chosen = setting(scheme)
    near, far = decoded(chosen, FIVE)[0], decoded(chosen, FIVE, server=Elsewhere)
    assert near.text == far[0].text
    assert all(np.isnan(row["tv"]) for row in far[0].rows if row["draft"] >= 0)
    sent = [sum(8 * len(packet[way]) for packet in far[1].packets) for way in (0, 1)]
    rows = far[0].rows
    up = sum(row["uplink_bit"] + row["uplink_frame_bit"] for row in rows)
    assert up == (0 if chosen.scheme.verification.on_server else sent[0])
    assert sum(row["downlink_bit"] + row["downlink_frame_bit"] for row in rows) == sent[1]


FIXED_WIDTH = sorted({*SCHEMES} - {"slm", "server-pair", "k-sqs", "c-sqs", "q-s", "tk-slt"})


@pytest.mark.parametrize("scheme", FIXED_WIDTH)
def test_payloads_take_the_bits_of_the_formula_and_the_index_that_it_leaves_out(scheme):
    chosen, codec = setting(scheme), system(5).codec
    wire, rule = Wire(chosen, codec), chosen.scheme.payload
    _, far = decoded(chosen, FIVE, server=Elsewhere)
    for request, reply in far.packets:
        asked = wire.read_request(request)
        packet = wire.request(asked)
        sizes = [wire.entries(law, 5 if rule.truncates is False else law.index.size) for law in asked.laws]
        if scheme == "cu-hlm-offline":
            sizes = [3] * len(asked.laws)
        if scheme == "tslt":
            sizes = [2] * len(asked.laws)
        named = codec.bits_per_index * wire.names_drafts * len(asked.drafts)
        formula = sum(float(rule.bit(size, codec, chosen.scheme.skip)) for size in sizes)
        assert packet.payload_bit == formula + named
        assert packet.told_bit == codec.bits_per_index * len(asked.told)
        answer, came = wire.read_reply(reply)
        bits = chosen.scheme.verification.answer_bit(codec, bonus=asked.bonus)
        whole = bool(asked.drafts) and answer.kept == len(asked.drafts)
        assert came.payload_bit == bits[0 if whole else 1]


class Line:
    """Asks a large model in this process as one elsewhere is asked, until it is lost."""

    def __init__(self, inner: ServerText, lasts: int | None) -> None:
        self.inner, self.lasts, self.seconds, self.link_s, self.closed = inner, lasts, 0.0, 0.25, False
        self.exchanges: list[Exchange] = []

    def answer(self, request: bytes) -> Any:
        if len(self.exchanges) == self.lasts:
            raise LostServerError("gone")
        reply = drive(self.inner.answer(request))
        sizes = {"sent_byte": len(request), "received_byte": len(reply)}
        framed = {f"{name.removesuffix('_byte')}_framed_byte": size for name, size in sizes.items()}
        self.exchanges.append(Exchange(round_trip_s=0.3, compute_s=0.05, queue_s=0.0, **sizes, **framed))
        return reply
        yield

    def close(self) -> None:
        self.closed = True


class Afar(Remote):
    """A large model that is elsewhere, and may go away after so many answers."""

    def __init__(self, model: Any, lasts: int | None = None) -> None:
        self.model, self.lasts, self.config = model, lasts, model.config
        self.lines: list[Line] = []

    def get_output_embeddings(self) -> Any:
        return self.model.get_output_embeddings()

    def text(self, opening: Opening) -> Any:
        self.lines.append(Line(ServerText(opening, CachedModel(self.model, 12)), self.lasts))
        return self.lines[-1]


@pytest.mark.parametrize("scheme", ["u-hlm", "dssd"])
def test_a_model_elsewhere_writes_the_text_of_one_at_hand_and_leaves_what_was_written(scheme):
    device, model = tiny(1, 12, 1), tiny(2, 12, 2)

    def written(large: Any) -> Any:
        clock = Clock(system=system(12))
        return decode((device, large), [1, 2, 0], setting(scheme), clock, rng=np.random.default_rng(2))

    far = Afar(model)
    near, found = written(model), written(far)
    assert found.tokens == near.tokens
    assert near.exchanges == []
    assert found.exchanges == far.lines[0].exchanges
    assert found.columns["link_measured_s"].sum() == 0.25 * len(found.exchanges) > 0.0
    lost = Afar(model, lasts=len(found.exchanges) // 2)
    with pytest.raises(LostServerError) as error:
        written(lost)
    rest = error.value.decoded
    assert rest is not None
    assert 0 < len(rest.tokens) < len(found.tokens)
    assert rest.tokens == found.tokens[: len(rest.tokens)]
    assert rest.exchanges == found.exchanges[: lost.lasts]
    assert all(line.closed for line in (*far.lines, *lost.lines))


def sets_of(scheme: str) -> tuple[ServerText, list[bytes]]:
    chosen = setting(scheme)
    _, far = decoded(chosen, FIVE, server=Elsewhere)
    here = system(5)
    opening, _ = Opening.of([0, 1], chosen, here.codec, np.random.default_rng([3, 1]))
    return ServerText(opening, Place(other(FIVE))), [request for request, _ in far.packets]


@pytest.mark.parametrize("scheme", ["cu-hlm-exact", "dssd", "kept-law-exact", "asymspec"])
def test_a_repeated_request_gets_the_same_reply_and_changes_nothing(scheme):
    server, requests = sets_of(scheme)
    plain, _ = sets_of(scheme)
    for request in requests:
        once = drive(server.answer(request))
        again = drive(server.answer(request))
        assert once == again == drive(plain.answer(request))
        assert server.text == plain.text


@pytest.mark.parametrize("scheme", ["cu-hlm-exact", "dssd", "kept-law-exact", "llm"])
def test_broken_requests_are_refused_and_change_nothing(scheme):
    server, requests = sets_of(scheme)
    text = list(server.text)
    for bit in range(8 * len(requests[0])):
        broken = bytearray(requests[0])
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError):
            drive(server.answer(bytes(broken)))
    for content in (b"", requests[0][:-1], requests[0] + b"\0", b"garbage" * 9):
        with pytest.raises(PacketError):
            drive(server.answer(content))
    with pytest.raises(PacketError, match="of round 0; got 1"):
        drive(server.answer(requests[1]))
    assert server.text == text
    drive(server.answer(requests[0]))
    with pytest.raises(PacketError, match="same where it repeats round 0"):
        drive(server.answer(server.wire.request(Request(round=0, told=(1,))).content))


def test_a_pass_that_never_comes_changes_nothing():
    server, requests = sets_of("dssd")
    passing = server.answer(requests[0])
    next(passing)
    passing.close()
    plain, _ = sets_of("dssd")
    assert drive(server.answer(requests[0])) == drive(plain.answer(requests[0]))


@pytest.mark.parametrize(
    ("scheme", "asked", "text"),
    [
        ("hlm", Request(round=0), "hold drafts as hlm sends them; got 0"),
        ("dssd", Request(round=0), "hold drafts as dssd sends them; got 0"),
        ("llm", Request(round=0, bonus=True), "hold drafts where a bonus is wanted; got 0"),
        ("dssd", Request(round=0, more=True), "follow a draft that was not kept"),
    ],
)
def test_requests_that_no_device_of_the_scheme_sends_are_refused(scheme, asked, text):
    server, _ = sets_of(scheme)
    with pytest.raises(PacketError, match=text):
        drive(server.answer(server.wire.request(asked).content))


def test_tokens_beyond_the_vocabulary_are_refused():
    server, _ = sets_of("llm")
    for told in (5, 7):  # five tokens take three bits, which could name three more
        with pytest.raises(PacketError, match=f"hold tokens below 5; got {told}"):
            drive(server.answer(server.wire.request(Request(round=0, told=(1, told))).content))
    drive(server.answer(server.wire.request(Request(round=0, told=(1, 4))).content))


def test_a_law_whose_end_is_not_told_cannot_stand_in_a_run():
    scheme = replace(SCHEMES["dsd"], payload=SCHEMES["cu-hlm-exact"].payload).using(num_drafts=2)
    with pytest.raises(ValueError, match="payload must say where a law ends"):
        Wire(Settings(scheme=scheme), system(5).codec)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_opening_comes_back_from_json(scheme):
    opening, _ = Opening.of([3, 1], setting(scheme), system(5).codec, np.random.default_rng([7, 2**70]))
    back = Opening.from_json(json.loads(json.dumps(opening.to_json())))
    assert back == opening
    assert back.rng.random() == opening.rng.random()


def test_an_opening_holds_shares_and_is_refused_where_it_is_none():
    chosen = Settings(scheme=SCHEMES["kept-law"].keeping(KeepShare((0.5, 0.7), (0.8, 0.3))))
    opening, own = Opening.of([3], chosen, system(5).codec, np.random.default_rng(7))
    assert Opening.from_json(json.loads(json.dumps(opening.to_json()))) == opening
    assert own.random() != opening.rng.random()
    with pytest.raises(ValueError, match="opening must tell settings, codec, prompt and seed"):
        Opening.from_json({"prompt": [1]})


def test_a_record_has_the_frames_apart():
    row = records.new_row()
    assert {"uplink_frame_bit", "downlink_frame_bit"} <= row.keys()


def test_the_system_of_a_header_is_that_which_was_written():
    latency = {"slm_s": 0.01, "llm_s": 0.1, "llm_prefill_s": 0.002, "downlink_bit_per_s": None}
    told = {"link": {"bandwidth_hz": 1e3, "snr": 3.0}, "codec": {"vocab_size": 9}, "latency": latency}
    assert system_of(told | {"tx_power_w": 0.2}) == System(
        link=Link(bandwidth_hz=1e3, snr=3.0),
        codec=Codec(vocab_size=9),
        latency=Latency(slm_s=0.01, llm_s=0.1, llm_per_token_s=0.002, downlink_bit_per_s=np.inf),
        tx_power_w=0.2,
    )
    assert latency["downlink_bit_per_s"] is None
    assert (
        system_of(told | {"latency": latency | {"downlink_bit_per_s": 5.0}}).latency.downlink_bit_per_s == 5.0
    )
    del latency["downlink_bit_per_s"]
    assert system_of(told).latency.downlink_bit_per_s == Latency(slm_s=1.0, llm_s=1.0).downlink_bit_per_s
    del told["codec"]
    with pytest.raises(ValueError, match=r"^decoded has a header whose system cannot be read: 'codec'$"):
        system_of(told)


def test_a_connection_is_told_in_means_of_seconds_and_sums_of_bytes():
    first, second = (
        Exchange(
            round_trip_s=round_trip_s,
            compute_s=0.1,
            queue_s=0.03,
            sent_byte=10,
            received_byte=received,
            sent_framed_byte=30,
            received_framed_byte=received + 20,
        )
        for round_trip_s, received in ((0.33, 5), (0.53, 25))
    )
    told = connection([first, second])
    rounds = told.pop("rounds")
    assert told == pytest.approx(
        {
            "num_requests": 2,
            "round_trip_s": 0.43,
            "compute_s": 0.1,
            "queue_s": 0.03,
            "link_s": 0.3,
            "sent_byte": 20,
            "received_byte": 30,
            "sent_framed_byte": 60,
            "received_framed_byte": 70,
            "rate_bit_per_s": 8 * 130 / 0.6,
        }
    )
    assert [one["link_s"] for one in rounds] == pytest.approx([0.2, 0.4])
    assert [one["rate_bit_per_s"] for one in rounds] == pytest.approx([8 * 55 / 0.2, 8 * 75 / 0.4])
    assert [one["received_byte"] for one in rounds] == [5, 25]
    hasty = replace(first, compute_s=1.0)  # two clocks
    assert (hasty.link_s, hasty.rate_bit_per_s) == (0.0, np.inf)
