"""The knapsack against brute force, its dual and a solver; the operating point against every grid point."""

import contextlib
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import InfeasibleError, MissingInputError
from cuhlm_theory.optimisation import (
    actions,
    curves,
    joint_optimum,
    lower_hull,
    operating,
    operating_point,
    quantisation_profile,
    separable_actions,
    solve,
    solve_curves,
    solve_lp,
)
from cuhlm_theory.optimisation import randomised as best_randomised
from cuhlm_theory.optimisation.knapsack import search
from cuhlm_theory.optimisation.sizes import Profile, Sizes, after
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import NEVER_SKIP, SCHEMES
from cuhlm_theory.verification import output_law
from tests.worlds import THRESHOLDS, World, random_world, recording, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),
    codec=Codec(vocab_size=6),
    latency=Latency(slm_s=0.01, llm_s=0.1, charge_resync=False),
)
BUDGETS = [0.0, 0.005, 0.02, 0.05, 0.1, 0.3, 1.0]


def outcome(name, tokens, system=SYSTEM, **numbers):
    return SCHEMES[name].using(**numbers).ledger(tokens, system).outcome()


def problem(seed, num=40, num_actions=6):
    rng = np.random.default_rng(seed)
    bias = rng.random((num, num_actions))
    bias[:, 0] = 0.0
    weight = rng.random(num)
    return rng.random((num, num_actions)), bias, weight / weight.sum()


def dual(latency, bias, weight, budget, multiplier):
    return float(weight @ np.min(latency + multiplier * bias, axis=1)) - multiplier * budget


# The knapsack


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("budget", [0.01, 0.1, 0.3])
def test_primal_equals_dual_and_the_budget_is_met_with_equality(seed, budget):
    latency, bias, weight = problem(seed)
    solved = solve(latency, bias, weight, budget)
    assert solved.bias == pytest.approx(budget, rel=1e-12)
    assert solved.latency_s == pytest.approx(solved.dual_s, rel=1e-12)
    assert solved.dual_s == pytest.approx(dual(latency, bias, weight, budget, solved.multiplier_s))
    rows = np.arange(len(weight))
    low = weight @ latency[rows, solved.within], weight @ bias[rows, solved.within]
    high = weight @ latency[rows, solved.beyond], weight @ bias[rows, solved.beyond]
    assert low[1] <= budget <= high[1]
    assert solved.latency_s == pytest.approx((1 - solved.share) * low[0] + solved.share * high[0])
    assert solved.binds


@pytest.mark.parametrize("seed", range(5))
def test_no_multiplier_gives_a_better_bound(seed):
    latency, bias, weight = problem(seed)
    solved = solve(latency, bias, weight, 0.1)
    for multiplier in solved.multiplier_s * np.array([0.0, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0]):
        assert dual(latency, bias, weight, 0.1, multiplier) <= solved.dual_s + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_no_deterministic_policy_within_the_budget_is_faster(seed):
    latency, bias, weight = problem(seed, num=5, num_actions=3)
    solved = solve(latency, bias, weight, 0.15)
    rows = np.arange(5)
    best = min(
        weight @ latency[rows, choice]
        for choice in map(list, itertools.product(range(3), repeat=5))
        if weight @ bias[rows, choice] <= 0.15
    )
    assert solved.latency_s <= best + 1e-12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [0.0, 0.05, 0.2, 1.0])
def test_the_solver_certifies_the_closed_form(seed, budget):
    latency, bias, weight = problem(seed, num=30)
    solved, proof = solve(latency, bias, weight, budget), solve_lp(latency, bias, weight, budget)
    assert proof.primal_s == pytest.approx(solved.latency_s, rel=1e-6)
    assert proof.dual_s <= solved.latency_s * (1 + 1e-12)
    assert solved.latency_s - proof.dual_s <= 1e-6 * solved.latency_s
    assert proof.solver == "CLARABEL"


def test_the_multiplier_is_the_price_of_the_budget():
    latency, bias, weight = problem(1)
    solved, step = solve(latency, bias, weight, 0.1), 1e-6
    more = solve(latency, bias, weight, 0.1 + step)
    assert (solved.latency_s - more.latency_s) / step == pytest.approx(solved.multiplier_s, rel=1e-6)


def test_a_slack_budget_costs_nothing():
    latency, bias, weight = problem(2)
    solved = solve(latency, bias, weight, 1.0)
    assert solved.latency_s == pytest.approx(weight @ latency.min(axis=1))
    assert (solved.multiplier_s, solved.binds, solved.share) == (0.0, False, 0.0)
    assert solved.gap_s == 0.0


def test_a_budget_of_zero_takes_the_fastest_action_without_bias():
    latency, bias, weight = problem(3)
    bias[:, 1] = 0.0
    solved = solve(latency, bias, weight, 0.0)
    assert solved.latency_s == pytest.approx(weight @ latency[:, :2].min(axis=1))
    assert solved.bias == 0.0
    assert solved.dual_s == pytest.approx(solved.latency_s)


def test_actions_that_cannot_be_taken_are_not():
    latency, bias, weight = problem(4)
    latency[:, 3] = math.inf
    bias[:, 3] = 0.0
    solved, proof = solve(latency, bias, weight, 0.05), solve_lp(latency, bias, weight, 0.05)
    assert not np.any(solved.within == 3)
    assert not np.any(solved.beyond == 3)
    assert proof.primal_s == pytest.approx(solved.latency_s, rel=1e-6)


