"""What the rows of the table rest on, joined to the functions behind them."""

import itertools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory.schemes import lattice_bit, recorded_rounds
from cuhlm_theory.verification import output_law, rejection_risk, total_variation
from tests.joins.formula import on_vocabulary, statement, value
from tests.joins.test_verification import laws

few = settings(max_examples=25)


@few
@given(laws(2), st.floats(0.0, 1.0))
def test_rand_hlm_bias(pair, chance):
    x, y = pair
    (claim,) = statement("schemes.rand_hlm").claims
    expected = chance * float(total_variation(x, y))
    left = claim.lhs.subs({s: chance for s in claim.lhs.free_symbols if s.name == "c"})
    if chance > 0:
        assert on_vocabulary(left, x=x, y=y) == pytest.approx(expected, abs=1e-9)
    assert float(rejection_risk(x, y, chance)) == pytest.approx(expected, abs=1e-12)
    assert float(total_variation(output_law(x, y, skip=chance), y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("number", [1, 3, 4, 7])
@few
@given(data=st.data())
def test_recorded_rounds_of_one_run_commit_the_derived_tokens(number, data):
    keep = np.array(data.draw(st.lists(st.floats(0.05, 0.95), min_size=number, max_size=number)))
    ends = np.zeros(number, dtype=bool)
    ends[-1] = True
    rounds = recorded_rounds(keep, ends, np.zeros(number, dtype=np.int64), np.ones(number), bonus=False)
    committed = statement("schemes.recorded_rounds").claims[2]
    stands = np.concatenate([[1.0], np.cumprod(keep)])  # A_0 to A_n
    first = int(np.argmax(rounds.num_drafts))  # the round that starts at the first token
    assert float(rounds.num_tokens[first]) == pytest.approx(_of_run(committed.rhs, stands))
    assert float(rounds.num_tokens[first]) == pytest.approx(_of_run(committed.lhs, stands))
    assert float(rounds.all_kept[first]) == pytest.approx(float(np.prod(keep)))
    # every recorded token is committed once
    assert float(np.sum(rounds.weight * rounds.num_tokens) / rounds.weight[first]) == pytest.approx(number)


def _of_run(expression, stands: np.ndarray) -> float:
    """An expression in the chances that a run stands, sums over its drafts included."""
    (last,) = (symbol for symbol in expression.free_symbols if symbol.name == "n")
    written = expression.subs(last, len(stands) - 1).doit()
    return float(written.xreplace({a: stands[int(a.indices[0])] for a in written.atoms(sp.Indexed)}))


@few
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 60))
def test_lattice_bits_count_what_can_be_sent(vocab, kept, levels):
    kept = min(kept, vocab)
    sets, counts = _count(vocab, kept), _count(levels + kept - 1, kept - 1)
    assert lattice_bit(kept, levels, vocab) == (sets - 1).bit_length() + (counts - 1).bit_length()


def _count(n: int, k: int) -> int:
    """Binomial by Pascal's rule, the step of the derivation."""
    row = [1]
    for _ in range(n):
        row = [1, *(a + b for a, b in itertools.pairwise(row)), 1]
    return row[k]


@few
@given(st.integers(0, 1000), st.floats(0.05, 0.5), st.floats(0.01, 0.4), st.floats(0.0, 0.3))
def test_mean_dropped_mass_of_c_sqs_is_within_its_bound(seed, rate, target, start):
    rng = np.random.default_rng(seed)
    threshold, dropped, number = start, 0.0, 300
    for _ in range(number):
        x = rng.dirichlet(np.full(8, 0.5))
        mass = float(x[x < threshold].sum())
        dropped += mass
        threshold -= rate * (mass - target)
    bound = statement("schemes.conformal_dropped_mass").claims[-1]
    expected = value(bound.rhs, b_1=start, alpha=target, eta=rate, T=number)
    assert dropped / number <= expected + 1e-12


@few
@given(laws(2, 3))
def test_a_residual_drawn_on_the_device_gives_the_llms_law(pair):
    """DSSD, every draft and every redraw walked through, against the derived entry."""
    x, y = pair
    apart = float(total_variation(x, y))
    if apart < 1e-9:
        return
    law = np.zeros(3)
    for draft in range(3):
        accepted = min(1.0, y[draft] / x[draft])  # the server knows x at the draft only
        law[draft] += x[draft] * accepted
        law += x[draft] * (1 - accepted) * np.maximum(y - x, 0) / apart  # the device knows both
    (claim,) = statement("schemes.downlink_resampling").claims
    for i in range(3):
        entry = value(claim.lhs, x=float(x[i]), y=float(y[i]), P_rej=apart, T=apart)
        assert law[i] == pytest.approx(entry, abs=1e-12)
        assert entry == pytest.approx(float(y[i]), abs=1e-12)
