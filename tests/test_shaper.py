"""The link between two processes takes the seconds that the theory says, and bounds what it holds."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from calibration.shaper import Direction, shaped
from cuhlm_theory.capacity import rayleigh_block_trace
from cuhlm_theory.parameters import FixedRate, RateTrace
from cuhlm_theory.rate_trace import packet_end_s, packet_mean_s

HERE = ("127.0.0.1", 0)


def fixed(rate, delay_s=0.0):
    return Direction(rate=rate and FixedRate(rate_bit_per_s=rate), delay_s=delay_s)


@contextlib.asynccontextmanager
async def answering(answer):
    """A server on this machine, and its place."""
    server = await asyncio.start_server(answer, *HERE)
    async with server:
        yield server.sockets[0].getsockname()[:2]


async def count_until_the_end(reader, writer):
    """Take everything, then answer with one byte."""
    while await reader.read(1 << 16):
        pass
    writer.write(b"!")
    writer.close()


async def echo(reader, writer):
    while piece := await reader.read(1 << 16):
        writer.write(piece)
    writer.close()


async def seconds_to_send(place, num_byte):
    """Seconds from the first byte up until the one-byte answer has come down."""
    reader, writer = await asyncio.open_connection(*place)
    start = time.perf_counter()
    writer.write(bytes(num_byte))
    writer.write_eof()
    assert await reader.read() == b"!"
    took_s = time.perf_counter() - start
    writer.close()
    return took_s


async def least_seconds(up, down, num_byte, repeats):
    async with answering(count_until_the_end) as server, shaped(HERE, server, up, down) as place:
        return min([await seconds_to_send(place, num_byte) for _ in range(repeats)])


@pytest.mark.parametrize("round_trip_s", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("rate", [180e3, 1e6, 10e6])
def test_bytes_take_the_seconds_of_the_rate_and_the_round_trip(rate, round_trip_s):
    num_byte = int(0.4 * rate / 8.0)
    ways = fixed(rate, round_trip_s / 2.0), fixed(None, round_trip_s / 2.0)
    expected = 8.0 * num_byte / rate + round_trip_s
    took_s = asyncio.run(least_seconds(*ways, num_byte, repeats=3))
    assert 0.999 * expected < took_s < 1.05 * expected


def test_the_way_back_has_a_rate_of_its_own():
    async def measure():
        async with answering(echo) as server, shaped(HERE, server, fixed(4e6), fixed(1e6)) as place:
            reader, writer = await asyncio.open_connection(*place)
            start = time.perf_counter()
            writer.write(bytes(40_000))
            writer.write_eof()
            assert len(await reader.read()) == 40_000
            writer.close()
            return time.perf_counter() - start

    # 80 ms up, 320 ms down; the first piece of 1500 byte is on its way back after 3 ms
    took_s = min(asyncio.run(measure()) for _ in range(3))
    assert 0.32 < took_s < 1.05 * 0.323


def test_over_a_trace_a_packet_takes_what_the_theory_says_for_its_start():
    trace = RateTrace(time_s=[0.0, 0.1, 0.2], rate_bit_per_s=[4e5, 0.0, 2e6])  # 0 to 0.1, 0.2, 0.3 s
    num_byte = 12_500  # the first 40 kbit, an outage, the other 60 kbit at 2 Mbit/s
    expected = float(packet_end_s(trace, 0.0, 8.0 * num_byte))
    assert expected == pytest.approx(0.23)

    def once():
        return asyncio.run(least_seconds(Direction(rate=trace), fixed(None), num_byte, repeats=1))

    took_s = min(once() for _ in range(3))
    assert 0.999 * expected < took_s < 1.05 * expected


def test_packets_at_random_times_of_a_trace_take_the_predicted_mean():
    """No socket and no clock: the same reckoning as the proxy's, at many starts."""
    trace = rayleigh_block_trace(1e5, 2.0, coherence_s=0.02, num_blocks=200, rng=np.random.default_rng(2))
    rng, bits, took_s = np.random.default_rng(3), 4000, []
    for start_s in rng.uniform(0.0, trace.period_s, 4000):
        way = Direction(rate=trace)
        way.through_s(0.0, 0)  # the trace begins
        took_s.append(way.through_s(start_s, bits // 8) - start_s)
    error = np.std(took_s) / np.sqrt(len(took_s))
    assert np.mean(took_s) == pytest.approx(float(packet_mean_s(trace, bits)), abs=4.0 * error)


def test_two_connections_share_the_rate():
    async def measure():
        async with (
            answering(count_until_the_end) as server,
            shaped(HERE, server, fixed(1e6), fixed(None)) as place,
        ):
            start = time.perf_counter()
            await asyncio.gather(*(seconds_to_send(place, 20_000) for _ in range(2)))
            return time.perf_counter() - start

    took_s = min(asyncio.run(measure()) for _ in range(3))
    assert 0.999 * 0.32 < took_s < 1.05 * 0.32


def test_what_is_held_is_bounded_and_a_fast_sender_has_to_wait():
    async def measure():
        up = fixed(1e6, 0.05)
        async with answering(count_until_the_end) as server, shaped(HERE, server, up, fixed(None)) as place:
            _, writer = await asyncio.open_connection(*place)
            flood = asyncio.create_task(drained(writer, 64 << 20))
            await asyncio.sleep(0.5)
            assert not flood.done()
            flood.cancel()
            writer.transport.abort()
        return up

    async def drained(writer, num_byte):
        for _ in range(num_byte >> 16):
            writer.write(bytes(1 << 16))
            await writer.drain()

    up = asyncio.run(measure())
    assert up.carried_byte < 1.1 * 0.5 * 1e6 / 8.0
    assert up.most_held_byte <= up.room_byte + up.piece_byte


def test_a_slow_receiver_is_not_flooded_either():
    async def measure():
        down, gone = fixed(1e9), asyncio.Event()

        async def flood(reader, writer):
            with contextlib.suppress(OSError):
                while not gone.is_set():
                    writer.write(bytes(1 << 16))
                    await writer.drain()
            writer.close()

        async with answering(flood) as server, shaped(HERE, server, fixed(None), down) as place:
            with socket.create_connection(place):  # reads nothing
                await asyncio.sleep(0.5)
            gone.set()
        return down

    down = asyncio.run(measure())
    assert down.most_held_byte <= down.room_byte + down.piece_byte


@pytest.mark.parametrize("who", ["device", "server"])
def test_a_closed_side_closes_the_other(who):
    async def measure():
        ended = asyncio.Event()

        async def answer(reader, writer):
            if who == "server":
                writer.close()
                return
            await reader.read()
            ended.set()
            writer.close()

        async with answering(answer) as server, shaped(HERE, server, fixed(1e7), fixed(None)) as place:
            reader, writer = await asyncio.open_connection(*place)
            if who == "device":
                writer.transport.abort()
                await asyncio.wait_for(ended.wait(), 5.0)
            else:
                assert await asyncio.wait_for(reader.read(), 5.0) == b""
            writer.close()

    asyncio.run(measure())


def test_no_server_closes_the_device_and_the_link_goes_on():
    async def measure():
        with socket.socket() as taken:
            taken.bind(HERE)  # nobody listens
            async with shaped(HERE, taken.getsockname(), fixed(1e6), fixed(None)) as place:
                for _ in range(2):
                    reader, writer = await asyncio.open_connection(*place)
                    assert await asyncio.wait_for(reader.read(), 5.0) == b""
                    writer.close()

    asyncio.run(measure())


# the command


def counting_server():
    """A server in a thread that counts what it is sent, and its port."""
    listening = socket.create_server(HERE)

    def serve():
        with listening:
            one, _ = listening.accept()
            with one:
                while one.recv(1 << 16):
                    pass
                one.sendall(b"!")

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


def test_the_command_is_the_same_link():
    call = [sys.executable, "-c", "from cuhlm_theory.cli import main; main()", "link", "--json"]
    call += ["--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{counting_server()}"]
    call += ["--rate-bit-per-s", "400k", "--round-trip-s", "100ms"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as running:
        try:
            told = json.loads(running.stdout.readline())
            assert told["rate_bit_per_s"] == 4e5
            took_s = asyncio.run(seconds_to_send(told["listening"].rsplit(":", 1), 20_000))
        finally:
            running.terminate()
    assert 0.999 * 0.5 < took_s < 1.05 * 0.5


def test_what_is_no_link_is_one_line(assert_refused, tmp_path):
    call = ("link", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9")
    assert_refused("link", "--listen", "here", "--to", "127.0.0.1:9", words=["--listen must be HOST:PORT"])
    assert_refused(*call, "--rate-bit-per-s", "0", words=["--rate-bit-per-s must be positive; got 0"])
    assert_refused(*call, "--rate-bit-per-s", "1e6", "--coherence-s", "0.1", words=["--coherence-s must be"])
    assert_refused(*call, "--round-trip-s", "-1", words=["--round-trip-s must be at least 0; got -1"])
    assert_refused(*call, "--snr-db", "-inf", words=["must be positive"])
    with socket.create_server(HERE) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused("link", "--listen", place, "--to", place, code=1, words=["cannot listen on", place])


# the kernel's own


@pytest.fixture
def ethernet_pair():
    """Two network namespaces that a virtual Ethernet pair joins."""
    names = ["cuhlm-device", "cuhlm-server"]
    if not (shutil.which("ip") and shutil.which("tc")):
        pytest.skip("needs iproute2")
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network namespace may be made here: {made.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", "cuhlm0", "netns", names[0], "type", "veth", "peer", "cuhlm1", "netns", names[1])
        for number, name in enumerate(names):
            ip("-n", name, "address", "add", f"10.77.0.{number + 1}/24", "dev", f"cuhlm{number}")
            ip("-n", name, "link", "set", f"cuhlm{number}", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def ip(*arguments, program="ip"):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")


RECEIVE = """
import socket
with socket.create_server(("10.77.0.2", 7777)) as listening:
    print("ready", flush=True)
    one, _ = listening.accept()
    while one.recv(1 << 16):
        pass
    one.sendall(b"!")
"""
SEND = """
import socket, sys, time
one = socket.create_connection(("10.77.0.2", 7777))
start = time.perf_counter()
one.sendall(bytes(int(sys.argv[1])))
one.shutdown(socket.SHUT_WR)
one.recv(1)
print(time.perf_counter() - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("round_trip_s", [0.0, 0.05])
@pytest.mark.parametrize("rate", [180e3, 1e6, 10e6])
def test_the_kernels_token_bucket_agrees_but_for_its_headers(ethernet_pair, rate, round_trip_s):
    """The kernel counts headers, 66 in 1514 byte, and TCP takes some round trips to fill the link."""
    device, server = ethernet_pair
    rules = [(device, "cuhlm0", ("tbf", "rate", f"{rate:.0f}bit", "burst", "1600", "latency", "2s"))]
    if round_trip_s:
        rules.append((server, "cuhlm1", ("netem", "delay", f"{round_trip_s * 1e3:g}ms")))
    for name, dev, rule in rules:
        ip("-n", name, "qdisc", "add", "dev", dev, "root", *rule, program="tc")
    num_byte = int(3.0 * rate / 8.0)
    inside = ["ip", "netns", "exec"]
    receive, send = (
        [*inside, name, sys.executable, "-c", code] for name, code in ((server, RECEIVE), (device, SEND))
    )
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as receiving:
        assert receiving.stdout.readline() == "ready\n"
        sent = subprocess.run([*send, str(num_byte)], capture_output=True, text=True, check=True)
    kernel_s = float(sent.stdout)
    ours_s = asyncio.run(least_seconds(fixed(rate), fixed(None, round_trip_s), num_byte, repeats=1))
    print(f"{rate:g} bit/s, {round_trip_s:g} s: the kernel {kernel_s:.3f} s, ours {ours_s:.3f} s")
    assert ours_s < kernel_s < 1514 / 1448 * ours_s + 4.0 * round_trip_s + 0.05 * ours_s