def test_infeasible_problems_name_the_knob():
    with pytest.raises(InfeasibleError, match=r"least bias .* 0.4, above the budget 0.1; raise bias_budget"):
        solve([[1.0, 0.5]], [[0.4, 0.6]], [1.0], 0.1)
    with pytest.raises(InfeasibleError, match="raise snr_db or bias_budget"):
        solve([[math.inf, math.inf]], [[0.4, 0.6]], [1.0], 0.1)
    with pytest.raises(InfeasibleError, match="raise bias_budget"):
        solve_lp([[1.0, 0.5]], [[0.4, 0.6]], [1.0], 0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1.0]], [[0.1]], [1.0], 1.5), r"bias_budget must lie in \[0, 1\]; got 1.5"),
        (([[-1.0]], [[0.1]], [1.0], 0.5), "latency_s must be a table"),
        (([[math.nan]], [[0.1]], [1.0], 0.5), "latency_s must be a table"),
        (([[1.0]], [[0.1, 0.2]], [1.0], 0.5), "bias and weight must have shapes"),
        (([[1.0]], [[-0.1]], [1.0], 0.5), "^bias must be at least 0"),
        (([[1.0]], [[0.1]], [-1.0], 0.5), "^weight must be at least 0"),
    ],
)
def test_the_knapsack_refuses_malformed_tables(arguments, words):
    for found in (solve, solve_lp):
        with pytest.raises(ValueError, match=words):
            found(*arguments)


@given(
    points=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8),
    multiplier=st.floats(1e-3, 1e3),
)
def test_the_hull_keeps_the_best_action_for_every_multiplier(points, multiplier):
    bias, latency = (np.array(part, dtype=float)[None] for part in zip(*points, strict=True))
    hull = lower_hull(bias, latency)[0]
    total = latency[0] + multiplier * bias[0]
    assert total[hull].min() == pytest.approx(total.min(), abs=1e-12)
    assert bias[0][hull[0]] == bias.min()
    assert latency[0][hull[-1]] == latency.min()
    steps = np.diff(bias[0][hull]), -np.diff(latency[0][hull])
    rates = [saved / paid for paid, saved in zip(*steps, strict=True) if saved > 0]
    assert all(a > b for a, b in itertools.pairwise(rates))


# Actions of recorded contexts


def all_pairs(given):
    """Every (threshold, size) of every context, unpruned."""
    latency = given.transmit[:, :, None] * given.send_s
    bias = given.risk[:, :, None] + given.truncation[:, None, :] * (given.transmit > 0)[:, :, None]
    return latency.reshape(len(given.weight), -1), bias.reshape(len(given.weight), -1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", BUDGETS)
def test_pruning_loses_nothing(seed, budget):
    given = curves(table(random_world(seed)), SYSTEM)
    _, solved = solve_curves(given, budget)
    assert solved.latency_s == pytest.approx(
        solve(*all_pairs(given), given.weight, budget).latency_s, abs=1e-12
    )


def test_actions_say_which_threshold_and_size_they_are():
    given = curves(table(random_world(1)), SYSTEM)
    found = actions(given)
    rows = np.arange(len(given.weight))[:, None]
    transmit = given.transmit[rows, found.threshold]
    np.testing.assert_allclose(found.latency_s, transmit * given.send_s[found.size])
    np.testing.assert_allclose(
        found.bias, given.risk[rows, found.threshold] + given.truncation[rows, found.size] * (transmit > 0)
    )


def test_curves_start_with_never_skipping_and_charge_what_a_skip_costs_later():
    tokens = table(random_world(1))
    plain = curves(tokens, SYSTEM)
    assert plain.thresholds[0] == NEVER_SKIP
    np.testing.assert_allclose(plain.transmit[:, 0], 1.0)
    np.testing.assert_allclose(plain.risk[:, 0], 0.0)
    np.testing.assert_allclose(plain.send_s, 0.1 + np.arange(1, 7) * 11 / 2000)
    assert plain.base_s == 0.01
    latency = Latency(
        slm_s=0.01,
        llm_s=0.1,
        round_trip_s=0.05,
        downlink_bit_per_s=100,
        llm_per_token_s=0.004,
        charge_resync=True,
    )
    full = curves(tokens, replace(SYSTEM, latency=latency))
    skip_s = 0.004 + 3 / 2000
    assert full.base_s == pytest.approx(0.01 + skip_s)
    np.testing.assert_allclose(full.send_s, plain.send_s + 0.05 + 3 / 100 - skip_s)


def test_a_skip_over_a_link_of_one_rate_pays_for_its_index_too():
    system = replace(SYSTEM, link=FixedRate(rate_bit_per_s=2e3))
    latency = replace(SYSTEM.latency, charge_resync=True)
    given = curves(table(random_world(1)), replace(system, latency=latency))
    assert given.base_s == pytest.approx(0.01 + 3 / 2e3)


def test_charging_truncation_on_transmission_is_no_bound_and_the_sound_accounting_is():
    """Charged only when a token is transmitted, TV_k is too little: k is chosen before the draft."""
    x = np.array([[0.9, 0.1 - 4e-6, 1e-6, 1e-6, 1e-6, 1e-6]])
    truncated = World(x=x, y=x, u=x).truncated(1)
    world = World(x=x, y=truncated, u=np.array([[0.1, 0.9, 0.9, 0.9, 0.9, 0.9]]))
    skip = (world.u <= 0.5).astype(float)
    true_bias = 0.5 * np.abs(output_law(x, truncated, skip=skip, verify_with=truncated) - truncated).sum()
    tokens = table(world)
    given = curves(tokens, SYSTEM)
    naive = separable_actions(given, tokens)
    skips = tokens.uncertainty <= 0.5
    charged = float(tokens.weight @ np.where(skips, naive.bias[:, 0], naive.bias[:, 1]))
    assert true_bias > 3 * charged
    sound = outcome("cu-hlm-exact", tokens, threshold=0.5, truncation_price_s=0.0)
    assert true_bias <= sound.bias + 1e-12
    assert naive.size[0, 0] == -1
    np.testing.assert_allclose(naive.latency_s[:, 0], 0.0)
    np.testing.assert_allclose(naive.latency_s[:, 1:], np.tile(given.send_s, (len(skips), 1)))
    assert naive.latency_s.shape == naive.bias.shape == naive.threshold.shape == naive.size.shape
    dead = replace(SYSTEM, link=replace(SYSTEM.link, snr=0.0))
    with pytest.raises(InfeasibleError, match=r"^the link is dead, nothing can be transmitted; raise snr_db"):
        separable_actions(curves(tokens, dead), tokens)


# The operating point


def brute_force(tokens, budget, price_s=0.0):
    """Fastest threshold and multiplier by trying a multiplier in every gap between breakpoints."""
    given = curves(tokens, SYSTEM)
    lost = given.truncation[:, :, None] - given.truncation[:, None, :]
    saved = np.broadcast_to(given.send_s[None, None, :] - given.send_s[None, :, None], lost.shape)
    usable = (saved > 0) & (lost > 1e-12)
    best = math.inf
    for j in range(len(given.thresholds)):
        transmit = given.transmit[:, j]
        rates = (transmit[:, None, None] * saved)[usable] / lost[usable]
        edges = np.unique(np.concatenate(([0.0, 1e9], rates.round(9))))
        risk = float(given.weight @ given.risk[:, j])
        for mu in np.concatenate(([0.0], 0.5 * (edges[:-1] + edges[1:]), [2e9])):
            size = np.argmin(transmit[:, None] * given.send_s + mu * given.truncation, axis=1)
            tv = given.truncation[np.arange(len(size)), size]
            latency = given.base_s + given.weight @ (transmit * given.send_s[size])
            truncation = given.weight @ (tv * (transmit > 0))
            within = risk + truncation <= budget.bias + 1e-12
            within &= risk <= (1.0 if budget.risk is None else budget.risk) + 1e-12
            within &= truncation <= (1.0 if budget.truncation is None else budget.truncation) + 1e-12
            if within:
                best = min(best, latency + price_s * (risk + truncation))
    return best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [Budget(bias=b) for b in BUDGETS])
