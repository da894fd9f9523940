"""`cuhlm channel`: rates and latencies at the command line."""

import math

import pytest


@pytest.fixture
def result(cuhlm_json):
    return lambda *arguments: cuhlm_json("channel", *arguments)


def test_the_default_channel_is_that_of_u_hlm(result):
    got = result()
    assert (got["bits"], got["bandwidth_hz"], got["snr_db"], got["fading"]) == (736_000, 1e6, -8.92, "awgn")
    assert got["rate_bit_per_s"] == pytest.approx(1e6 * math.log2(1 + 10**-0.892))
    assert got["latency_s"] == pytest.approx(736_000 / got["rate_bit_per_s"])
    assert "Shannon" in got["latency_is"]
    assert "mean_latency_s" not in got
    assert got["assumed"] == ["bandwidth_hz", "snr_db", "fading"]
    assert result("--snr-db", "3")["assumed"] == ["bandwidth_hz", "fading"]
    assert result("--snr-db", "3", "--bandwidth-hz", "180e3", "--fading", "awgn")["assumed"] == []


def test_repetition_shows_its_rate_and_success(result):
    got = result("--bits", "690", "--bandwidth-hz", "1e6", "--snr-db", "10", "--fading", "rayleigh-arq")
    w = got["spectral_efficiency_bit_per_s_per_hz"] * math.log(2)
    assert w * math.exp(w) == pytest.approx(10.0)
    assert got["success_probability"] == pytest.approx(math.exp(-(math.exp(w) - 1) / 10.0))
    assert got["rate_bit_per_s"] == pytest.approx(1e6 * w / math.log(2) * got["success_probability"])
    assert got["latency_s"] == pytest.approx(690 / got["rate_bit_per_s"])
    assert got["latency_is"].startswith("mean")


def test_a_short_packet_shows_its_blocklength(result):
    got = result("--bits", "690", "--bandwidth-hz", "1e6", "--snr-db", "10", "--fading", "short-packet")
    assert got["blocklength"] == pytest.approx(218.4221014351580)
    assert got["latency_s"] == pytest.approx(218.4221014351580e-6)
    assert got["rate_bit_per_s"] == pytest.approx(690 / got["latency_s"])
    longer = result("--bits", "690", "--snr-db", "10", "--fading", "short-packet", "--block-error", "1e-9")
    assert longer["blocklength"] > got["blocklength"]


def test_outage_is_an_option(result):
    arguments = ("--snr-db", "10", "--bandwidth-hz", "1", "--fading", "rayleigh-outage")
    got = result(*arguments, "--outage", "0.1")
    assert got["rate_bit_per_s"] == pytest.approx(math.log2(1 - 10 * math.log(0.9)))
    assert got["rate_bit_per_s"] > result(*arguments)["rate_bit_per_s"]
    assert result(*arguments, "--mean")["mean_latency_s"] == pytest.approx(
        result(*arguments)["latency_s"] / 0.99
    )


def test_an_ergodic_link_prints_its_limit_and_refuses_a_mean(result, assert_refused):
    got = result("--snr-db", "0", "--bandwidth-hz", "1", "--bits", "2", "--fading", "rayleigh-ergodic")
    assert got["rate_bit_per_s"] == pytest.approx(0.596347362323194 / math.log(2))  # Gompertz
    assert got["latency_s"] == pytest.approx(2 / got["rate_bit_per_s"])
    assert "many coherence blocks" in got["latency_is"]
    assert "not a mean" in got["latency_is"]
    words = ("infinite", "rayleigh-arq", "736000")
    assert_refused("channel", "--fading", "rayleigh-ergodic", "--mean", "--json", code=1, words=words)
    assert result("--fading", "rayleigh-ergodic", "--mean", "--bits", "0")["mean_latency_s"] == 0.0


def test_a_mean_can_be_asked_for_where_there_is_one(result):
    got = result("--mean", "--fading", "rayleigh-arq")
    assert got["mean_latency_s"] == got["latency_s"]
    assert result("--mean")["mean_latency_s"] == result()["latency_s"]


