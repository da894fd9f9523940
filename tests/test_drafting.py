"""Draft counts against brute force, published tables and simulated rounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.drafting import (
    best_drafts_of_survival,
    best_drafts_on_link,
    best_num_drafts,
    continuous_num_drafts,
    expected_tokens_per_round,
    latency_ratio,
    operations_ratio,
    printed_num_drafts,
    speculate,
    speculation_speedup,
    sync_break_even_risk,
    sync_latency_s,
    sync_tokens_per_round,
)
from cuhlm_theory.errors import DivergentError, InfeasibleError
from cuhlm_theory.parameters import Latency, Link

# arXiv:2211.17192, Table 1: acceptance, drafts, operations, speed (both for a free draft model). Entered from
# memory: no stored copy of the table was found (10 look-ups of its entries, title and full text).
SD_TABLE_1 = [
    (0.6, 2, 1.53, 1.96),
    (0.7, 3, 1.58, 2.53),
    (0.8, 2, 1.23, 2.44),
    (0.8, 5, 1.63, 3.69),
    (0.9, 2, 1.11, 2.71),
    (0.9, 10, 1.60, 6.86),
]
# arXiv:2509.04576, Table I: the best draft count, a row an acceptance, a column a latency ratio. Read from a
# public re-implementation that transcribes it cell by cell (Nanji-Huaji/DuoDecoding, test/test_tk_slt.py at
# 617b047); of the paper itself only the opening could be read.
TK_RATIOS = (0.01, 0.1, 0.2, 0.4, 0.6)
TK_TABLE_1 = {0.4: (4, 2, 1, 1, 1), 0.6: (7, 3, 2, 1, 1), 0.8: (14, 6, 4, 2, 1)}
TK_STARRED = {(0.4, 0.6), (0.6, 0.6)}  # printed 1*: speculating does not pay
TK_TIES = {(0.4, 0.4), (0.6, 0.6)}  # S = 1 exactly; the print stars one and not the other
LATENCY = Latency(slm_s=0.01, llm_s=0.1)


@pytest.mark.parametrize(("alpha", "drafts", "operations", "speed"), SD_TABLE_1)
def test_the_speedup_table_of_speculative_decoding(alpha, drafts, operations, speed):
    assert round(float(speculation_speedup(alpha, drafts, 0.0)), 2) == speed
    assert round(float(operations_ratio(alpha, drafts)), 2) == operations


@pytest.mark.parametrize("alpha", TK_TABLE_1)
def test_the_table_of_draft_counts_of_tk_slt(alpha):
    assert tuple(best_num_drafts(alpha, TK_RATIOS)) == TK_TABLE_1[alpha]
    assert tuple(printed_num_drafts(alpha, TK_RATIOS)) == TK_TABLE_1[alpha]
    for ratio in TK_RATIOS:
        cell = (alpha, ratio)
        pays = bool(speculate(*cell))
        assert pays == (cell not in TK_STARRED | TK_TIES)
        gain = float(speculation_speedup(alpha, best_num_drafts(*cell), ratio))
        assert gain == pytest.approx(1.0, abs=1e-12) if cell in TK_TIES else (gain > 1.0) == pays


def test_the_printed_examples():
    assert round(float(speculation_speedup(0.8, 5, 0.1417)), 3) == 2.159
    assert printed_num_drafts(0.6, 0.01) == 7
    assert round(float(speculation_speedup(0.6, 7, 0.01)), 4) == 2.2972


SPECSTOP = {
    0.7: {5: (3, 5.922), 10: (5, 9.520), 30: (7, 22.603), 50: (8, 35.169), 100: (10, 65.954)},
    0.9: {100: (26, 25.429)},
    0.8: {100: (15, 45.892)},
}
"""alpha, delay [ms]: drafts and milliseconds a token, for 1 ms a draft and 0.5 ms a verified token."""


@pytest.mark.parametrize("alpha", SPECSTOP)
def test_a_pass_that_costs_by_the_token_gives_the_published_plans(alpha):
    """UCB-SpecStop, arXiv:2606.20591: C(k, d) = (k (c_d + c_v) + 2 d + c_v)/B(k), t_0 = 0."""
    for delay, (drafts, cost) in SPECSTOP[alpha].items():
        latency = Latency(slm_s=1e-3, llm_s=5e-4, llm_per_token_s=5e-4, round_trip_s=2e-3 * delay)
        plan = best_drafts_on_link(alpha, latency, Link(bandwidth_hz=1e6, snr=1.0), 0)
        assert plan.num_drafts == drafts == int(best_num_drafts(alpha, latency_ratio(latency, 0.0)))
        assert 1e3 / plan.throughput_token_per_s == pytest.approx(cost, abs=5e-4)


def test_the_latency_ratio_of_tk_slt_is_linear_in_k():
    # arXiv:2509.04576: L(K) = 0.07 + 0.23 K / 32000 at 50 Mbit/s and 16 bit a probability
    llm_s = 32000 * 16 / 50e6 / 0.23
    latency = Latency(slm_s=0.07 * llm_s, llm_s=llm_s)
    sizes = np.array([0, 320, 8000, 32000])
    np.testing.assert_allclose(latency_ratio(latency, sizes * 16 / 50e6), 0.07 + 0.23 * sizes / 32000)
    slower = Latency(slm_s=0.07 * llm_s, llm_s=llm_s, round_trip_s=llm_s)
    assert latency_ratio(slower, 0.0) == pytest.approx(0.035)


@given(alpha=st.floats(0.0, 1.0), drafts=st.integers(0, 60))
def test_tokens_per_round_are_the_sum_of_powers(alpha, drafts):
    assert expected_tokens_per_round(alpha, drafts) == pytest.approx(sum(alpha**i for i in range(drafts + 1)))


def test_tokens_per_round_of_simulated_rounds():
    rng = np.random.default_rng(0)
    kept = rng.random((100_000, 5)) < 0.7
    tokens = np.cumprod(kept, axis=1).sum(axis=1) + 1
    error = 4 * tokens.std() / math.sqrt(len(tokens))
    assert tokens.mean() == pytest.approx(float(expected_tokens_per_round(0.7, 5)), abs=error)


@given(alpha=st.floats(0.0, 0.995), ratio=st.floats(1e-3, 2.0), cost=st.floats(0.0, 1.0))
def test_operations_count_drafts_and_verified_positions(alpha, ratio, cost):
    tokens = float(expected_tokens_per_round(alpha, 4))
    assert operations_ratio(alpha, 4, cost) == pytest.approx((4 * cost + 5) / tokens)


def test_a_round_without_drafts_costs_what_the_llm_costs():
    assert operations_ratio(0.7, 0) == operations_ratio(0.7, 0, 0.3) == 1.0
    assert speculation_speedup(0.7, 0, 0.3) == 1.0


@given(alpha=st.floats(0.0, 0.98), ratio=st.floats(5e-3, 3.0))
def test_the_best_draft_count_is_that_of_brute_force(alpha, ratio):
    counts = np.arange(1, 1500)
    gains = speculation_speedup(alpha, counts, ratio)
    best = int(best_num_drafts(alpha, ratio))
    assert gains[best - 1] == pytest.approx(gains.max(), rel=1e-12)
    assert best <= counts[int(np.argmax(gains))]
    assert bool(speculate(alpha, ratio)) == (alpha > ratio)
    if abs(alpha - ratio) > 1e-9:
        assert bool(speculate(alpha, ratio)) == (gains.max() > 1.0)


def test_a_draft_model_that_is_nearly_free_and_nearly_right_drafts_by_the_thousand():
    counts = np.arange(1, 30_000)
    best = int(best_num_drafts(0.999, 1e-6))
    assert best == counts[int(np.argmax(speculation_speedup(0.999, counts, 1e-6)))] > 5000


@given(alpha=st.floats(0.01, 0.98), ratio=st.floats(2e-3, 0.98))
def test_the_lambert_form_is_stationary_and_rounds_to_the_search(alpha, ratio):
    at = float(continuous_num_drafts(alpha, ratio))
    left = -math.log(alpha) * alpha ** (at + 1) * (1 + at * ratio)
    right = ratio * (1 - alpha ** (at + 1))
    assert left == pytest.approx(right, rel=1e-6, abs=1e-12)
    found, printed = int(best_num_drafts(alpha, ratio)), int(printed_num_drafts(alpha, ratio))
    assert speculation_speedup(alpha, printed, ratio) == pytest.approx(
        float(speculation_speedup(alpha, found, ratio)), rel=1e-12
    )


def test_the_lambert_form_survives_where_its_argument_underflows():
    alpha, ratio = 0.5, 1e-4  # alpha ** (1/L) is 1e-3010
    at = float(continuous_num_drafts(alpha, ratio))
    assert -math.log(alpha) * alpha ** (at + 1) * (1 + at * ratio) == pytest.approx(
        ratio * (1 - alpha ** (at + 1)), rel=1e-9
    )
    assert int(printed_num_drafts(alpha, ratio)) == int(best_num_drafts(alpha, ratio))


def test_of_two_counts_that_are_equally_fast_the_lower_is_taken():
    # acceptance 1/2, L = 1/5: 1.5 / 1.2 = 1.75 / 1.4 = 1.25
    assert speculation_speedup(0.5, 1, 0.2) == speculation_speedup(0.5, 2, 0.2) == pytest.approx(1.25)
    assert printed_num_drafts(0.5, 0.2) == best_num_drafts(0.5, 0.2) == 1


def test_endless_drafting_is_refused_with_the_knob():
    endless = "^the best number of drafts is infinite where"
    with pytest.raises(DivergentError, match=f"{endless} a draft costs no time; give latency_ratio > 0$"):
        best_num_drafts(0.5, 0.0)
    with pytest.raises(DivergentError, match=f"{endless} every draft is kept; give acceptance < 1$"):
        best_num_drafts(1.0, 0.5)
    with pytest.raises(DivergentError, match="acceptance < 1"):
        best_drafts_on_link(1.0, LATENCY, Link(bandwidth_hz=1e6, snr=1.0), 24.0)
    assert best_num_drafts(0.0, 0.0) == 1
    # a draft that takes at least as long as the LLM gains nothing, even if it is always kept
    assert best_num_drafts(1.0, [1.0, 1.5]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fading", ["awgn", "rayleigh-outage", "rayleigh-arq", "short-packet"])
@pytest.mark.parametrize(("alpha", "bits"), [(0.3, 24), (0.8, 690), (0.95, 24), (0.9, 0)])
def test_the_best_count_over_any_link_is_that_of_brute_force(fading, alpha, bits):
    link, latency = (
        Link(bandwidth_hz=1e5, snr=2.0, fading=fading),
        Latency(slm_s=0.01, llm_s=0.1, round_trip_s=0.02),
    )
    counts = np.arange(1, 400)
    seconds = counts * 0.01 + packet_latency_s(link, counts * bits) + 0.12
    rates = expected_tokens_per_round(alpha, counts) / seconds
    plan = best_drafts_on_link(alpha, latency, link, bits)
    assert plan.num_drafts == counts[int(np.argmax(rates))]
    assert plan.throughput_token_per_s == pytest.approx(rates.max())
    assert plan.tokens_per_round == pytest.approx(float(expected_tokens_per_round(alpha, plan.num_drafts)))
    assert plan.round_s == pytest.approx(seconds[plan.num_drafts - 1])
    assert plan.speedup == pytest.approx(rates.max() * 0.1)
    assert plan.speculate == (plan.speedup > 1)


@pytest.mark.parametrize("alpha", [0.99, 0.999])
@pytest.mark.parametrize("fading", ["awgn", "short-packet"])
def test_the_best_count_is_found_beyond_the_first_block_of_counts(alpha, fading):
    """At rates far below a token a second, where an answer of one bit would cost more than all the rest."""
    link = Link(bandwidth_hz=1e3, snr=3.0, fading=fading)
    latency = Latency(slm_s=0.1, llm_s=100.0, round_trip_s=20.0, downlink_bit_per_s=1e-5)
    counts = np.arange(1, 5000)
    seconds = counts * 0.1 + packet_latency_s(link, counts * 24) + 120.0
    rates = expected_tokens_per_round(alpha, counts) / seconds
    plan = best_drafts_on_link(alpha, latency, link, 24)
    assert plan.num_drafts == counts[int(np.argmax(rates))] > 64
    assert plan.throughput_token_per_s == pytest.approx(rates.max())
    assert plan.round_s == pytest.approx(seconds[plan.num_drafts - 1])


@pytest.mark.parametrize("fading", ["awgn", "short-packet"])
def test_the_best_count_of_a_survival_curve_is_that_of_brute_force(fading):
    """Against rounds that are run: a heavy head, then nearly every draft is kept."""
    rng, chances = np.random.default_rng(3), 0.46 * 0.95 ** np.arange(12)
    link = Link(bandwidth_hz=1e5, snr=2.0, fading=fading)
    latency = Latency(
        slm_s=0.01,
        llm_s=0.1,
        round_trip_s=0.05,
        downlink_bit_per_s=1e3,
        slm_per_token_s=0.004,
        llm_per_token_s=0.02,
    )
    kept = np.sum(rng.random(40_000)[:, None] < chances, axis=1)  # drafts that would be kept, of any number
    rates = []
    for count in range(1, 13):
        tokens = np.minimum(kept, count) + 1
        seconds = count * 0.01 + packet_latency_s(link, 24 * count) + 0.08 + 0.02 * (count + 1) + 0.05
        seconds += np.where(kept >= count, 0.004 + 15 / 1e3, 115 / 1e3)
        rates.append(tokens.sum() / seconds.sum())
    plan = best_drafts_of_survival(chances, latency, link, 24, downlink_bit=15, rejection_downlink_bit=100)
    assert plan.throughput_token_per_s == pytest.approx(max(rates), rel=0.01)
    assert rates[plan.num_drafts - 1] == pytest.approx(max(rates), rel=0.005)
    geometric = best_drafts_on_link(
        chances[0], latency, link, 24, downlink_bit=15, rejection_downlink_bit=100
    )
    assert geometric.num_drafts < plan.num_drafts  # one alpha, that of the first draft, stops too early


def test_a_survival_curve_of_one_alpha_is_that_alpha():
    link, alpha = Link(bandwidth_hz=1e5, snr=2.0), 0.7
    latency = Latency(slm_s=0.01, llm_s=0.1, slm_per_token_s=0.004, llm_per_token_s=0.02)
    curve = alpha ** np.arange(1, 40)
    one, other = (
        best_drafts_of_survival(curve, latency, link, 24),
        best_drafts_on_link(alpha, latency, link, 24),
    )
    assert one.num_drafts == other.num_drafts
    assert one.throughput_token_per_s == pytest.approx(other.throughput_token_per_s)


@pytest.mark.parametrize(
    ("survival", "message"),
    [
        ([], "survival must have one chance a draft"),
        ([[0.5]], "survival must have one chance a draft"),
        ([0.5, 0.6], "survival must not rise; got 0.6 after 0.5"),
        ([1.5], r"survival must lie in \[0, 1\]; got 1.5"),
    ],
)
def test_what_is_no_survival_curve_is_refused(survival, message):
    with pytest.raises(ValueError, match=message):
        best_drafts_of_survival(survival, LATENCY, Link(bandwidth_hz=1e5, snr=2.0), 24)


def test_on_a_proportional_link_the_count_is_that_of_the_ratio():
    link = Link(bandwidth_hz=1e5, snr=3.0)  # 200 kbit/s
    ratio = float(latency_ratio(LATENCY, 690 / 2e5))
    assert best_drafts_on_link(0.8, LATENCY, link, 690).num_drafts == int(best_num_drafts(0.8, ratio))


def test_the_answer_of_the_server_slows_every_round():
    slow = Latency(slm_s=0.01, llm_s=0.1, downlink_bit_per_s=1e3)
    link = Link(bandwidth_hz=1e6, snr=3.0)
    plan = best_drafts_on_link(0.5, slow, link, 24, downlink_bit=15, rejection_downlink_bit=100)
    kept = 0.5**plan.num_drafts
    expected = plan.num_drafts * (0.01 + 24 / 2e6) + 0.1 + (15 + (1 - kept) * 100) / 1e3
    assert plan.round_s == pytest.approx(expected)


def test_a_dead_link_refuses_drafts_that_have_bits():
    dead = Link(bandwidth_hz=1e6, snr=0.0)
    sentence = "^the link is dead and drafts must be sent; raise snr_db or use the SLM alone$"
    with pytest.raises(InfeasibleError, match=sentence):
        best_drafts_on_link(0.5, LATENCY, dead, 24)
    assert best_drafts_on_link(0.5, LATENCY, dead, 0).num_drafts >= 1


def test_drafting_gains_nothing_where_a_draft_costs_as_much_as_it_is_kept():
    plan = best_drafts_on_link(0.5, Latency(slm_s=0.25, llm_s=0.5), Link(bandwidth_hz=1e6, snr=1.0), 0)
    assert (plan.num_drafts, plan.speedup, plan.speculate) == (1, 1.0, False)


def test_every_skipped_draft_may_be_one_that_the_llm_would_reject():
    # 1 - 0.9 is 2e-17 below 0.1 in float64
    assert sync_tokens_per_round(0.9, 0.1) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"^risk must be at most the skip rate 1 - transmit_probability$"):
        sync_tokens_per_round(0.9, 0.1 + 1e-9)


@pytest.mark.parametrize("bonus", [False, True])
def test_sync_rounds_are_those_of_a_simulation(bonus):
    rng = np.random.default_rng(3)
    chance, skip_rejection, sent_rejection, num = 0.3, 0.2, 0.6, 60_000
    length = rng.geometric(chance, num)
    lost_at = rng.geometric(skip_rejection, num)  # first rejected draft among skipped ones
    tokens = np.minimum(lost_at, length)
    reached_end = lost_at >= length
    last_kept = rng.random(num) >= sent_rejection
    tokens = tokens + np.where(reached_end & last_kept & bonus, 1, 0)
    risk = (1 - chance) * skip_rejection
    expected = float(
        sync_tokens_per_round(chance, risk, transmitted_rejection=sent_rejection if bonus else None)
    )
    assert tokens.mean() == pytest.approx(expected, abs=4 * tokens.std() / math.sqrt(num))
    seconds = length * (0.01 + 0.002) + 0.09 + 0.01 * (length + bonus)
    seconds += 0.004 * (reached_end & last_kept & bonus)  # the device reads its last draft too
    latency = Latency(slm_s=0.01, llm_s=0.1, slm_per_token_s=0.004, llm_per_token_s=0.01)
    per_token = float(
        sync_latency_s(latency, chance, risk, 0.002, transmitted_rejection=sent_rejection if bonus else None)
    )
    assert seconds.sum() / tokens.sum() == pytest.approx(per_token, rel=0.02)


@given(chance=st.floats(0.05, 0.9), up=st.floats(0.01, 1.0), draft=st.floats(0.0, 0.005))
def test_at_the_break_even_risk_both_are_equally_fast(chance, up, draft):
    latency = Latency(slm_s=0.01, llm_s=0.1, round_trip_s=0.03, llm_per_token_s=0.02)
    risk = float(sync_break_even_risk(latency, chance, up, draft))
    cu_s = 0.01 + chance * (up + 0.11) + 0.02
    if 0.0 <= risk <= 1.0 - chance:
        assert sync_latency_s(latency, chance, risk, draft) == pytest.approx(cu_s)
    elif risk < 0.0:
        assert sync_latency_s(latency, chance, 0.0, draft) > cu_s


def test_what_is_not_told_to_the_break_even_takes_no_time_and_is_never_rejected():
    slow = Latency(slm_s=0.01, llm_s=0.1, downlink_bit_per_s=1e3)
    answers = {"answer_bit": 30.0, "kept_bit": 2.0, "rejected_bit": 500.0}
    for left in answers:
        some = {name: bit for name, bit in answers.items() if name != left}
        told = float(sync_break_even_risk(slow, 0.3, 0.4, 0.002, **some, **{left: 0.0}))
        assert float(sync_break_even_risk(slow, 0.3, 0.4, 0.002, **some)) == told
        assert float(sync_break_even_risk(slow, 0.3, 0.4, 0.002, **answers)) != pytest.approx(told, rel=1e-4)
    certain = float(sync_break_even_risk(slow, 0.3, 0.4, 0.002, transmitted_rejection=0.0, **answers))
    assert float(sync_break_even_risk(slow, 0.3, 0.4, 0.002, **answers)) == certain


def test_two_answers_of_verify_on_sync_need_the_rejection_of_what_is_sent():
    with pytest.raises(
        ValueError, match=r"^rejected_bit other than kept_bit needs transmitted_rejection; got None$"
    ):
        sync_latency_s(LATENCY, 0.5, 0.1, 0.01, kept_bit=1.0, rejected_bit=2.0)


LINK = Link(bandwidth_hz=1e6, snr=1.0)
GOOD = {
    "acceptance": 0.5, "num_drafts": 2, "latency_ratio": 0.25, "draft_cost": 0.1, "latency": LATENCY,
    "draft_uplink_s": 0.01, "link": LINK, "bits_per_draft": 24.0, "transmit_probability": 0.5, "risk": 0.1,
    "transmitted_rejection": 0.5, "uplink_s": 0.1, "downlink_bit": 10.0,
}  # fmt: skip
TAKES = {
    expected_tokens_per_round: ["acceptance", "num_drafts"],
    speculation_speedup: ["acceptance", "num_drafts", "latency_ratio"],
    operations_ratio: ["acceptance", "num_drafts", "draft_cost"],
    speculate: ["acceptance", "latency_ratio"],
    best_num_drafts: ["acceptance", "latency_ratio"],
    continuous_num_drafts: ["acceptance", "latency_ratio"],
    printed_num_drafts: ["acceptance", "latency_ratio"],
    latency_ratio: ["latency", "draft_uplink_s"],
    best_drafts_on_link: ["acceptance", "latency", "link", "bits_per_draft", "downlink_bit"],
    sync_tokens_per_round: ["transmit_probability", "risk", "transmitted_rejection"],
    sync_latency_s: ["latency", "transmit_probability", "risk", "draft_uplink_s", "transmitted_rejection"],
    sync_break_even_risk: [
        "latency",
        "transmit_probability",
        "uplink_s",
        "draft_uplink_s",
        "transmitted_rejection",
    ],
}
PROBABILITIES = {"acceptance", "transmit_probability", "risk", "transmitted_rejection"}
ARGUMENTS = [
    (function, name) for function, names in TAKES.items() for name in names if name not in ("latency", "link")
]


@pytest.mark.parametrize(("function", "name"), ARGUMENTS)
def test_refuses_what_is_no_chance_count_or_time(function, name):
    good = {argument: GOOD[argument] for argument in TAKES[function]}
    function(**good)
    bad_values = {math.nan: r"be (finite|at least 0); got nan", -0.5: r"(be at least|lie in) .*; got -0.5"}
    if name in PROBABILITIES:
        bad_values[1.5] = r"lie in \[0, 1\]; got 1.5"
    if name == "transmit_probability":
        bad_values[0.0] = "be positive; got 0"
    for bad, text in bad_values.items():
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            function(**(good | {name: bad}))


@pytest.mark.parametrize("function", [continuous_num_drafts, printed_num_drafts])
@pytest.mark.parametrize("name", ["acceptance", "latency_ratio"])
def test_the_lambert_form_refuses_both_ends(function, name):
    good = {"acceptance": 0.5, "latency_ratio": 0.25}
    for bad in (0.0, 1.0):
        with pytest.raises(ValueError, match=rf"^{name} must lie in \(0, 1\); got {bad:g}$"):
            function(**(good | {name: [0.75, bad, 0.5]}))


def test_refusals_name_the_argument():
    with pytest.raises(ValueError, match=r"acceptance must lie in \[0, 1\]; got 1.5"):
        expected_tokens_per_round(1.5, 3)
    with pytest.raises(ValueError, match="num_drafts must be at least 0"):
        expected_tokens_per_round(0.5, -1)
    with pytest.raises(ValueError, match="latency_ratio must be at least 0"):
        speculate(0.5, -0.1)
    with pytest.raises(ValueError, match=r"latency_ratio must lie in \(0, 1\); got 1"):
        continuous_num_drafts(0.5, 1.0)
    with pytest.raises(ValueError, match="risk must be at most the skip rate"):
        sync_tokens_per_round(0.9, 0.5)
    with pytest.raises(ValueError, match="rejected_bit other than kept_bit needs transmitted_rejection"):
        sync_latency_s(LATENCY, 0.2, 0.1, 0.0, rejected_bit=8.0)
    with pytest.raises(ValueError, match="transmit_probability must be positive"):
        sync_tokens_per_round(0.0, 0.5)
    with pytest.raises(ValueError, match="bits_per_draft must be at least 0"):
        best_drafts_on_link(0.5, LATENCY, Link(bandwidth_hz=1.0, snr=1.0), -1.0)
    with pytest.raises(ValueError, match="kept_bit must be finite; got inf"):
        sync_break_even_risk(LATENCY, 0.2, 0.1, 0.0, kept_bit=math.inf)
