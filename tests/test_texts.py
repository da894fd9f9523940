"""Whose text: schemes meet their own, laws of texts in small chains, what importance weights leave."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from calibration import load
from cuhlm_theory import kept_law
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, at_bias
from cuhlm_theory.texts import Texts, Trial, effective_texts, importance_ratio, joined, promised, threshold_of
from tests.joins.test_texts import LENGTH, VOCAB, Chain, hybrid_law
from tests.worlds import random_world, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e5, snr=3.0),
    codec=Codec(vocab_size=1000),
    latency=Latency(slm_s=0.01, llm_s=0.1),
)
RISK = {"llm": 0.6, "hybrid-0.2": 0.5, "hybrid-0.6": 0.7, "slm": 0.4}


def recorded(name, num=400):
    """Tokens whose rejection rises with u, at the rate of their text."""
    rng = np.random.default_rng(1)
    u = rng.random(num)
    return Tokens(uncertainty=u, rejection=RISK[name] * u, prompt=np.repeat(np.arange(num // 20), 20))


def texts(*names):
    return Texts(names or RISK, recorded)


# ------------------------------------------------------------------------------------------------- whose text


@pytest.mark.parametrize(
    ("name", "numbers", "at"),
    [
        ("slm", {}, 1.0),
        ("llm", {}, 0.0),
        ("hlm", {}, 0.0),
        ("dssd", {}, 0.0),
        ("verify-on-sync", {"threshold": 0.7}, 0.0),
        ("kept-law", {"threshold": 0.4}, 0.4),
        ("kept-law", {"threshold": -1.0}, 0.0),
        ("u-hlm", {"threshold": 0.4, "upper_threshold": 0.6, "mix": 0.25}, 0.45),
        ("rand-hlm", {"skip_rate": 0.3}, 0.3),
    ],
)
def test_every_scheme_has_its_place_between_the_texts_of_the_models(name, numbers, at):
    assert SCHEMES[name].using(**numbers).text_at == pytest.approx(at)


def test_a_recorded_text_is_taken_as_it_is_and_others_are_mixed_of_their_neighbours():
    known = texts()
    assert [known.at(threshold_of(name)).text for name in RISK] == list(RISK)
    assert known.at(0.2).side is None
    between = known.at(0.3)
    assert between.text == "hybrid-0.2 and hybrid-0.6"
    assert between.weight[between.side == 1].sum() == pytest.approx(0.25)
    assert between.weight.sum() == pytest.approx(1.0)
    u = recorded("llm").uncertainty
    assert between.weight @ between.rejection == pytest.approx((0.75 * 0.5 + 0.25 * 0.7) * u.mean())
    assert between.law.uncertainty.size == 800


def test_what_was_not_recorded_is_stood_for_by_the_nearest_and_said():
    assert texts().lacks == ""
    assert texts("slm").at(0.0).text == "slm"
    few = texts("llm", "hybrid-0.6")
    assert few.at(1.0).text == few.at(0.6).text == "hybrid-0.6"
    assert few.lacks.startswith("No slm text was recorded: what is nearest, llm, hybrid-0.6, stands for it")
    assert texts("slm").lacks.startswith("No llm and no hybrid text was recorded")


@pytest.mark.parametrize("name", ["gpt", "hybrid-", "hybrid-1.5", "hybrid-x"])
def test_a_text_has_a_name_that_says_who_wrote_it(name):
    with pytest.raises(ValueError, match="text must be slm, llm or hybrid-THRESHOLD; got"):
        threshold_of(name)


def test_texts_of_different_grids_are_not_mixed():
    grid = {"k_grid": np.array([1, 2]), "tv_profile": np.zeros((400, 2))}
    with pytest.raises(ValueError, match="texts must have one k_grid"):
        joined(recorded("llm"), replace(recorded("slm"), **grid))


def test_the_interval_between_two_texts_covers_those_of_both():
    known, scheme = texts(), SCHEMES["kept-law"].using(threshold=0.3)
    ledger = scheme.ledger(known, SYSTEM)
    speed, bias = ledger.estimates(num_resamples=200)
    ends = [
        scheme.ledger(known.text(name), SYSTEM).estimates(num_resamples=200)
        for name in ("hybrid-0.2", "hybrid-0.6")
    ]
    for found, sides in zip((speed, bias), zip(*ends, strict=True), strict=True):
        assert found.low == pytest.approx(min(side.low for side in sides))
        assert found.high == pytest.approx(max(side.high for side in sides))
        assert found.low < found.value < found.high
    assert "both recorded texts" in bias.how
    assert (
        scheme.ledger(known.text("slm"), SYSTEM).estimates()[1].how
        == "95 % percentile interval, whole texts resampled"
    )


def test_a_ratio_is_paired_over_prompts_whoever_wrote_the_text():
    known = texts()
    kept, alone = (SCHEMES[name].ledger(known, SYSTEM) for name in ("hlm", "kept-law"))
    assert kept.text == "llm"
    assert alone.text == "llm"
    hybrid = SCHEMES["kept-law"].using(threshold=0.6).ledger(known, SYSTEM)
    ratio = hybrid.over(kept, num_resamples=300)
    assert ratio.value == pytest.approx(hybrid.rate_token_per_s / kept.rate_token_per_s)
    assert ratio.low < ratio.value < ratio.high
    itself = hybrid.over(replace(hybrid, text="another"), num_resamples=300)
    assert itself.low == pytest.approx(1.0)
    assert itself.high == pytest.approx(1.0)
    mixed = SCHEMES["kept-law"].using(threshold=0.3).ledger(known, SYSTEM).over(kept, num_resamples=300)
    ends = [
        SCHEMES["kept-law"]
        .using(threshold=0.3)
        .ledger(known.text(name), SYSTEM)
        .over(kept, num_resamples=300)
        for name in ("hybrid-0.2", "hybrid-0.6")
    ]
    assert mixed.low == pytest.approx(min(end.low for end in ends))
    assert mixed.high == pytest.approx(max(end.high for end in ends))


@pytest.mark.parametrize("bias", [0.01, 0.04, 0.1])
@pytest.mark.parametrize("name", ["kept-law", "u-hlm", "rand-hlm"])
def test_a_bias_is_met_on_the_text_that_the_scheme_then_writes(name, bias):
    known = texts()
    tuned = at_bias(SCHEMES[name], known, SYSTEM, bias)
    ledger = tuned.ledger(known.at(tuned.text_at), SYSTEM)
    assert ledger.per_token(ledger.bias) == pytest.approx(bias, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in SCHEMES if SCHEMES[name].knob])
def test_what_was_found_over_one_link_is_what_another_finds(name):
    """A bias that no link moves is met once for all of them."""
    slow = replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=0.1))
    known, row = texts(), SCHEMES[name].given({"line": Line(0.5, 0.0)})
    try:
        alone = at_bias(row, texts(), slow, 0.04)
    except CuhlmError:  # these tokens do not tell what its bias is
        return
    at_bias(row, known, SYSTEM, 0.04)
    at_bias(row, known, SYSTEM, 0.1)
    assert at_bias(row, known, slow, 0.04) == alone


def test_where_the_link_or_the_weights_move_the_bias_it_is_met_anew():
    def few(name):
        return table(random_world(len(name), num_contexts=30))

    row, known = SCHEMES["cu-hlm-exact"].using(truncation_price_s=0.05), Texts(("llm", "slm"), few)
    links = (Link(bandwidth_hz=1e3, snr=30.0), Link(bandwidth_hz=1e3, snr=0.1))
    systems = [replace(SYSTEM, link=link, codec=Codec(vocab_size=6)) for link in links]
    found = [at_bias(row, known, system, 0.2) for system in systems]
    assert found == [at_bias(row, Texts(("llm", "slm"), few), system, 0.2) for system in systems]
    assert found[0] != found[1]
    tokens = few("llm")
    skewed = tokens.weighted(np.random.default_rng(0).dirichlet(np.ones(len(tokens))))
    plain = [at_bias(SCHEMES["u-hlm"], each, systems[0], 0.05) for each in (tokens, skewed)]
    assert plain[1] == at_bias(SCHEMES["u-hlm"], replace(skewed), systems[0], 0.05) != plain[0]


def test_columns_are_read_when_they_are_asked_for_once_for_all_who_weigh_them():
    read = []

    def column(name):
        read.append(name)
        return np.full(20, 0.5)

    late = Tokens.reading(
        {name: partial(column, name) for name in ("tv", "draft_prob", "llm_prob")},
        uncertainty=np.linspace(0.0, 1.0, 20),
        rejection=np.zeros(20),
    )
    other = late.weighted(late.weight[::-1])
    assert (late.known(), read) == (
        ("uncertainty", "rejection", "weight", "draft_prob", "llm_prob", "tv"),
        [],
    )
    both = joined(late, late.having(text="another"))
    assert read == []
    assert both.tv.shape == (40,)
    assert other.tv[0] == late.tv[0] == 0.5
    assert read == ["tv"]
    assert late.having(tv=np.zeros(20)).tv[0] == 0.0
    assert replace(late, tv=None).tv is None
    assert sorted(read) == ["draft_prob", "llm_prob", "tv"]
    assert late.only(late.uncertainty < 0.5).llm_prob.shape == (10,)
    with pytest.raises(AttributeError, match="nothing"):
        _ = late.nothing


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros(3), "Tokens.tv must have 20 rows; got 3"),
        (np.full(20, 2.0), r"Tokens.tv must lie in \[0, 1\]; got 2"),
    ],
)
def test_a_column_is_checked_when_it_is_read(column, message):
    late = Tokens.reading({"tv": lambda: column}, uncertainty=np.zeros(20), rejection=np.zeros(20))
    with pytest.raises(ValueError, match=message):
        _ = late.tv


def test_a_question_evaluates_each_scheme_on_its_own_text():
    asked = Question(
        line=Line(0.5, 0.0), tokens=recorded("slm"), texts=texts(), system=SYSTEM, budget=Budget(bias=0.05)
    )
    found = asked.answer()
    where = {row["name"]: (row["text"], row["contexts"]) for row in found.schemes}
    assert where["slm"] == ("slm", "slm")
    assert where["dssd"] == where["llm"] == ("llm", "llm")
    assert where["kept-law"][0] == "hybrid"
    assert found.schemes["slm"]["bias"] == pytest.approx(recorded("slm").rejection.mean())
    single = replace(asked, texts=None).answer()
    assert {row["text"] for row in single.schemes} == {None}


def test_a_promise_ends_at_the_first_text_that_fails():
    row = {"bias": 0.01, "resampled_limit95": 0.01, "num_prompts": 9, "max_tokens": 8}
    limits = {0.5: 0.01, 0.2: 0.02, 0.3: 0.04, 0.4: 0.06}
    trials = [Trial(threshold=t, bias_limit95=limit, **row) for t, limit in limits.items()]
    assert promised(trials, 0.05).threshold == 0.3
    assert promised(trials, 0.06).threshold == 0.5
    assert promised(trials, 0.01) is promised([], 0.5) is None
    assert promised(trials, 0.01, resampled=True).threshold == 0.5


# ----------------------------------------------------------------------------------------------- small chains


@pytest.mark.parametrize("seed", range(10))
def test_the_difference_of_the_charges_is_found_by_walking_every_text(seed):
    chain = Chain(seed)
    whole = 0.0
    for text in itertools.product(range(VOCAB), repeat=LENGTH):
        charges = sum(chain.charge[text[:n]] for n in range(LENGTH))
        whole += (chain.chance("q", text) - chain.chance("y", text)) * charges
    moved = sum(chain.chance("q", context) * chain.moved(context) for context in chain.charge)
    assert whole == pytest.approx(moved, abs=1e-12)


def markov(seed, num_states=6, length=30):
    """Charges a text of two models and of hybrid decoding between them, and the largest span."""
    rng = np.random.default_rng(seed)
    y = rng.dirichlet(np.full(num_states, 0.5), size=num_states)
    x = 0.6 * y + 0.4 * rng.dirichlet(np.full(num_states, 0.5), size=num_states)
    keeps = rng.random((num_states, num_states)) < 0.4
    q, charge = map(np.array, zip(*map(hybrid_law, x, y, keeps), strict=True))
    start, charged = np.eye(num_states)[0], {}
    for name, law in (("x", x), ("y", y), ("q", q)):
        at, sums = start, 0.0
        for _ in range(length):
            sums, at = sums + at @ charge, at @ law
        charged[name] = float(sums)
    value, span = np.zeros(num_states), 0.0
    for _ in range(length):
        span = max(span, float(np.ptp(value)))
        value = charge + y @ value
    return charged, span, float(charge.max())


def test_the_bounds_of_the_span_hold_in_random_chains():
    upper = []
    for seed in range(400):
        charged, span, _ = markov(seed)
        assert charged["y"] / (1.0 + span) <= charged["q"] + 1e-12
        if span < 1.0:
            assert charged["q"] <= charged["y"] / (1.0 - span) + 1e-12
            upper.append(1.0 / (1.0 - span))
    assert len(upper) > 300
    assert 1.05 < np.median(upper) < 1.6  # useful where 1/epsilon tokens have long made the crude one vacuous


def test_hybrid_charges_lie_outside_in_a_share_of_random_chains():
    outside = 0
    for seed in range(400):
        charged, _, _ = markov(seed)
        low, high = sorted((charged["x"], charged["y"]))
        outside += not low - 1e-12 <= charged["q"] <= high + 1e-12
    assert outside > 80


def test_coupled_texts_part_as_often_as_the_bias_accumulates():
    rng, bias, num = np.random.default_rng(0), 0.02, 4000
    x = np.array([0.5 + bias, 0.5 - bias])
    y = np.array([0.5, 0.5])
    same = np.ones(num, dtype=bool)
    for length in range(1, 51):
        coin = rng.random(num)  # one draw for both laws by inversion: a maximal coupling of two outcomes
        same &= (coin < x[0]) == (coin < y[0])
        error = 4 * np.sqrt(0.25 / num)
        assert 1.0 - same.mean() == pytest.approx(1.0 - (1.0 - bias) ** length, abs=error)
        assert 1.0 - same.mean() <= length * bias + error
    assert same.mean() == pytest.approx(np.exp(-1.0), abs=0.03)


# ----------------------------------------------------------------------------------------- importance weights


def test_the_ratio_is_that_of_the_output_law():
    rng = np.random.default_rng(3)
    x, y = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    keeps = rng.random(6) < 0.5
    m = np.where(keeps, x, 0.0)
    law = kept_law.output_law(m, y)
    ratio = importance_ratio(x, y, keeps.astype(float), np.full(6, m.sum()), np.full(6, kept_law.bias(m, y)))
    np.testing.assert_allclose(ratio, law / x, rtol=1e-12)
    assert x @ ratio == pytest.approx(1.0)


@pytest.mark.parametrize(("pair", "length", "most"), [("smollm2", 16, 2.0), ("qwen2.5-coder", 64, 11.0)])
def test_the_weights_of_the_recorded_texts_collapse(pair, length, most):
    tokens = load(pair).contexts.text("slm")
    for threshold in (0.2, 0.5, 0.8):
        skips = tokens.below(threshold)
        ratio = importance_ratio(
            tokens.draft_prob,
            tokens.llm_prob,
            tokens.uncertainty <= threshold,
            1.0 - skips.transmit,
            skips.excess,
        )
        few, more = (effective_texts(ratio, tokens.prompt, n) for n in (length, 1))
        assert few < min(most, more)