def test_no_threshold_and_multiplier_beat_the_operating_point(seed, budget):
    tokens = table(random_world(seed, num_contexts=3))
    point = operating_point(tokens, SYSTEM, budget)
    assert point.latency_s == pytest.approx(brute_force(tokens, budget), rel=1e-12)
    assert point.bias <= budget.bias + 1e-9


@pytest.mark.parametrize(
    "budget",
    [
        Budget(bias=0.1, risk=0.02),
        Budget(bias=0.1, truncation=0.01),
        Budget(bias=0.1, risk=0.02, truncation=0.01),
        Budget(bias=0.1, risk=0.5),
        Budget(bias=0.1, risk=0.0),
        Budget(bias=0.1, truncation=0.0),
    ],
)
def test_parts_of_the_budget_that_are_fixed_by_hand_are_kept(budget):
    tokens = table(random_world(1, num_contexts=3))
    point = operating_point(tokens, SYSTEM, budget)
    assert point.latency_s == pytest.approx(brute_force(tokens, budget), rel=1e-12)
    assert point.risk <= (1.0 if budget.risk is None else budget.risk) + 1e-9
    assert point.truncation <= (1.0 if budget.truncation is None else budget.truncation) + 1e-9


@pytest.mark.parametrize("price_s", [0.01, 0.3, 3.0, 100.0])
def test_a_price_of_bias_is_weighed_against_latency(price_s):
    tokens, budget = table(random_world(2, num_contexts=3)), Budget(bias=0.3)
    point = operating_point(tokens, SYSTEM, budget, bias_price_s=price_s)
    assert point.latency_s + price_s * point.bias == pytest.approx(
        brute_force(tokens, budget, price_s), rel=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_row_of_the_operating_point_is_what_it_promises(seed, budget):
    tokens = table(random_world(seed))
    point = operating_point(tokens, SYSTEM, Budget(bias=budget))
    numbers = {"threshold": point.threshold, "truncation_price_s": point.truncation_price_s}
    row = outcome("cu-hlm-exact", tokens, **numbers)
    assert row.latency_s == pytest.approx(point.latency_s)
    assert row.bias == pytest.approx(point.bias, abs=1e-12)
    assert point.optimum_s <= point.latency_s * (1 + 1e-12)
    assert point.dual_s == pytest.approx(point.optimum_s, rel=1e-9)
    assert point.excess >= -1e-12


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [0.003, 0.02, 0.05, 0.1, 0.3, 1.0])
def test_the_best_randomised_policy_is_that_of_the_table_of_actions(seed, budget):
    tokens = table(random_world(seed, num_contexts=40))
    for snr in (0.3, 3.0, 300.0):
        system = replace(SYSTEM, link=replace(SYSTEM.link, snr=snr))
        point = operating_point(tokens, system, Budget(bias=budget))
        given = curves(tokens, system)
        _, solved = solve_curves(given, budget)
        assert point.multiplier_s == pytest.approx(solved.multiplier_s, rel=1e-9, abs=1e-15)
        assert point.optimum_s == pytest.approx(given.base_s + solved.latency_s, rel=1e-12)
        assert point.dual_s == pytest.approx(given.base_s + solved.dual_s, rel=1e-12)


