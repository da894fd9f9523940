"""The bits of a set by its gaps, and a truncated law in few bits, against the derived bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import truncation
from cuhlm_theory.codec import Writer, most_subset_bit, round_truncated
from tests.joins.formula import statement, value

few = settings(max_examples=25)


@few
@given(st.data(), st.integers(2, 5000))
def test_no_set_is_longer_than_derived(data, vocab):
    k = data.draw(st.integers(1, vocab // 2))
    bound, claim = statement("codec.gap_length").claims
    low = math.floor(math.log2((vocab - k) // k))
    most = int(most_subset_bit(k, vocab))
    assert most == math.floor(value(bound.rhs, n=k, m=2**low, N=vocab - k))
    assert most <= value(claim.rhs, n=k, C=math.comb(vocab, k), V=vocab)
    start = data.draw(st.integers(0, vocab - k))
    spread = np.sort(np.random.default_rng(start).permutation(vocab)[:k])
    for members in (spread, np.arange(start, start + k)):
        writer = Writer()
        writer.subset(members, vocab)
        assert writer.bit <= most


@few
@given(st.integers(2, 60), st.floats(0.01, 1.0), st.integers(1, 12), st.data())
def test_a_truncated_law_in_few_bits_is_as_near_as_derived(vocab, flat, bits, data):
    k = data.draw(st.integers(1, vocab))
    x = np.random.default_rng(vocab).gamma(flat, size=vocab) + 1e-9
    x /= x.sum()
    claim = statement("codec.truncated_rounding").claims[-1]
    names = {"T_k": float(truncation.truncation_tv(x, k)), "k": k, "ell": 2**bits - 1}
    apart = 0.5 * np.abs(x - round_truncated(x, k, bits).law()).sum()
    assert apart <= value(claim.rhs, **names) + 1e-12
    assert value(claim.rhs, **names) == pytest.approx(names["T_k"] + (k + 1) / (4 * names["ell"]), rel=1e-12)
