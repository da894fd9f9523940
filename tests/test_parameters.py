"""Descriptions of a system: checked once, frozen, varied with `replace`."""

import dataclasses
import math
import pickle
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory._fields import quantities
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, System

LINK = Link(bandwidth_hz=1e6, snr=10.0)
CODEC = Codec(vocab_size=100)
LATENCY = Latency(slm_s=0.01, llm_s=0.1)
RATE = FixedRate(rate_bit_per_s=1e6)
SYSTEM = System(link=LINK, codec=CODEC, latency=LATENCY)
TOKENS = Tokens(uncertainty=np.array([0.1, 0.5, 0.9]), rejection=np.array([0.0, 0.5, 1.0]))


def test_defaults_neglect_what_the_papers_neglect_but_for_the_skipped_tokens():
    assert (LINK.fading, LINK.outage, LINK.block_error) == ("awgn", 0.01, 1e-3)
    assert (CODEC.prob_bits, CODEC.index_bits, CODEC.kind) == (8, None, "printed")
    assert (LATENCY.round_trip_s, LATENCY.downlink_bit_per_s) == (0.0, math.inf)
    assert (LATENCY.slm_per_token_s, LATENCY.llm_per_token_s) == (0.0, 0.0)
    assert LATENCY.charge_resync is True
    assert (SYSTEM.tx_power_w, SYSTEM.slm_energy_j) == (0.2, 0.0)
    assert Budget() == Budget(bias=0.05, risk=None, truncation=None)


@given(st.integers(2, 2**31))
def test_an_index_is_as_wide_as_the_vocabulary_needs(vocab_size):
    width = Codec(vocab_size=vocab_size).bits_per_index
    assert 2 ** (width - 1) < vocab_size <= 2**width
    assert Codec(vocab_size=vocab_size, index_bits=40).bits_per_index == 40


@pytest.mark.parametrize("thing", [LINK, RATE, CODEC, LATENCY, SYSTEM, Budget(), TOKENS])
def test_descriptions_do_not_change(thing):
    field = dataclasses.fields(thing)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, None)
    with pytest.raises(TypeError):
        type(thing)(getattr(thing, field))  # by keyword only