@pytest.mark.parametrize("budget", [0.003, 0.05, 0.3, 1.0])
def test_many_contexts_are_solved_as_few_are_wherever_the_search_begins(budget, monkeypatch):
    tokens, found = table(random_world(5, num_contexts=1100)), []
    solved = solve_curves(curves(tokens, SYSTEM), budget)[1]
    of_a_sample = best_randomised._of_a_sample
    for factor in (1.0, 0.0, 1e-6, 0.5, 1.3, 1e6):
        monkeypatch.setattr(
            best_randomised, "_of_a_sample", lambda *given, factor=factor: factor * of_a_sample(*given)
        )
        found.append(operating_point(tokens, SYSTEM, Budget(bias=budget)))
    assert of_a_sample(*_problem(tokens), budget) == pytest.approx(solved.multiplier_s, rel=0.5, abs=1e-9)
    for point in found:
        assert point.multiplier_s == pytest.approx(solved.multiplier_s, rel=1e-12, abs=1e-15)
        assert point.optimum_s == pytest.approx(found[0].optimum_s, rel=1e-13)


def test_where_the_budget_is_slack_bias_has_no_price():
    point = operating_point(table(random_world(2, num_contexts=12)), SYSTEM, Budget(bias=1.0))
    assert point.multiplier_s == 0.0
    assert solve([[1.0, 0.0]], [[0.0, 0.1]], [1.0], 0.5).multiplier_s == 0.0


def test_steps_of_one_size_for_all_are_those_of_each_by_itself():
    send_s, step, context = np.array([3.0, 2.0, 0.5]), np.array([0, 1, 1, 0]), np.arange(4)
    alike = Sizes(rate_s=np.zeros((2, 4)), lost=np.zeros((3, 4)), send_s=send_s)
    each = replace(alike, send_s=np.repeat(send_s[:, None], 4, axis=1))
    assert (
        alike.saved_s(step, context).tolist() == each.saved_s(step, context).tolist() == [1.0, 1.5, 1.5, 1.0]
    )
    assert after(alike.send_s, step).tolist() == after(each.send_s, step).tolist() == [3.0, 2.0, 2.0, 3.0]
    chosen = np.array([2, 0])
    assert alike.only(chosen).send_s.shape == (3,)
    assert each.only(chosen).send_s.shape == (3, 2)


def _problem(tokens):
    """Contexts in the order of their vertices, and their weights."""
    given = curves(tokens, SYSTEM)
    vertices = best_randomised.Vertices.of(given.transmit, given.risk)
    every = best_randomised._Contexts(
        number=vertices.number,
        transmit=vertices.transmit,
        risk=vertices.risk,
        sizes=Sizes.of(Profile.of(given.truncation[vertices.context]), given.send_s),
    )
    return every, given.weight[vertices.context]


def test_what_no_part_can_do_is_found_of_all(monkeypatch):
    """A sample whose least bias exceeds the budget tells nothing, and neither does one without weight."""
    tokens = table(random_world(5, num_contexts=1100))
    every, share = _problem(tokens)
    assert best_randomised._of_a_sample(every, share, -1.0) == 0.0
    assert best_randomised._of_a_sample(every, np.where(np.arange(len(share)) % 16, share, 0.0), 0.05) == 0.0
    with pytest.raises(InfeasibleError, match="the least bias that any policy reaches"):
        search(best_randomised._Policies(every, share), -1.0)


def test_what_is_kept_with_the_tokens_depends_on_no_weight_and_no_link():
    tokens = table(random_world(2, num_contexts=12))
    weight = np.random.default_rng(0).dirichlet(np.ones(len(tokens)))
    for system in (SYSTEM, replace(SYSTEM, link=replace(SYSTEM.link, snr=30.0))):
        for again in (tokens, tokens.weighted(weight), tokens):
            fresh = replace(again)  # keeps nothing
            assert operating_point(again, system, Budget(bias=0.1)) == operating_point(
                fresh, system, Budget(bias=0.1)
            )


def test_only_the_last_few_of_a_name_are_kept():
    tokens, found = table(random_world(2)), []
    for number in (*range(10), 9, 0):
        assert tokens.once("number", lambda: found.append(number) or number, number) == number  # noqa: B023
    assert found == [*range(10), 0]


