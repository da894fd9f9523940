"""Published numbers: consistent with each other, each with a source and a provenance."""

import dataclasses
import math
from statistics import mean
from types import SimpleNamespace

import pytest

from cuhlm_theory import capacity, payload
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import FixedRate, Link
from cuhlm_theory.presets import FIGURES, PUBLISHED_LINES, SCENARIOS, SETTINGS, TABLE_I, Preset

PAPERS = ("CU-HLM, arXiv:2505.11788v1", "U-HLM, arXiv:2412.12687", "arXiv:2508.12590")


def all_presets():
    lines = [
        getattr(line, field.name)
        for line in PUBLISHED_LINES.values()
        for field in dataclasses.fields(line)
        if field.name != "name"
    ]
    scenarios = [one for scenario in SCENARIOS.values() for one in scenario.values()]
    return [*lines, *SETTINGS.values(), *FIGURES.values(), *scenarios]


def test_every_preset_says_what_it_is_and_where_it_is_from():
    assert len(all_presets()) >= 25
    for preset in all_presets():
        assert isinstance(preset, Preset)
        assert math.isfinite(preset.value)
        assert preset.provenance == "assumed" or preset.source.startswith(PAPERS)
        assert len(preset.source) > 10
        assert preset.name.endswith("]")
        assert preset.provenance in ("printed", "reconstructed", "assumed")