_INDEX = (
    "index_bits must be 0 (no index is sent) or lie in [7, 64], since a shorter index cannot tell 100 tokens "
    "apart; got {}"
)
REFUSED = [
    (LINK, {"bandwidth_hz": 0.0}, "bandwidth_hz must be positive; got 0"),
    (LINK, {"bandwidth_hz": -1.0}, "bandwidth_hz must be positive; got -1"),
    (LINK, {"bandwidth_hz": math.nan}, "bandwidth_hz must be finite; got nan"),
    (LINK, {"snr": -1.0}, "snr must be at least 0; got -1"),
    (LINK, {"snr": math.inf}, "snr must be finite; got inf"),
    (LINK, {"outage": 0.0}, "outage must lie in (0, 1); got 0"),
    (LINK, {"outage": 1.0}, "outage must lie in (0, 1); got 1"),
    (LINK, {"outage": math.nan}, "outage must lie in (0, 1); got nan"),
    (LINK, {"block_error": 0.0}, "block_error must lie in (0, 0.5); got 0"),
    (LINK, {"block_error": 0.5}, "block_error must lie in (0, 0.5); got 0.5"),
    (
        LINK,
        {"fading": "rice"},
        "fading must be one of awgn, rayleigh-ergodic, rayleigh-outage, rayleigh-arq, short-packet; "
        "got 'rice'",
    ),
    (RATE, {"rate_bit_per_s": 0.0}, "rate_bit_per_s must be positive; got 0"),
    (RATE, {"rate_bit_per_s": math.inf}, "rate_bit_per_s must be finite; got inf"),
    (LINK, {"snr_db": 5.0}, "give snr or snr_db, not both; got 10 and 5 dB"),
    (LINK, {"snr": None}, "snr or snr_db must be given; got neither"),
    (LINK, {"snr": None, "snr_db": 4000.0}, "snr_db must be at most 1500; got 4000"),
    (CODEC, {"vocab_size": 1}, "vocab_size must be at least 2; got 1"),
    (CODEC, {"vocab_size": 10.5}, "vocab_size must be a whole number; got 10.5"),
    (CODEC, {"prob_bits": 0}, "prob_bits must lie in [1, 64]; got 0"),
    (CODEC, {"prob_bits": 65}, "prob_bits must lie in [1, 64]; got 65"),
    (CODEC, {"index_bits": 6}, _INDEX.format(6)),
    (CODEC, {"index_bits": 65}, _INDEX.format(65)),
    (CODEC, {"kind": "zip"}, "kind must be one of printed, dense, enumerative, best; got 'zip'"),
    (LATENCY, {"slm_s": 0.0}, "slm_s must be positive; got 0"),
    (LATENCY, {"llm_s": -1.0}, "llm_s must be positive; got -1"),
    (LATENCY, {"round_trip_s": -1.0}, "round_trip_s must be at least 0; got -1"),
    (LATENCY, {"llm_per_token_s": -1.0}, "llm_per_token_s must be at least 0; got -1"),
    (LATENCY, {"slm_per_token_s": 0.5}, f"slm_per_token_s must be at most slm_s, {LATENCY.slm_s:g}; got 0.5"),
    (LATENCY, {"downlink_bit_per_s": 0.0}, "downlink_bit_per_s must be positive; got 0"),
    (LATENCY, {"downlink_bit_per_s": math.nan}, "downlink_bit_per_s must be positive; got nan"),
    (SYSTEM, {"tx_power_w": -1.0}, "tx_power_w must be at least 0; got -1"),
    (SYSTEM, {"slm_energy_j": -1.0}, "slm_energy_j must be at least 0; got -1"),
    (Budget(), {"bias": 1.5}, "bias_budget must lie in [0, 1]; got 1.5"),
    (Budget(), {"risk": -0.5}, "risk_budget must lie in [0, 1]; got -0.5"),
    (Budget(), {"truncation": math.nan}, "truncation_budget must be finite; got nan"),
]