@pytest.mark.parametrize("kind", ["printed", "enumerative", "best"])
def test_sizes_off_the_hull_are_left_out_of_the_chain(kind):
    tokens = table(random_world(3, num_contexts=20))
    system = replace(SYSTEM, codec=replace(SYSTEM.codec, kind=kind))
    given = curves(tokens, system)
    sizes = Sizes.of(Profile.of(given.truncation), given.send_s)
    for price_s in (0.0, 0.01, 0.1, 1.0, 1e6):
        steps = sizes.steps(np.full(len(tokens), price_s))
        cost = after(sizes.send_s, steps) + price_s * after(sizes.lost, steps)
        np.testing.assert_allclose(
            cost, np.min(given.send_s + price_s * given.truncation, axis=1), rtol=1e-12
        )


@pytest.mark.parametrize("shape", ["convex", "bent", "flat at the end"])
@pytest.mark.parametrize("num_sizes", [1, 2, 3, 7])
def test_the_steps_at_a_price_lead_to_the_size_of_least_cost(shape, num_sizes):
    rng = np.random.default_rng([num_sizes, len(shape)])
    paid = 0.01 + rng.random((30, num_sizes - 1)) / 10  # by a step to the next smaller size
    if shape == "convex":
        paid.sort(axis=1)
    if shape == "flat at the end":
        paid[::3, :1] = 0.0
    lost = np.cumsum(np.concatenate((np.full((30, 1), 0.02), paid), axis=1), axis=1)[:, ::-1]
    send_s = 0.1 + 0.03 * np.arange(num_sizes)
    profile = Profile.of(lost)
    rates = -np.diff(send_s[::-1])[:, None] / np.maximum(paid.T, 1e-12)
    every = bool(np.all(paid > 0.0) and np.all(np.diff(rates, axis=0) < 0.0))
    assert profile.convex(-np.diff(send_s[::-1])) == every
    sizes = Sizes.of(profile, send_s)
    for price_s in (0.0, 0.2, 0.5, 1.0, 2.0, 1e6):
        steps = sizes.steps(np.full(30, price_s))
        cost = after(sizes.send_s, steps) + price_s * after(sizes.lost, steps)
        np.testing.assert_allclose(cost, np.min(send_s + price_s * lost, axis=1), rtol=1e-12)


def test_the_true_bias_of_the_operating_point_is_within_the_budget():
    for seed in range(10):
        world = random_world(seed)
        point = operating_point(table(world), SYSTEM, Budget(bias=0.1), bound=False)
        chance = np.sum(world.x * (world.u > point.threshold), axis=1, keepdims=True)
        cost = chance * np.arange(1, 7) * 11 / 2000 + point.truncation_price_s * world.tv_profile()
        received = np.stack([world.truncated(k + 1)[c] for c, k in enumerate(np.argmin(cost, axis=1))])
        skip = (world.u <= point.threshold).astype(float)
        law = output_law(world.x, world.y, skip=skip, verify_with=received)
        assert 0.5 * np.abs(law - world.y).sum(axis=1).mean() <= 0.1 + 1e-12


def test_a_recording_must_meet_the_budget_on_its_own_drafts_too():
    tokens = recording(random_world(3), num_texts=2, length=30, seed=5)
    for budget in (0.01, 0.03, 0.08):
        point = operating_point(tokens, SYSTEM, Budget(bias=budget), bound=False)
        drafts = float(np.mean(tokens.rejection * (tokens.uncertainty <= point.threshold)))
        assert drafts + point.truncation <= budget + 1e-12
        assert point.risk >= drafts - 1e-12


@pytest.mark.parametrize("few", [1, 20])
def test_steps_that_are_too_many_to_sort_are_first_enclosed_by_two_prices(few, monkeypatch):
    tokens = table(random_world(5, num_contexts=40))
    for budget in BUDGETS:
        for price_s in (0.0, 0.3):
            monkeypatch.setattr(operating, "_SORTED", 10**6)
            whole = operating_point(tokens, SYSTEM, Budget(bias=budget), bias_price_s=price_s, bound=False)
            monkeypatch.setattr(operating, "_SORTED", few)
            halved = operating_point(tokens, SYSTEM, Budget(bias=budget), bias_price_s=price_s, bound=False)
            assert halved == whole
            assert whole.optimum_s is whole.multiplier_s is whole.dual_s is None


def test_which_budget_binds():
    tokens = table(random_world(1))
    assert operating_point(tokens, SYSTEM, Budget(bias=0.05)).binds == "bias"
    assert operating_point(tokens, SYSTEM, Budget(bias=1.0)).binds == "none"
    assert operating_point(tokens, SYSTEM, Budget(bias=1.0, truncation=0.001, risk=0.0)).binds == "truncation"
    wide = Budget(bias=1.0, risk=0.01)
    point = operating_point(tokens, SYSTEM, wide)
    assert point.binds == "risk"
    assert point.truncation_price_s == 0.0


def test_a_budget_of_zero_sends_everything_and_of_one_nothing():
    tokens = table(random_world(1))
    strict, loose = (operating_point(tokens, SYSTEM, Budget(bias=b)) for b in (0.0, 1.0))
    assert strict.bias == pytest.approx(0.0, abs=1e-12)
    assert strict.latency_s == pytest.approx(0.01 + 0.1 + 55 / 2000)  # five entries give the sixth away
    assert loose.latency_s == pytest.approx(0.01)
    assert loose.threshold == 1.0


def test_without_skippable_tokens_only_truncation_saves():
    world = random_world(1)
    stubborn = World(x=world.x, y=world.y, u=np.full(world.shape, 0.99))
    point = operating_point(table(stubborn), SYSTEM, Budget(bias=0.05))
    assert outcome("u-hlm", table(stubborn), threshold=point.threshold).skip_rate == 0
    assert 0.0 < point.truncation <= 0.05


