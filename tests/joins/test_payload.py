"""The payload's functions are the derived formulas."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import payload
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