@pytest.mark.parametrize("thing", [PUBLISHED_LINES["cu-hlm"], SETTINGS["prob_bits"]])
def test_presets_do_not_change(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        thing.name = "mine"
    assert not hasattr(thing, "__dict__")
    with pytest.raises(TypeError):
        type(thing)(thing.name)  # by keyword only


def test_only_what_follows_from_printed_numbers_is_reconstructed():
    reconstructed = {one.name for one in all_presets() if one.provenance == "reconstructed"}
    assert reconstructed == {"Delta [-]", "mean SNR [dB]"}
    assert PUBLISHED_LINES["u-hlm"].delta.provenance == "printed"
    assert all(one.provenance == "printed" for key, one in SETTINGS.items() if key != "mean_snr_db")


def test_sources_name_the_paper_of_their_scheme():
    for name, paper in (("cu-hlm", "2505.11788v1"), ("u-hlm", "2412.12687")):
        line = PUBLISHED_LINES[name]
        assert line.name == name
        for field in ("slope", "intercept", "delta", "risk_averse", "risk_prone"):
            assert paper in getattr(line, field).source
    for name, preset in FIGURES.items():
        expected = {"cu": "2505.11788v1", "u_": "2412.12687", "fo": "2508.12590"}[name[:2]]
        assert expected in preset.source


@pytest.mark.parametrize(
    ("name", "slope", "intercept", "delta", "averse", "prone", "digits"),
    [("cu-hlm", 0.815, -0.066, 0.5955, 0.0810, 0.8117, 4), ("u-hlm", 0.82, -0.06, 0.301, 0.073, 0.431, 1)],
)
def test_published_lines_give_the_published_thresholds(name, slope, intercept, delta, averse, prone, digits):
    line = PUBLISHED_LINES[name]
    assert (line.slope.value, line.intercept.value, line.delta.value) == (slope, intercept, delta)
    assert (line.risk_averse.value, line.risk_prone.value) == (averse, prone)
    assert round(-intercept / slope, 4 if name == "cu-hlm" else 3) == averse
    assert round((delta - intercept) / slope, digits) == round(
        prone, digits
    )  # U-HLM's is 0.440 by its digits


def test_published_settings_fit_each_other():
    vocab_size, bits = int(SETTINGS["vocab_size"].value), int(SETTINGS["prob_bits"].value)
    assert (vocab_size, bits) == (32_000, 8)
    assert SETTINGS["full_payload_byte"].value == payload.printed_bit(vocab_size, vocab_size, bits) / 8
    assert SETTINGS["offline_k"].value == 30
    assert (SETTINGS["num_samples"].value, SETTINGS["max_temperature"].value) == (20, 2.0)


def test_the_published_headlines_contradict_a_single_operating_point():
    """206 > 1 / (0.252 * 0.026) and 2.54 > 1 / (1 - 0.4593): `throughput.speedup_ceiling`."""
    assert FIGURES["cu_hlm_speedup"].value == 206
    cap = 1 / ((1 - FIGURES["cu_hlm_skip_rate"].value) * (1 - FIGURES["cu_hlm_compression"].value))
    assert cap == pytest.approx(152.6, abs=0.05)
    assert FIGURES["u_hlm_speedup"].value == 2.54
    assert 1 / (1 - FIGURES["u_hlm_skip_rate"].value) == pytest.approx(1.849, abs=5e-4)
    assert FIGURES["cu_hlm_accuracy"].value == 0.974
    assert FIGURES["u_hlm_accuracy"].value == 0.9754


def test_the_default_link_is_the_printed_link_budget():
    given = {name: SETTINGS[name].value for name in ("tx_power_dbm", "noise_dbm", "bandwidth_hz")}
    gain = capacity.log_distance_path_gain(
        SETTINGS["distance_m"].value, 1.0, SETTINGS["path_loss_exponent"].value
    )
    power_w, noise_w = (10 ** (given[name] / 10 - 3) for name in ("tx_power_dbm", "noise_dbm"))
    snr = capacity.received_snr(power_w, gain, noise_w / given["bandwidth_hz"], given["bandwidth_hz"])
    assert round(float(capacity.db_from_snr(snr)), 2) == SETTINGS["mean_snr_db"].value == -8.92
    link = Ladder({}).link()
    assert (link.bandwidth_hz, link.fading) == (1e6, "awgn")
    assert capacity.db_from_snr(link.snr) == pytest.approx(-8.92)
    whole_s = float(capacity.packet_latency_s(link, 32_000 * 16))
    assert whole_s == pytest.approx(2.94, abs=0.005)
    assert (
        0.25 < 1 / (whole_s + 0.0246 + 0.1046) < FIGURES["follow_up_throughput_low"].value
    )  # token/s of HLM


def test_a_preset_is_a_rung_above_the_calibration_and_below_what_is_said():
    def built(name, **said):
        numbers = {key: one.value for key, one in SCENARIOS[name].items()}
        ladder = Ladder(
            said, {"calibration": SimpleNamespace(slm_latency_s=9.0, vocab_size=50)}, preset=numbers
        )
        return ladder.system(), ladder.provenance

    system, provenance = built("u-hlm")
    assert (system.latency.slm_s, system.latency.llm_s, system.latency.charge_resync) == (
        0.0246,
        0.1046,
        False,
    )
    assert (system.codec.prob_bits, system.codec.index_bits, system.codec.vocab_size) == (16, 0, 50)
    assert (provenance["slm_latency_s"], provenance["vocab_size"]) == ("preset", "calibration")
    assert built("u-hlm", slm_latency_s=0.5)[0].latency.slm_s == 0.5
    assert built("u-hlm", rate_bit_per_s=1e6)[0].link == FixedRate(rate_bit_per_s=1e6)
    assert built("5g")[0].link == FixedRate(rate_bit_per_s=50e6)
    assert built("5g")[0].latency.round_trip_s == 0.008
    assert isinstance(built("5g", snr_db=3.0)[0].link, Link)
    for name in SCENARIOS:
        assert built(name)[0].latency.charge_resync == (name not in ("u-hlm", "cu-hlm"))


def test_the_accuracy_of_the_abstract_is_the_mean_ratio_of_its_table():
    ratios = [
        mean(a / b for a, b in zip(TABLE_I["u-hlm"], TABLE_I[other], strict=True)) for other in ("llm", "hlm")
    ]
    assert [round(100 * ratio, 2) for ratio in ratios] == [97.54, 100.05]
    assert FIGURES["u_hlm_accuracy"].value == round(ratios[0], 4)