def test_over_a_dead_link_only_skipping_everything_is_possible():
    dead = replace(SYSTEM, link=replace(SYSTEM.link, snr=0.0))
    tokens = table(random_world(1))
    point = operating_point(tokens, dead, Budget(bias=1.0))
    assert (point.latency_s, point.optimum_s, point.threshold) == (0.01, None, 1.0)
    with pytest.raises(InfeasibleError, match=r"link is dead .* raise snr_db or bias_budget"):
        operating_point(tokens, dead, Budget(bias=0.05))
    with pytest.raises(InfeasibleError, match="raise snr_db"):
        actions(curves(tokens, dead))


def test_a_missing_profile_is_named():
    law = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.5]))
    with pytest.raises(MissingInputError, match="k_grid"):
        operating_point(law, SYSTEM, Budget(bias=0.05))


@pytest.mark.parametrize("snr", [0.1, 1.0, 10.0, 100.0])
def test_more_bias_and_more_power_never_slow_the_optimum(snr):
    tokens = table(random_world(4))
    system = replace(SYSTEM, link=replace(SYSTEM.link, snr=snr))
    latencies = [operating_point(tokens, system, Budget(bias=b)).latency_s for b in BUDGETS]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(latencies))
    better = replace(SYSTEM, link=replace(SYSTEM.link, snr=2 * snr))
    assert operating_point(tokens, better, Budget(bias=0.05)).latency_s <= latencies[3] + 1e-12


def test_charged_quantisation_needs_more_bits_or_more_bias():
    tokens = table(random_world(1))
    extra = quantisation_profile(tokens, SYSTEM.codec)
    np.testing.assert_allclose(extra, np.minimum(np.arange(2, 8), 6) / (4 * 255))
    ideal = operating_point(tokens, SYSTEM, Budget(bias=0.05))
    charged = operating_point(tokens, SYSTEM, Budget(bias=0.05), quantisation_tv=extra)
    assert charged.latency_s >= ideal.latency_s - 1e-12
    assert charged.bias <= 0.05 + 1e-12
    with pytest.raises(InfeasibleError, match=r"^no threshold meets .* quantisation alone exceeds"):
        operating_point(tokens, SYSTEM, Budget(bias=0.001), quantisation_tv=extra)


# The wider problem


