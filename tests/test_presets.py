"""Published numbers: consistent with each other, each with a source and a provenance."""

import dataclasses
import math

import pytest

from cuhlm_theory import capacity, payload, presets
from cuhlm_theory.presets import FIGURES, PUBLISHED_LINES, SETTINGS, Preset

PAPERS = ("CU-HLM, arXiv:2505.11788v1", "U-HLM, arXiv:2412.12687", "arXiv:2508.12590")


def all_presets():
    lines = [
        getattr(line, field.name)
        for line in PUBLISHED_LINES.values()
        for field in dataclasses.fields(line)
        if field.name != "name"
    ]
    return [*lines, *SETTINGS.values(), *FIGURES.values()]


def test_every_preset_says_what_it_is_and_where_it_is_from():
    assert len(all_presets()) >= 25
    for preset in all_presets():
        assert isinstance(preset, Preset)
        assert math.isfinite(preset.value)
        assert preset.source.startswith("not published" if preset.provenance == "assumed" else PAPERS)
        assert preset.name.endswith("]")
        assert preset.provenance in ("printed", "reconstructed", "assumed")


@pytest.mark.parametrize("thing", [PUBLISHED_LINES["cu-hlm"], SETTINGS["prob_bits"]])
def test_presets_do_not_change(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        thing.name = "mine"
    assert not hasattr(thing, "__dict__")
    with pytest.raises(TypeError):
        type(thing)(thing.name)  # by keyword only


def test_only_what_follows_from_a_threshold_is_reconstructed():
    for line in PUBLISHED_LINES.values():
        assert line.delta.provenance == "reconstructed"
    for preset in all_presets():
        if not preset.name.startswith("Delta"):
            assert preset.provenance == ("assumed" if preset.name.startswith("tau") else "printed")


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
    [("cu-hlm", 0.815, -0.066, 0.5955, 0.0810, 0.8117, 4), ("u-hlm", 0.82, -0.06, 0.2926, 0.0732, 0.43, 2)],
)
def test_published_lines_give_the_published_thresholds(name, slope, intercept, delta, averse, prone, digits):
    line = PUBLISHED_LINES[name]
    assert (line.slope.value, line.intercept.value, line.delta.value) == (slope, intercept, delta)
    assert (line.risk_averse.value, line.risk_prone.value) == (averse, prone)
    assert round(-intercept / slope, 4) == averse
    assert round((delta - intercept) / slope, digits) == prone


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


def test_the_assumed_link_is_as_slow_as_the_published_systems():
    link = presets.DEFAULT_LINK
    assert (link.bandwidth_hz, link.fading) == (180e3, "awgn")
    assert capacity.db_from_snr(link.snr) == pytest.approx(3.0, abs=1e-12)
    throughput = 1 / float(capacity.packet_latency_s(link, 8 * SETTINGS["full_payload_byte"].value))
    low, high = FIGURES["follow_up_throughput_low"].value, FIGURES["follow_up_throughput_high"].value
    assert (low, high) == (0.36, 0.40)
    assert low < throughput < high
