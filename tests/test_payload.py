"""Bits on the uplink: golden numbers of the papers, integer arithmetic for the rest."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory import payload
from cuhlm_theory.parameters import Codec

KINDS = ["printed", "dense", "enumerative", "best"]
VOCABS = st.integers(2, 200_000)


def bits_to_count(alternatives):
    """Smallest m with 2^m >= alternatives, by counting up."""
    m = 0
    while 2**m < alternatives:
        m += 1
    return m


# printed


def test_the_whole_distribution_is_the_published_92_kilobyte():
    bits = payload.printed_bit(32_000, 32_000)
    assert bits == 736_000
    assert bits / 8 == 92_000


def test_thirty_entries_are_the_published_690_bit_and_less_than_a_thousandth():
    bits = payload.printed_bit(30, 32_000)
    assert bits == 690
    assert bits / 8 == 86.25
    assert 690 / 736_000 < 1e-3


@given(st.data(), VOCABS, st.integers(1, 64))
def test_the_printed_codec_pays_value_and_index_for_each_entry(data, vocab_size, prob_bits):
    k = data.draw(st.integers(1, vocab_size))
    assert payload.printed_bit(k, vocab_size, prob_bits) == k * (prob_bits + bits_to_count(vocab_size))
    wide = data.draw(st.integers(bits_to_count(vocab_size), 64))
    assert payload.printed_bit(k, vocab_size, prob_bits, wide) == k * (prob_bits + wide)


WIDTHS = {2: 1, 3: 2, 4: 2, 5: 3, 32_000: 15, 32_768: 15, 32_769: 16, 49_152: 16, 151_936: 18, 2**31: 31}


@pytest.mark.parametrize(("vocab_size", "bits"), WIDTHS.items())
def test_an_index_names_every_token_and_no_more(vocab_size, bits):
    assert payload.index_only_bit(vocab_size) == bits
    assert 2 ** (bits - 1) < vocab_size <= 2**bits


def test_the_default_probability_takes_eight_bits():
    assert payload.printed_bit(1, 2) == 9
    assert payload.enumerative_bit(1, 2) == 9
    assert payload.dense_bit(2) == 16
    assert payload.compression(1, 2, kind="dense") == pytest.approx(1 - 16 / 18)


# dense and enumerative


@given(VOCABS, st.integers(1, 64))
def test_the_dense_codec_needs_no_index(vocab_size, prob_bits):
    assert payload.dense_bit(vocab_size, prob_bits) == vocab_size * prob_bits


@pytest.mark.parametrize("vocab_size", [2, 3, 4, 7, 12])
def test_the_enumerative_codec_numbers_every_set_of_indices(vocab_size):
    for k in range(1, vocab_size + 1):
        sets = sum(1 for _ in itertools.combinations(range(vocab_size), k))
        assert payload.enumerative_bit(k, vocab_size, 5) == 5 * k + bits_to_count(sets)


@pytest.mark.parametrize("vocab_size", [64, 65, 255, 256, 257, 700])
def test_the_enumerative_codec_is_exact_for_every_size(vocab_size):
    sizes = np.arange(1, vocab_size + 1)
    exact = [8 * k + (math.comb(vocab_size, k) - 1).bit_length() for k in range(1, vocab_size + 1)]
    np.testing.assert_array_equal(payload.enumerative_bit(sizes, vocab_size), exact)


@pytest.mark.parametrize("vocab_size", [32_000, 49_152, 151_936])
def test_the_enumerative_codec_is_exact_for_real_vocabularies(vocab_size):
    sizes = [1, 2, 3, 16, 30, 64, 256, 832, 1024, 9000, vocab_size - 2, vocab_size - 1, vocab_size]
    exact = [8 * k + (math.comb(vocab_size, k) - 1).bit_length() for k in sizes]
    np.testing.assert_array_equal(payload.enumerative_bit(sizes, vocab_size), exact)


@given(st.integers(2, 30))
def test_the_ceiling_is_right_next_to_a_power_of_two(exponent):
    """C(2^m, 1) = 2^m needs m bits and C(2^m + 1, 1) needs m + 1, however close their logarithms are."""
    for vocab_size, bits in ((2**exponent, exponent), (2**exponent + 1, exponent + 1)):
        got = payload.enumerative_bit([1, vocab_size - 1, 1, vocab_size], vocab_size)
        paid = 8 * np.array([1, vocab_size - 1, 1, vocab_size])
        np.testing.assert_array_equal(got - paid, [bits, bits, bits, 0])


def test_the_order_of_the_codecs_depends_on_the_size():
    few = [int(payload.distribution_bit(Codec(vocab_size=32_000, kind=kind), 30)) for kind in KINDS]
    assert few == [690, 256_000, 582, 582]
    many = [int(payload.distribution_bit(Codec(vocab_size=32_000, kind=kind), 31_999)) for kind in KINDS]
    assert many == [31_999 * 23, 256_000, 31_999 * 8 + 15, 256_000]
    single = [int(payload.distribution_bit(Codec(vocab_size=3, prob_bits=1, kind=kind), 1)) for kind in KINDS]
    assert single == [3, 3, 3, 3]


@given(st.data(), st.integers(2, 3000), st.integers(1, 20))
def test_the_best_codec_is_the_least_of_the_three(data, vocab_size, prob_bits):
    sizes = np.array(data.draw(st.lists(st.integers(1, vocab_size), min_size=1, max_size=8)))
    index_bits = data.draw(st.none() | st.integers(bits_to_count(vocab_size), 40))
    got = {
        kind: payload.distribution_bit(
            Codec(vocab_size=vocab_size, prob_bits=prob_bits, index_bits=index_bits, kind=kind), sizes
        )
        for kind in KINDS
    }
    width = bits_to_count(vocab_size) if index_bits is None else index_bits
    np.testing.assert_array_equal(got["printed"], sizes * (prob_bits + width))
    np.testing.assert_array_equal(got["dense"], np.full(sizes.shape, vocab_size * prob_bits))
    np.testing.assert_array_equal(
        got["enumerative"], [prob_bits * k + (math.comb(vocab_size, int(k)) - 1).bit_length() for k in sizes]
    )
    np.testing.assert_array_equal(got["best"], np.min([got[kind] for kind in KINDS[:3]], axis=0))
    full = vocab_size * (prob_bits + width)
    for kind in KINDS:
        saved = payload.compression(sizes, vocab_size, prob_bits, index_bits, kind=kind)
        np.testing.assert_allclose(saved, 1 - got[kind] / full, rtol=1e-14, atol=1e-15)


def test_numbering_the_set_never_costs_more_than_listing_it():
    sizes = np.arange(1, 1001)
    printed, enumerative = (
        payload.distribution_bit(Codec(vocab_size=1000, kind=kind), sizes)
        for kind in ("printed", "enumerative")
    )
    assert np.all(enumerative <= printed)
    assert np.all(np.diff(printed) > 0)


# compression and re-synchronisation


def test_compression_of_97_4_per_cent_is_832_entries_not_30():
    np.testing.assert_allclose(payload.compression([832, 30, 32_000], 32_000), [0.974, 1 - 30 / 32_000, 0.0])
    assert payload.compression(32_000, 32_000, kind="best") == pytest.approx(1 - 8 / 23)


@given(st.integers(0, 10_000), VOCABS)
def test_resynchronising_sends_an_index_for_each_skipped_token(num_tokens, vocab_size):
    assert payload.resync_bit(num_tokens, vocab_size) == num_tokens * bits_to_count(vocab_size)
    assert payload.resync_bit(num_tokens, vocab_size, 40) == num_tokens * 40
    assert payload.index_only_bit(vocab_size, 40) == 40


# shapes and refusals


def test_payloads_are_whole_numbers_of_the_shape_of_k():
    k = [[1, 2, 3], [4, 5, 6]]
    for kind in KINDS:
        bits = payload.distribution_bit(Codec(vocab_size=6, kind=kind), k)
        assert bits.shape == (2, 3)
        assert bits.dtype == np.int64
        assert payload.distribution_bit(Codec(vocab_size=6, kind=kind), 2).shape == ()
    for bits in (payload.dense_bit(6), payload.index_only_bit(6), payload.resync_bit(1, 6)):
        assert bits.shape == ()
        assert bits.dtype == np.int64
    assert payload.printed_bit(2**31, 2**31, 64, 64) == 2**31 * 128  # no overflow


@pytest.mark.parametrize("function", [payload.printed_bit, payload.enumerative_bit, payload.compression])
@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (0, r"k must lie in \[1, 100\]; got 0"),
        (101, r"k must lie in \[1, 100\]; got 101"),
        (-3, r"k must lie in \[1, 100\]; got -3"),
        (2.5, r"k must be a whole number; got 2.5"),
        (math.nan, "k must be finite; got nan"),
        ("x", "k must be numbers; got 'x'"),
    ],
)
def test_refuses_a_size_outside_the_vocabulary(function, bad, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        function(bad, 100)
    if bad != "x":
        with pytest.raises(ValueError, match=f"^{text}$"):
            payload.distribution_bit(Codec(vocab_size=100), [1, bad])


VOCAB_CALLS = {
    "printed": lambda v: payload.printed_bit(1, v),
    "dense": lambda v: payload.dense_bit(v),
    "enumerative": lambda v: payload.enumerative_bit(1, v),
    "index-only": lambda v: payload.index_only_bit(v),
    "resync": lambda v: payload.resync_bit(1, v),
    "compression": lambda v: payload.compression(1, v),
}


@pytest.mark.parametrize("call", VOCAB_CALLS.values(), ids=VOCAB_CALLS)
def test_refuses_what_is_no_vocabulary(call):
    for bad in (1, 0, -5, 2**31 + 1):
        with pytest.raises(
            ValueError, match=rf"^vocab_size must lie in \[2, 2147483648\]; got {bad:g}$".replace("+", r"\+")
        ):
            call(bad)
    with pytest.raises(ValueError, match=r"^vocab_size must be a whole number; got 2.5$"):
        call(2.5)


def test_refuses_widths_that_cannot_work():
    for bad in (0, 65):
        for call in (
            lambda b: payload.printed_bit(1, 100, b),
            lambda b: payload.dense_bit(100, b),
            lambda b: payload.enumerative_bit(1, 100, b),
            lambda b: payload.compression(1, 100, b),
        ):
            with pytest.raises(ValueError, match=rf"^prob_bits must lie in \[1, 64\]; got {bad}$"):
                call(bad)
    for bad in (6, 65):
        for call in (
            lambda b: payload.printed_bit(1, 100, 8, b),
            lambda b: payload.index_only_bit(100, b),
            lambda b: payload.resync_bit(1, 100, b),
            lambda b: payload.compression(1, 100, 8, b),
        ):
            with pytest.raises(
                ValueError, match=rf"^index_bits must be 0 .* or lie in \[7, 64\].*; got {bad}$"
            ):
                call(bad)
    for bad in (-1, 2**31 + 1):
        with pytest.raises(ValueError, match=r"^num_tokens must lie in \[0, 2147483648\]; got"):
            payload.resync_bit(bad, 100)
    assert payload.resync_bit(2**31, 2**31, 64) == 2**37
    with pytest.raises(
        ValueError, match=r"^kind must be one of printed, dense, enumerative, best; got 'zip'$"
    ):
        payload.compression(1, 100, kind="zip")
