"""The kept law's functions are the derived formulas, on vocabularies small enough to write out."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cuhlm_theory import kept_law, payload
from cuhlm_theory.uncertainty import mean_uncertainty
from cuhlm_theory.verification import rejection_risk, total_variation
from tests.joins.formula import derived, on_vocabulary, statement, value
from tests.joins.test_verification import laws

few = settings(max_examples=25)
shares = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@few
@given(laws(3, 4), shares)
def test_bias_is_the_derived_excess_and_no_answer_has_less(three, skip):
    x, y, answer = three
    m = kept_law.kept(x, skip)
    assert m == pytest.approx(x * skip, abs=1e-15)
    above, claim = statement("kept_law.converse").claims
    bias = float(kept_law.bias(m, y))
    assert bias == pytest.approx(on_vocabulary(claim.lhs, m=m, y=y), abs=1e-12)
    q = m + (1 - m.sum()) * answer
    assert np.all(value(above.rhs, q=float(q[0])) >= m[0])
    assert bias <= float(total_variation(q, y)) + 1e-12


@few
@given(laws(2, 4), shares)
def test_the_output_has_the_derived_law_and_bias(pair, skip):
    x, y = pair
    m = kept_law.kept(x, skip)
    assume(m.sum() < 1)
    law = next(one.rhs for one in statement("kept_law.achievability").assumed if str(one.lhs) == "q")
    rest = float(np.maximum(y - m, 0).sum())
    q = kept_law.output_law(m, y)
    for i in range(4):
        written = value(law, m=float(m[i]), y=float(y[i]), p=float(1 - m.sum()), R=rest)
        assert float(q[i]) == pytest.approx(written, abs=1e-12)
    _, claim, _ = statement("kept_law.achievability").claims
    assert float(total_variation(q, y)) == pytest.approx(on_vocabulary(claim.rhs, m=m, y=y), abs=1e-12)
    assert float(kept_law.answer_law(m, y).sum()) == pytest.approx(1.0)


@few
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0.0, 0.98))
def test_the_tokens_a_threshold_keeps_and_their_bits_are_the_derived_ones(logits, threshold):
    bound, _, packet, _ = statement("kept_law.support").claims
    u = [float(mean_uncertainty(logits, draft)) for draft in range(len(logits))]
    assert sum(1 - one for one in u) == pytest.approx(1.0, abs=1e-6)
    most = int(kept_law.most_kept_tokens(threshold, 32_000))
    assert sum(one <= threshold - 1e-6 for one in u) <= most
    assert most == math.floor(value(bound.rhs, e=1 - threshold) * (1 + 1e-12))
    bits = packet.lhs.expr
    for number in range(min(most, 3) + 1):
        wanted = value(bits, N=most, V=32_000, b_prob=8, n=number)
        assert int(kept_law.payload_bit(number, 32_000, 8, most)) == round(wanted)


@few
@given(laws(2, 4), shares)
def test_bias_and_risk_differ_as_derived(pair, skip):
    x, y = pair
    s = np.array(skip)
    claim = statement("kept_law.equals_risk").claims[0]
    bias, risk = (on_vocabulary(side, x=x, y=y, s=s) for side in (claim.lhs, claim.rhs))
    assert float(kept_law.bias(kept_law.kept(x, s), y)) == pytest.approx(bias, abs=1e-12)
    assert float(rejection_risk(x, y, s)) == pytest.approx(risk, abs=1e-12)
    assert bias <= risk + 1e-12


@few
@given(laws(2, 4), shares, st.integers(1, 12))
def test_rounding_down_has_the_derived_price(pair, skip, bits):
    x, y = pair
    m = kept_law.kept(x, skip)
    down = kept_law.round_down(m, bits)
    bias, skips = statement("kept_law.quantised_down").claims
    assert float(kept_law.bias(down, y)) == pytest.approx(
        on_vocabulary(bias.lhs, mprime=down, y=y), abs=1e-12
    )
    assert on_vocabulary(bias.lhs, mprime=down, y=y) <= on_vocabulary(bias.rhs, m=m, y=y) + 1e-12
    price = np.count_nonzero(m) / (2**bits - 1)
    (total,) = skips.rhs.atoms(type(skips.lhs))
    assert m.sum() <= on_vocabulary(total, mprime=down) + price + 1e-12


@few
@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=6),
    st.floats(0.01, 1.0),
    st.floats(0.5, 20.0),
    st.floats(0, 1),
    st.floats(0.0, 0.3),
)
def test_the_best_share_is_the_derived_quantile_and_its_bound_holds(ratios, ask, times, share, budget):
    price = ask * times
    claims = statement("kept_law.newsvendor").claims
    ratio = np.array(ratios)
    best = float(kept_law.best_kept_share(ratio, ask / price))
    least, cost = claims[2].lhs, claims[2].rhs

    def over(one):
        return float(np.maximum(one - ratio, 0).mean())

    numbers = {"c": ask, "lambda": price, "s": share, "b": over(share), "sstar": best, "bstar": over(best)}
    assert float(kept_law.kept_share_cost_s(best, ratio, ask, price)) == pytest.approx(
        value(least, **numbers)
    )
    assert float(kept_law.kept_share_cost_s(share, ratio, ask, price)) == pytest.approx(
        value(cost, **numbers)
    )
    assert value(least, **numbers) <= value(cost, **numbers) + 1e-12
    # the certificate: the least cost less the price of the budget, in passes of c seconds
    bound = kept_law.least_transmit_probability([ratio], budget, ask / price)
    assert bound == pytest.approx(max((value(least, **numbers) - price * budget) / ask, 0.0), abs=1e-9)
    if over(share) <= budget:
        assert bound <= 1 - share + 1e-9
    found = kept_law.best_kept_shares([ratio], budget)
    if found.bias == pytest.approx(budget, abs=1e-12):
        tight = kept_law.least_transmit_probability([ratio], budget, found.level)
        assert tight == pytest.approx(1 - found.skip_rate, abs=1e-9)


@few
@given(st.floats(0.001, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0, 0.9))
def test_the_break_even_skip_rate_is_derived(slm, up, fixed, told):
    later = told * (up + fixed)
    saves = up + fixed - later
    rate = float(kept_law.llm_break_even_skip_rate(slm, up, saves))
    assert rate == pytest.approx(
        derived("kept_law.beats_llm_alone", "s", tau_SLM=slm, tau_up=up, g=saves), rel=1e-12
    )
    beyond = statement("kept_law.beats_llm_alone").claims[-1].rhs
    assert (rate - 1) * saves == pytest.approx(
        value(beyond, tau_SLM=slm, tau_skip=later, t_0=fixed), abs=1e-12
    )


@few
@given(st.floats(0.01, 0.99), st.integers(2, 200_000))
def test_resynchronisation_takes_the_derived_bits_a_token(skip, size):
    index = int(payload.index_only_bit(size))
    wanted = derived("kept_law.resync", "u_bits", s=skip, b_index=index)
    # a transmission, one token in 1 / (1 - s), brings a run of n skipped tokens with chance (1 - s) s^n
    runs = np.arange(4000)
    bits = np.array([int(payload.resync_bit(int(n), size)) for n in runs[:2]])
    mean_run = float(((1 - skip) * skip**runs * runs).sum())
    assert (1 - skip) * mean_run * (bits[1] - bits[0]) == pytest.approx(wanted, rel=1e-6)


@few
@given(laws(2, 4), shares)
def test_the_parts_of_a_token_of_several_drafts_are_the_derived_ones(pair, skip):
    x, y = pair
    m = kept_law.kept(x, skip)
    accept = kept_law.acceptance(m, y)
    left, lost, _, law = statement("kept_law.several_drafts").claims
    rest = float(np.maximum(y - m, 0).sum())
    for i in range(4):
        if m[i] > 1e-9:
            numbers = {"m": float(m[i]), "y": float(y[i])}
            assert float(m[i] * accept[i]) == pytest.approx(value(left.rhs, **numbers), abs=1e-12)
            assert float(m[i] * (1 - accept[i])) == pytest.approx(value(lost.rhs, **numbers), abs=1e-12)
        if rest > 1e-9:
            written = value(law.lhs, m=float(m[i]), y=float(y[i]), rho=rest, R=rest)
            assert float(kept_law.several_drafts_law(m, y)[i]) == pytest.approx(written, abs=1e-9)


@few
@given(st.floats(0.01, 0.9), st.floats(0.0, 0.1))
def test_tokens_of_a_round_are_derived(ask, risk):
    wanted = derived("kept_law.tokens_per_round", "E_N", p=ask, R=risk)
    assert float(kept_law.tokens_per_round(ask, risk)) == pytest.approx(wanted)
    assert sum((1 - ask - risk) ** n for n in range(4000)) == pytest.approx(wanted)


def test_what_comes_back_is_the_derived_number_of_bits():
    _, number, dense, alone = statement("kept_law.downlink").claims
    index = int(payload.index_only_bit(49_152))
    assert index == int(alone.rhs)
    assert index + int(payload.index_only_bit(7 + 1)) == int(number.rhs)
    assert int(payload.dense_bit(49_152, 8)) == int(dense.rhs)


def test_a_server_with_the_kept_law_draws_by_itself():
    rng = np.random.default_rng(0)
    m, y = np.array([0.5, 0.2, 0.0]), np.array([0.3, 0.4, 0.3])
    answer = kept_law.answer_law(m, y)  # of what the server knows alone, and no draft
    tokens = rng.choice(3, size=20_000, p=answer)
    assert np.bincount(tokens, minlength=3) / 20_000 == pytest.approx(answer, abs=0.02)


def _rate(stop_after: int, chance: float, length: int, draft: float) -> float:
    """Tokens a pass in the example: the first draft decides, then up to ``stop_after`` are drafted."""
    if stop_after == 0:
        return 1.0
    tokens = 1 + chance * stop_after
    seconds = 1 + draft + chance * (stop_after - 1) * draft
    assert stop_after <= length
    return tokens / seconds


def test_looking_one_step_ahead_is_optimal_for_alike_drafts_and_not_in_general():
    *_, best, alone, misses = statement("kept_law.one_step_look_ahead").claims
    rate = alone.rhs.expr
    rates = [_rate(n, 0.3, 8, 0.2) for n in range(9)]
    assert max(rates) == rates[8] == pytest.approx(value(rate, chi=0.3, n=8, c=0.2))
    assert f"{max(rates):.3f}" == "2.099"
    assert best.rhs == pytest.approx(0.0005)
    assert rates[0] == 1.0 == float(alone.lhs)
    assert 0.2 * max(rates) > 0.3  # the look-ahead at the best rate stops at once
    assert misses.lhs.doit() < misses.rhs.doit()


@pytest.mark.parametrize("accept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("draft", [0.02, 0.1, 0.3])
def test_no_number_of_alike_drafts_beats_the_one_where_the_next_stops_paying(accept, draft):
    rates = [sum(accept**j for j in range(n + 1)) / (1 + n * draft) for n in range(200)]
    best = max(rates)
    # the run stands with accept^n, the next draft is left with accept
    stop = next(n for n in range(200) if accept ** (n + 1) < best * draft)
    assert rates[stop] == pytest.approx(best)
