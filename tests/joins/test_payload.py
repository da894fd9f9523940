"""The payload's functions are the derived formulas."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import payload
from cuhlm_theory.parameters import Codec
from tests.joins.formula import derived, statement, value

few = settings(max_examples=25)

sizes = st.integers(2, 200_000)


@few
@given(sizes, st.integers(1, 32), st.data())
def test_printed_and_resync(vocab, prob_bits, data):
    k = data.draw(st.integers(1, vocab))
    expected = derived("payload.printed", "B", V=vocab, k=k, b_prob=prob_bits)
    assert float(payload.printed_bit(k, vocab, prob_bits)) == expected
    run = statement("payload.resync").claims[0].rhs
    index = float(payload.index_only_bit(vocab))
    assert float(payload.resync_bit(k, vocab)) == value(run, b_index=index, n=k)


@few
@given(sizes)
def test_index_only_names_every_token_and_one_bit_less_does_not(vocab):
    bits = int(payload.index_only_bit(vocab))
    assert 2**bits >= vocab
    assert 2 ** (bits - 1) < vocab


@few
@given(st.integers(2, 3000), st.integers(1, 16), st.data())
def test_enumerative_is_the_count_of_sets_and_never_longer_than_printed(vocab, prob_bits, data):
    k = data.draw(st.integers(1, vocab))
    expected = k * prob_bits + (math.comb(vocab, k) - 1).bit_length()
    got = float(payload.enumerative_bit(k, vocab, prob_bits))
    assert got == expected
    assert got <= float(payload.printed_bit(k, vocab, prob_bits))


@few
@given(sizes, st.integers(1, 32))
def test_dense_meets_printed_at_the_derived_size(vocab, prob_bits):
    dense, index = float(payload.dense_bit(vocab, prob_bits)), float(payload.index_only_bit(vocab))
    edge = math.floor(vocab * prob_bits / (prob_bits + index))
    assert float(payload.printed_bit(max(edge, 1), vocab, prob_bits)) <= dense or edge < 1
    assert float(payload.printed_bit(edge + 1, vocab, prob_bits)) > dense


@few
@given(sizes, st.data())
def test_compression(vocab, data):
    k = data.draw(st.integers(1, vocab))
    expected = value(statement("payload.compression").claims[0].rhs, k=k, V=vocab)
    assert float(payload.compression(k, vocab)) == pytest.approx(expected, abs=1e-12)


@few
@given(sizes, st.integers(1, 32), st.data())
def test_the_best_codec_is_the_derived_minimum_and_never_falls_with_k(vocab, prob_bits, data):
    k = data.draw(st.integers(1, vocab - 1))

    def bits(kind, size):
        codec = Codec(vocab_size=vocab, prob_bits=prob_bits, kind=kind)
        return float(payload.distribution_bit(codec, size))

    kinds = ("printed", "dense", "enumerative")
    least = statement("payload.best").claims[0].lhs
    numbers = {f"B_{place}": bits(kind, k) for place, kind in enumerate(kinds, 1)}
    assert bits("best", k) == value(least, **numbers)
    grows = statement("payload.best").claims[1]
    printed = {"B_1": bits("printed", k), "d": bits("printed", k + 1) - bits("printed", k)}
    dense = bits("dense", k)
    assert value(grows.lhs, B_1=printed["B_1"], B_3=dense) <= value(grows.rhs, B_3=dense, **printed)


@few
@given(st.floats(0.01, 0.95))
def test_the_mean_run_of_skipped_tokens_is_the_derived_one(skip):
    lengths = np.arange(3000)
    mean = float(np.sum(lengths * skip**lengths * (1 - skip)))
    assert mean == pytest.approx(derived("payload.resync", "ell", s=skip), rel=1e-9)
    draws = np.random.default_rng(5).geometric(1 - skip, 20_000) - 1
    assert abs(draws.mean() - mean) < 5 * draws.std() / np.sqrt(draws.size) + 1e-12