CHANNELS = {
    "slow": (Link(bandwidth_hz=300.0, snr=3.0), 0.1, 0.0),
    "medium": (Link(bandwidth_hz=3e3, snr=3.0), 0.02, 0.0),
    "fast": (Link(bandwidth_hz=3e4, snr=3.0), 0.05, 0.02),
    "exact": (Link(bandwidth_hz=1e3, snr=3.0), 0.0, 0.0),
    "loose": (Link(bandwidth_hz=1e3, snr=3.0), 1.0, 0.0),
    "arq": (Link(bandwidth_hz=1e3, snr=10.0, fading="rayleigh-arq"), 0.1, 0.1),
    "outage": (Link(bandwidth_hz=1e4, snr=30.0, fading="rayleigh-outage", outage=0.1), 0.15, 0.0),
    "short": (Link(bandwidth_hz=1e4, snr=1.0, fading="short-packet"), 0.2, 0.5),
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_grid_point_beats_the_joint_optimum(channel):
    """Whatever the scheme, threshold, size, bits, codec and draft count, and scheme by scheme."""
    link, budget, round_trip_s = CHANNELS[channel]
    tokens = table(random_world(1 + len(channel) % 3, num_contexts=3))
    latency = replace(SYSTEM.latency, round_trip_s=round_trip_s)
    system = replace(SYSTEM, link=link, latency=latency)
    joint = joint_optimum(tokens, system, Budget(bias=budget))
    latencies = [candidate.outcome.latency_s for candidate in joint.candidates]
    assert latencies == sorted(latencies)
    assert all(candidate.outcome.bias <= budget + 1e-9 for candidate in joint.candidates)
    of_scheme = {candidate.outcome.name: candidate.outcome for candidate in joint.candidates}
    seen = set()
    for row, comparable in _grid(tokens, system):
        if row.bias is None or row.bias > budget:
            continue
        seen.add(row.name)
        assert row.latency_s >= joint.best.outcome.latency_s * (1 - 1e-9), row
        if comparable:
            assert row.latency_s >= of_scheme[row.name].latency_s * (1 - 1e-9), row
    assert seen <= set(of_scheme)
    lossy = {name for name in SCHEMES if not SCHEMES[name].verification.exact}  # typical is never within
    assert {name for name in SCHEMES if SCHEMES[name].drafts_several} - lossy <= seen


@pytest.mark.parametrize("kind", ["printed", "best"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_joint_optimum_is_never_slower_than_the_plain_one(channel, kind):
    """Nor is CU-HLM with either rule for its sizes, where quantisation is as little charged as there."""
    link, budget, round_trip_s = CHANNELS[channel]
    tokens = recording(random_world(2, num_contexts=4), num_texts=3, length=20, seed=3)
    system = replace(
        SYSTEM,
        link=link,
        latency=replace(SYSTEM.latency, round_trip_s=round_trip_s),
        codec=replace(SYSTEM.codec, kind=kind, prob_bits=4),
    )
    question = Question(line=Line(1.0, 0.0), tokens=tokens, system=system, budget=Budget(bias=budget))
    plain = question.answer(bound=False).operating
    joint = joint_optimum(tokens, system, question.budget, charge_quantisation=False, max_drafts=4)
    assert joint.best.outcome.latency_s <= plain.latency_s * (1 + 1e-12)
    of_scheme = {candidate.outcome.name: candidate.outcome for candidate in joint.candidates}
    assert of_scheme["cu-hlm-exact"].latency_s <= plain.latency_s * (1 + 1e-12)
    for threshold, size in itertools.product((NEVER_SKIP, *THRESHOLDS), tokens.k_grid):
        row = outcome("cu-hlm-offline", tokens, system, threshold=threshold, offline_k=size)
        if row.bias <= budget:
            assert of_scheme["cu-hlm-offline"].latency_s <= row.latency_s * (1 + 1e-12)


def test_free_quantisation_only_adds_settings():
    tokens, budget = table(random_world(1)), Budget(bias=0.02)
    system = replace(SYSTEM, codec=replace(SYSTEM.codec, prob_bits=2))
    free, charged = (
        {
            candidate.outcome.name: candidate
            for candidate in joint_optimum(
                tokens, system, budget, charge_quantisation=charge, max_drafts=2
            ).candidates
        }
        for charge in (False, True)
    )
    assert set(free) >= set(charged)
    plain = joint_optimum(tokens, system, budget, max_drafts=2)  # charges, unless told not to
    assert {one.outcome.name: one.outcome for one in plain.candidates} == {
        name: one.outcome for name, one in charged.items()
    }
    for name, candidate in charged.items():
        assert free[name].outcome.latency_s <= candidate.outcome.latency_s
    assert free["cu-hlm-exact"].codec.prob_bits == 2
    assert free["cu-hlm-exact"].outcome.latency_s < charged["cu-hlm-exact"].outcome.latency_s


def test_the_joint_optimum_holds_every_scheme_whose_bias_is_known():
    joint = joint_optimum(table(random_world(1)), SYSTEM, Budget(bias=1.0))
    assert {candidate.outcome.name for candidate in joint.candidates} == set(SCHEMES) - {"cu-hlm-online"}
    for candidate in joint.candidates:
        assert candidate.scheme.name == candidate.outcome.name
        assert set(candidate.chosen) <= set(candidate.scheme.numbers)
    chosen = {candidate.outcome.name: candidate.chosen for candidate in joint.candidates}
    assert chosen["cu-hlm-exact"] == ("threshold", "truncation_price_s")
    assert chosen["cu-hlm-offline"] == ("threshold", "offline_k")
    assert chosen["rand-hlm"] == ("skip_rate",)
    assert chosen["typical"] == ("typical_threshold", "num_drafts")
    assert chosen["c-sqs"] == ("conformal_target", "lattice_levels", "num_drafts")
    assert chosen["verify-on-sync"] == ("threshold", "bonus")
    assert chosen["heuristic"] == chosen["hlm"] == ()


def test_the_best_scheme_with_a_model_on_the_device_depends_on_the_channel():
    def winner(seed, link, budget, slm_s):
        system = replace(SYSTEM, link=link, latency=Latency(slm_s=slm_s, llm_s=0.1))
        found = joint_optimum(table(random_world(seed)), system, Budget(bias=budget)).candidates
        names = (one.outcome.name for one in found)  # the fastest first
        return next(name for name in names if not SCHEMES[name].verification.on_server)

    dead, slow, fast = (Link(bandwidth_hz=w, snr=3.0) for w in (1e-3, 300.0, 1e5))
    found = {
        winner(1, dead, 0.0, 0.01),
        winner(1, slow, 1.0, 0.01),
        winner(1, slow, 0.05, 0.01),
        winner(1, fast, 0.05, 0.001),
    }
    assert len(found) >= 3


@pytest.mark.parametrize("bandwidth_hz", [100.0, 1e3, 1e5])
def test_no_other_number_of_bits_suits_the_exact_rule_better(bandwidth_hz):
    tokens, budget = table(random_world(1)), Budget(bias=0.05)
    system = replace(
        SYSTEM,
        link=replace(SYSTEM.link, bandwidth_hz=bandwidth_hz),
        codec=replace(SYSTEM.codec, kind="best"),
    )
    latencies = []
    for bits in range(1, 33):
        at = replace(system, codec=replace(system.codec, prob_bits=bits))
        extra = quantisation_profile(tokens, at.codec)
        with contextlib.suppress(InfeasibleError):
            latencies.append(
                operating_point(tokens, at, budget, quantisation_tv=extra, bound=False).latency_s
            )
    found = {one.outcome.name: one for one in joint_optimum(tokens, system, budget).candidates}
    assert found["cu-hlm-exact"].outcome.latency_s == pytest.approx(min(latencies), rel=1e-12)


@pytest.mark.parametrize("llm_s", [0.02, 0.1, 0.5])
def test_no_other_draft_count_is_faster_on_a_recording(llm_s):
    world = random_world(6, num_contexts=20)
    close = World(x=world.x, y=0.9 * world.x + 0.1 * world.y, u=world.u)
    tokens = recording(close, num_texts=3, length=40, seed=4)
    system = replace(SYSTEM, latency=Latency(slm_s=0.01, llm_s=llm_s))
    found = {
        one.outcome.name: one for one in joint_optimum(tokens, system, Budget(), max_drafts=12).candidates
    }
    counts = range(1, 13)
    for name in ("dsd", "dssd"):
        every = [outcome(name, tokens, system, num_drafts=count) for count in counts]
        assert found[name].outcome.latency_s <= min(row.latency_s for row in every) + 1e-12
    every = [
        outcome("confidence-stop", tokens, system, confidence=confidence, max_drafts=count)
        for confidence, count in itertools.product((0.05, 0.3, 0.5, 0.7, 0.95), counts)
    ]
    assert found["confidence-stop"].outcome.latency_s <= min(row.latency_s for row in every) + 1e-12


@pytest.mark.parametrize("name", ["risk", "truncation"])
def test_the_joint_optimum_keeps_the_parts_of_the_budget(name):
    budget = Budget(bias=1.0, **{name: 0.01})
    for candidate in joint_optimum(table(random_world(1)), SYSTEM, budget).candidates:
        part = {"risk": candidate.outcome.risk, "truncation": candidate.outcome.truncation_bias}[name]
        assert part <= 0.01 + 1e-9


def test_a_budget_without_truncation_leaves_the_sizes_that_lose_nothing():
    tokens, budget = table(random_world(1)), Budget(bias=0.1, truncation=0.0)
    joint = joint_optimum(tokens, SYSTEM, budget, charge_quantisation=False, max_drafts=1)
    found = {one.outcome.name: one for one in joint.candidates}
    assert found["cu-hlm-offline"].scheme.payload.offline_k == 5  # five entries give the sixth away
    for name in ("cu-hlm-offline", "cu-hlm-exact"):
        assert found[name].outcome.truncation_bias == pytest.approx(0.0, abs=1e-12)


def _grid(tokens, system):
    """Outcomes, and whether the setting is one that the joint search chooses among."""

    def at(name, given=system, recorded=tokens, **numbers):
        return outcome(name, recorded, given, **numbers)

    for name in ("slm", "llm", "hlm"):
        yield at(name), True
    for rate in (0.0, 0.1, 0.5, 1.0):
        yield at("rand-hlm", skip_rate=rate), True
    thresholds = (NEVER_SKIP, *THRESHOLDS.tolist())
    for threshold in thresholds:
        yield at("u-hlm", threshold=threshold), True
        yield at("floor", threshold=threshold), True
    for kind, bits in itertools.product(("printed", "enumerative"), (4, 8, 12)):
        given = replace(system, codec=replace(system.codec, kind=kind, prob_bits=bits))
        extra = quantisation_profile(tokens, given.codec)
        charged = replace(tokens, tv_profile=np.minimum(tokens.tv_profile + extra, 1.0))
        for threshold in thresholds[::2]:
            for theta in (0.02, 0.1):
                yield at("cu-hlm-exact", given, charged, threshold=threshold, truncation_budget=theta), False
            for price in (0.0, 0.01, 0.1, 1.0):
                yield at("cu-hlm-exact", given, charged, threshold=threshold, truncation_price_s=price), True
            for size in (1, 2, 4, 6):
                yield at("cu-hlm-offline", given, charged, threshold=threshold, offline_k=size), True
    for count in (1, 2, 3, 5, 8):
        for name, row in SCHEMES.items():
            if row.numbers.keys() == {"num_drafts", "adds_bonus"}:
                yield at(name, num_drafts=count), True
        for size in tokens.coarse_k_grid[::2].tolist():
            for name in ("tk-slt", "tslt"):
                yield at(name, num_drafts=count, num_candidates=size), True
            yield at("k-sqs", num_drafts=count, num_candidates=size, lattice_levels=63), True
        yield at("c-sqs", num_drafts=count, conformal_target=0.1, lattice_levels=63), True
        for name in ("specstop", "asymspec", "block-verification"):
            yield at(name, num_drafts=count), True
        yield at("q-s", num_drafts=count, lattice_levels=63), True
        for greedy in (False, True):
            yield at("ids-only", num_drafts=count, greedy=greedy), True
        for level in (1.0, 0.5, 0.1):
            yield at("lenience", num_drafts=count, lenience=level), True
            yield at("typical", num_drafts=count, typical_threshold=level), True
        for price in (-2.0, -0.5, 0.0, 1.0):
            yield at("cascade", num_drafts=count, deferral_price=price), True
        for confidence in (0.2, 0.5, 0.8):
            yield at("confidence-stop", confidence=confidence, max_drafts=count), True
    yield at("heuristic"), True
    for threshold, bonus in itertools.product(thresholds[:-2], (False, True)):
        yield at("verify-on-sync", threshold=threshold, bonus=bonus), True
        yield at("kept-law-exact", threshold=threshold), True
        yield at("kept-law", threshold=threshold), True


def test_the_joint_optimum_needs_something_that_works():
    dead = replace(SYSTEM, link=replace(SYSTEM.link, snr=0.0))
    joint = joint_optimum(table(random_world(1)), dead, Budget(bias=0.05))
    assert joint.best.outcome.uplink_bit_per_token == 0.0
    assert joint_optimum(table(random_world(1)), dead, Budget(bias=1.0)).best.outcome.name == "slm"


def test_the_uplink_of_the_world_is_slow_enough_to_matter():
    assert packet_latency_s(SYSTEM.link, 66) > 0.03