@pytest.mark.parametrize(
    "fading", ["awgn", "rayleigh-ergodic", "rayleigh-outage", "rayleigh-arq", "short-packet"]
)
def test_a_sweep_is_a_list_of_points(result, fading):
    swept = result("--snr-db", "-10:20:15", "--fading", fading)
    assert swept["snr_db"] == [-10.0, 5.0, 20.0]
    for index, snr_db in enumerate(swept["snr_db"]):
        single = result("--snr-db", str(snr_db), "--fading", fading)
        assert single.keys() == swept.keys()
        for key, value in single.items():
            shared = key in ("bits", "bandwidth_hz", "fading", "latency_is", "assumed")
            assert value == (swept[key] if shared else swept[key][index])
    assert swept["latency_s"] == sorted(swept["latency_s"], reverse=True)


def test_a_sweep_includes_its_ends(result):
    assert result("--snr-db", "0:1:0.1")["snr_db"] == pytest.approx([n / 10 for n in range(11)])
    assert result("--snr-db", "0:10:3")["snr_db"] == [0.0, 3.0, 6.0, 9.0]
    assert result("--snr-db", "5:5:1")["snr_db"] == [5.0]


def test_a_dead_link_has_no_finite_latency(result):
    got = result("--snr-db=-inf")
    assert (got["rate_bit_per_s"], got["latency_s"]) == (0.0, None)


def test_tables_show_units_and_meaning(run_cuhlm):
    code, out, err = run_cuhlm("channel", "--fading", "rayleigh-arq", "--snr-db", "0:10:5")
    assert (code, err) == (0, "")
    for word in (
        "SNR [dB]",
        "[bit/s]",
        "success",
        "latency [s]",
        "rayleigh-arq",
        "736000 bit",
        "1e+06 Hz",
        "repeated",
    ):
        assert word in out
    assert len([line for line in out.splitlines() if line.strip().startswith(("0 ", "5 ", "10 "))]) == 3
    assert "mean latency" not in out
    assert "Assumed: bandwidth_hz." in " ".join(out.split())
    assert (
        "Assumed" not in run_cuhlm("channel", "--snr-db", "5", "--bandwidth-hz", "1e6", "--fading", "awgn")[1]
    )
    assert "mean latency [s]" in run_cuhlm("channel", "--mean")[1]
    assert "blocklength" in run_cuhlm("channel", "--fading", "short-packet")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bandwidth-hz", "-1"), ("--bandwidth-hz must be positive; got -1",)),
        (("--bandwidth-hz", "0"), ("--bandwidth-hz must be positive; got 0",)),
        (("--bandwidth-hz", "nan"), ("--bandwidth-hz must be a number [Hz]; got 'nan'",)),
        (("--bits", "-1"), ("bits must be at least 0; got -1",)),
        (("--bits", "nan"), ("--bits must be a number [bit]; got 'nan'",)),
        (("--bits", "many"), ("--bits", "many")),
        (("--outage", "1"), ("outage must lie in (0, 1); got 1",)),
        (("--block-error", "0.5"), ("--block-error must lie in (0, 0.5); got 0.5",)),
        (("--fading", "rice"), ("--fading", "rice", "rayleigh-arq")),
        (("--snr-db", "nan"), ("--snr-db must be a number", "'nan'")),
        (("--snr-db", "loud"), ("--snr-db must be a number", "'loud'")),
        (("--snr-db", "9:0:1"), ("A <= B", "'9:0:1'")),
        (("--snr-db", "0:9:0"), ("STEP > 0", "'0:9:0'")),
        (("--snr-db", "0:9:-1"), ("STEP > 0", "'0:9:-1'")),
        (("--snr-db", "0:9"), ("A:B:STEP", "'0:9'")),
        (("--snr-db", "0:nan:1"), ("A:B:STEP", "'0:nan:1'")),
        (("--snr-db", "0:9:1e-9"), ("at most 100000 points", "'0:9:1e-9'")),
        (("--snr-db", "4000"), ("--snr-db must be at most 1500; got 4000",)),
        (("--loudness", "1"), ("--loudness",)),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, arguments, words):
    assert_refused("channel", *arguments, "--json", words=words)