@pytest.mark.parametrize(("thing", "change", "text"), REFUSED, ids=[text for *_, text in REFUSED])
def test_refuses_what_is_out_of_bounds(thing, change, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        dataclasses.replace(thing, **change)
    assert str(caught.value) == text


def test_bounds_that_are_allowed():
    assert dataclasses.replace(LINK, snr=0.0).snr == 0.0
    assert dataclasses.replace(CODEC, vocab_size=2).bits_per_index == 1
    assert dataclasses.replace(CODEC, index_bits=7).bits_per_index == 7
    assert dataclasses.replace(CODEC, index_bits=0).bits_per_index == 7  # what names a token by itself
    assert dataclasses.replace(CODEC, prob_bits=64, index_bits=64).bits_per_index == 64
    assert dataclasses.replace(SYSTEM, tx_power_w=0.0).tx_power_w == 0.0
    for value in (0.0, 1.0):
        assert Budget(bias=value, risk=value, truncation=value).risk == value


def test_a_link_may_be_described_in_decibels():
    assert Link(bandwidth_hz=1e6, snr_db=10.0) == LINK
    assert Link(bandwidth_hz=1e6, snr_db=-8.9).snr == pytest.approx(10**-0.89)
    assert Link(bandwidth_hz=1e6, snr_db=-math.inf).snr == 0.0
    assert dataclasses.replace(LINK, snr=None, snr_db=20.0).snr == pytest.approx(100.0)
    assert dataclasses.asdict(LINK).keys() == {"bandwidth_hz", "snr", "fading", "outage", "block_error"}
    assert pickle.loads(pickle.dumps(LINK)) == LINK


@pytest.mark.parametrize("kind", [Link, FixedRate, Codec, Latency, System, Budget])
def test_every_field_says_what_it_means(kind):
    parts = {"link", "codec", "latency"}
    said = {one.keyword.removesuffix("_db"): one for one in quantities(kind).values()}
    assert list(said) == [field.name for field in dataclasses.fields(kind) if field.name not in parts]
    for one in said.values():
        assert one.help[0].isupper()
        assert not one.help.endswith(".")
        assert one.option == "--" + one.key.replace("_", "-")
        assert one.title.split(" [")[0] in one.help
        assert (one.unit == "") == (one.kind is bool or typing.get_origin(one.kind) is typing.Literal)
        assert not one.calibrated or one.fallback


# recorded tokens


def test_tokens_weigh_the_same_unless_told():
    assert len(TOKENS) == 3
    np.testing.assert_allclose(TOKENS.weight, [1 / 3] * 3)
    weighted = dataclasses.replace(TOKENS, weight=np.array([0.5, 0.25, 0.25]))
    np.testing.assert_array_equal(weighted.weight, [0.5, 0.25, 0.25])


def test_profiles_fit_their_grids():
    full = dataclasses.replace(
        TOKENS,
        draft_prob=np.full(3, 0.5),
        prompt=np.array([0, 0, 7]),
        k_grid=np.array([1, 8]),
        tv_profile=np.full((3, 2), 1.0 + 5e-6),  # a sum of float32
        coarse_k_grid=np.array([1]),
        output_bias=np.zeros((3, 1)),
        threshold_grid=np.array([0.0, 0.5, 1.0]),
        skip_mass=np.full((3, 3), -5e-6),
    )
    assert full.tv_profile is not None


TOKENS_REFUSED = [
    ({"uncertainty": np.empty(0), "rejection": np.empty(0)}, "Tokens must hold at least 1 token; got 0"),
    ({"rejection": np.zeros(2)}, "Tokens.rejection must have 3 rows; got 2"),
    ({"prompt": np.zeros(4, int)}, "Tokens.prompt must have 3 rows; got 4"),
    ({"uncertainty": np.array([0.1, 0.2, 1.5])}, "uncertainty must lie in [0, 1]; got 1.5"),
    ({"rejection": np.array([0.1, np.nan, 0.5])}, "rejection must be finite; got nan"),
    ({"weight": np.array([0.5, 0.5, 0.5])}, "weight must sum to 1; got 1.5"),
    ({"weight": np.array([1.5, -0.5, 0.0])}, "weight must lie in [0, 1]; got 1.5"),
    ({"llm_prob": np.array([0.1, 0.2, np.nan])}, "Tokens.llm_prob must lie in [0, 1]; got nan"),
    ({"tv": np.array([0.1, 1.1, 0.0])}, "Tokens.tv must lie in [0, 1]; got 1.1"),
    ({"max_prob": np.array([0.1, -0.1, 0.0])}, "Tokens.max_prob must lie in [0, 1]; got -0.1"),
    ({"draft_prob": np.zeros((3, 2))}, "Tokens.draft_prob must have rows of shape (); got (2,)"),
    ({"tail_mass": np.zeros((3, 2))}, "Tokens.tail_mass must come with Tokens.k_grid; got None"),
    (
        {"k_grid": np.array([1, 2, 3]), "sorted_prob": np.zeros((3, 2))},
        "Tokens.sorted_prob must have rows of shape (3,); got (2,)",
    ),
    (
        {"coarse_k_grid": np.array([1]), "truncated_acceptance": np.zeros(3)},
        "Tokens.truncated_acceptance must have rows of shape (1,); got ()",
    ),
    ({"threshold_grid": np.array([0.5, 0.5])}, "Tokens.threshold_grid must increase; got [0.5 0.5]"),
    (
        {"threshold_grid": np.array([0.5]), "server_bias": np.full((3, 1), 2.0)},
        "Tokens.server_bias must lie in [0, 1]; got 2",
    ),
    (
        {"threshold_grid": np.array([0.5]), "skip_risk": np.full((3, 1), -1.0)},
        "Tokens.skip_risk must lie in [0, 1]; got -1",
    ),
]


@pytest.mark.parametrize(("change", "text"), TOKENS_REFUSED, ids=[text for _, text in TOKENS_REFUSED])
def test_refuses_tokens_that_do_not_fit(change, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        dataclasses.replace(TOKENS, **change)
    assert str(caught.value) == text
