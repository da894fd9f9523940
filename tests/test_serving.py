"""Devices and a server in two places: one text, whatever happens to the connection and to other devices."""

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest

from calibration.decoding import Clock, Settings, decode
from cuhlm_theory.parameters import Codec, FixedRate, Latency, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from tests import tiny

grpc = pytest.importorskip("grpc")

from calibration.pairs import tokenizer_fingerprint  # noqa: E402
from calibration.serving import _messages_pb2 as messages  # noqa: E402
from calibration.serving import client, protocol, server  # noqa: E402
from calibration.serving.passes import Passes  # noqa: E402

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
        self.cut = await server.serve(
            self.passes, self.sides, ("127.0.0.1", 0), limits, tell=self.tell, until=lambda: self.over.wait()
        )

    def tell(self, address):
        self.address = address
        self.ready.set()

    def stop(self):
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


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_two_processes_write_what_one_writes(name, models, served):
    if name == "slm":
        return
    remote = client.RemoteModel(served.address)
    here = decoded(*models, how=settings(name))
    there = decoded(models[0], remote, how=settings(name))
    assert there.tokens == here.tokens
    for column in ("uplink_bit", "uplink_frame_bit", "downlink_bit", "catch_up", "llm_calls"):
        np.testing.assert_array_equal(there.columns[column], here.columns[column])
    remote.close()
