# sympy annotates many results as Basic, so the type checker cannot follow its arithmetic.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false
"""The joint optimum: a knapsack, its multiplier, and what bias must be charged for."""

import sympy as sp

from derivations.rules import Coefficients, Combine, Evaluate, Orderings, Solve, SumOver
from derivations.statement import Builder, Statement, at, eq, le, lt, step
from derivations.verification import bias_bound
from derivations.vocabulary import over, pos, s, size, token, total, x, xh, y

cost, loss, weight = sp.symbols("tau beta w", nonnegative=True)
price = sp.Symbol("lambda", positive=True)
budget = sp.Symbol("epsilon", positive=True)
contexts = sp.Symbol("N", integer=True, positive=True)
context = sp.Symbol("n", integer=True, positive=True)


def weak_duality() -> Statement:
    """Show that every multiplier gives a lower bound on the latency."""
    share = sp.Symbol("pi", nonnegative=True)
    least = sp.Symbol("m", real=True)
    P, T, B = (sp.IndexedBase(name) for name in ("pi", "tau", "beta"))
    best = le(least, cost + price * loss)
    line = le(share * least, share * cost + price * share * loss)
    unit = eq(total(P[token]), 1)
    one_latency, one_bias = total(P[token] * T[token]), total(P[token] * B[token])
    summed = le(least, one_latency + price * one_bias)
    lat, bias = sp.symbols("t b", real=True)
    lat_is, bias_is = eq(lat, one_latency), eq(bias, one_bias)
    named = le(least, lat + price * bias)
    weighted = le(weight * least, weight * lat + price * weight * bias)
    W, M, L, D = (sp.IndexedBase(name) for name in ("w", "m", "t", "b"))

    def over_contexts(expression: sp.Expr) -> sp.Sum:
        return sp.Sum(expression, (context, 1, contexts))

    dual = over_contexts(W[context] * M[context])
    latency, spent = over_contexts(W[context] * L[context]), over_contexts(W[context] * D[context])
    everything = le(dual, latency + price * spent)
    within = le(spent, budget)
    claim = le(dual - price * budget, latency)
    return Statement(
        name="optimise.weak_duality",
        title="Every multiplier is a certificate",
        source="here (Lagrange)",
        status="new",
        functions=("optimise.solve_lp", "optimise.solve"),
        tests=(
            "test_every_multiplier_bounds_every_policy",
            "test_the_solver_certifies_the_closed_form",
        ),
        assumptions=(
            "In context n of N action i costs latency tau and bias beta and is taken with probability pi; m "
            "is the least tau + lambda beta of that context, lambda > 0; weights w >= 0. The policy is any "
            "one of mean bias at most epsilon.",
        ),
        assumed=(best, unit, lat_is, bias_is, within),
        claims=(claim,),
        steps=(
            step("No action beats the least one; times its probability:", line, Combine((share,)), best),
            step(
                "Sum over the actions.",
                summed,
                SumOver(token, size, ((share, P[token]), (cost, T[token]), (loss, B[token]))),
                line,
                unit,
            ),
            step(
                "Name the mean latency and bias of the context",
                named,
                Combine((1, 1, price)),
                summed,
                lat_is,
                bias_is,
            ),
            step("and weight it.", weighted, Combine((weight,)), named),
            step(
                "Sum over the contexts.",
                everything,
                SumOver(
                    context,
                    contexts,
                    ((weight, W[context]), (least, M[context]), (lat, L[context]), (bias, D[context])),
                ),
                weighted,
            ),
            step(
                "The policy spends at most epsilon: a lower bound on its latency.",
                claim,
                Combine((1, price)),
                everything,
                within,
            ),
        ),
    )


def lagrangian() -> Statement:
    """Derive the optimal mixture at the breakpoint, its zero gap, and what the multiplier buys."""
    t_in, t_out, b_in, width = sp.symbols("t_1 t_2 b_1 d", positive=True)
    b_out = b_in + width
    slope = eq(t_in + price * b_in, t_out + price * b_out)
    found = eq(price, (t_in - t_out) / width)
    share = sp.Symbol("pi", real=True)
    spends = eq((1 - share) * b_in + share * b_out, budget)
    mixed = eq(share, (budget - b_in) / width)
    slack = eq(price * (budget - (1 - share) * b_in - share * b_out), 0)
    latency = (1 - share) * t_in + share * t_out
    latency_value = sp.Symbol("T", real=True)
    latency_is = eq(latency_value, latency)
    dual = t_in + price * b_in - price * budget
    no_gap = eq(latency_value, dual.subs(price, (t_in - t_out) / width))
    left, right = le(b_in, budget), le(budget, b_out)
    low, high = le(0, (budget - b_in) / width), le((budget - b_in) / width, 1)
    optimum = t_in - (budget - b_in) * (t_in - t_out) / width
    worth = eq(sp.Derivative(optimum, budget), -(t_in - t_out) / width)
    dual_slope = eq(sp.Derivative(dual, price), b_in - budget)
    return Statement(
        name="optimise.lagrangian",
        title="The optimum mixes two policies of one multiplier",
        source="here (Lagrange)",
        status="new",
        functions=("optimise.solve",),
        tests=(
            "test_two_actions_mix_as_derived",
            "test_no_deterministic_policy_within_the_budget_is_faster",
        ),
        assumptions=(
            "Policies 1 and 2 both take a cheapest tau + lambda beta in every context; 1 has latency t_1 and "
            "bias b_1 <= epsilon, 2 has t_2 and b_2 = b_1 + d >= epsilon, d > 0. T is the latency of the "
            "mixture that takes 2 with probability pi.",
        ),
        assumed=(slope, spends, latency_is, left, right),
        claims=(found, mixed, slack, low, high, no_gap, worth),
        steps=(
            step("Both have the same Lagrangian, so the multiplier is", found, Solve(price), slope),
            step("Spend the budget.", mixed, Solve(share), spends),
            step(
                "Complementary slackness: the multiplier times what is left of the budget is 0.",
                slack,
                Combine((price,)),
                spends,
            ),
            step("The probability is not negative", low, Combine((1 / width,)), left),
            step("and not above 1.", high, Combine((1 / width,)), right),
            step(
                "The mixture's latency equals the lower bound of weak duality: it is optimal.",
                no_gap,
                Evaluate(),
                latency_is,
                mixed,
            ),
            step("One more unit of budget saves lambda seconds.", worth, Evaluate()),
            step(
                "The dual's slope in lambda is bias minus budget: bisection finds its maximum.",
                dual_slope,
                Evaluate(),
            ),
        ),
    )


def kkt() -> Statement:
    """Write the optimality conditions of section 12 as rules for one token."""
    send, lost, slope, spare = sp.symbols("c TV a d", positive=True)
    intercept, u = sp.symbols("b u", real=True)
    keep = price * (slope * u + intercept)
    sends = send + price * lost
    edge = eq(keep - sends, 0)
    claim = eq(u, (send / price + lost - intercept) / slope)
    below = eq((keep - sends).subs(u, claim.rhs - spare), -price * slope * spare)
    above = eq((keep - sends).subs(u, claim.rhs + spare), price * slope * spare)
    small, large, gained, paid = sp.symbols("tau_1 tau_2 TV_1 TV_2", positive=True)
    equal = eq(small + price * (gained + paid) - large - price * paid, 0)
    turn = eq(price, (large - small) / gained)
    return Statement(
        name="optimise.kkt",
        title="Conditions of the joint optimum, token by token",
        source="here",
        status="new",
        functions=("optimise.solve", "optimise.separable_actions"),
        tests=(
            "test_the_optimum_skips_up_to_the_derived_edge",
            "test_the_multiplier_is_the_price_of_the_budget",
        ),
        assumptions=(
            "Given lambda, a token skips at a cost lambda (a u + b) or transmits k entries at c + lambda "
            "TV_k, c = tau_up(k) + tau_LLM (section 12 as written). Sizes k_1 < k_2 with uplinks tau_1 < "
            "tau_2 and truncation TV_1 + TV_2 and TV_2.",
        ),
        assumed=(edge, equal),
        claims=(claim, below, above, turn),
        steps=(
            step("Both cost the same at", claim, Solve(u), edge),
            step("Less uncertain tokens skip,", below, Evaluate()),
            step(
                "more uncertain ones transmit: the threshold of §6.4 with the price of truncation added.",
                above,
                Evaluate(),
            ),
            step("Among sizes the larger one wins once the price of bias exceeds", turn, Solve(price), equal),
        ),
    )


def hull() -> Statement:
    """Show that an action above the chord of two others is never needed."""
    t_1, t_2, b_1, b_2, share, above = sp.symbols("t_1 t_2 b_1 b_2 pi e", nonnegative=True)
    t_m, b_m = sp.symbols("t_m b_m", nonnegative=True)
    first, second, middle = sp.symbols("L_1 L_2 L_m", nonnegative=True)
    unit = le(share, 1)
    bias_is = eq(b_m, (1 - share) * b_1 + share * b_2)
    latency_is = eq(t_m, (1 - share) * t_1 + share * t_2 + above)
    first_is, second_is, middle_is = (
        eq(first, t_1 + price * b_1),
        eq(second, t_2 + price * b_2),
        eq(middle, t_m + price * b_m),
    )
    chord = eq(middle, (1 - share) * first + share * second + above)
    lowest = le(sp.Min(first, second), (1 - share) * first + share * second + above)
    claim = le(sp.Min(first, second), middle)
    return Statement(
        name="optimise.hull",
        title="Only vertices of the hull can win",
        source="here",
        status="new",
        functions=("optimise.lower_hull", "optimise.actions"),
        tests=(
            "test_some_vertex_of_the_hull_is_as_good_as_any_action",
            "test_the_hull_keeps_the_best_action_for_every_multiplier",
        ),
        assumptions=(
            "Actions 1, 2 and m have latencies t_1, t_2, t_m and biases b_1, b_2, b_m. Action m has the bias "
            "of a mixture of 1 and 2, with share pi of 2, and at least its latency (e >= 0). L_1, L_2, L_m: "
            "latency + lambda bias.",
        ),
        assumed=(unit, bias_is, latency_is, first_is, second_is, middle_is),
        claims=(claim,),
        steps=(
            step(
                "Its Lagrangian lies on or above the chord,",
                chord,
                Evaluate(),
                first_is,
                second_is,
                middle_is,
                latency_is,
                bias_is,
            ),
            step("and a mean is at least the smaller value,", lowest, Orderings((first, second)), unit),
            step("so for every multiplier one of the two is as good.", claim, Combine(), lowest, chord),
        ),
    )


def separable_counterexample() -> Statement:
    """Show that charging truncation only when a token is transmitted is not a bound."""
    top, second = sp.Rational(9, 10), sp.Rational(1, 10)
    x_s, hat_s, y_s, s_s = (sp.symbols(f"{name}_1:4", real=True) for name in ("x", "xhat", "y", "s"))
    rebuilt = (top, second / 2, second / 2)
    case = dict(zip((*x_s, *hat_s, *y_s), (top, second, 0, *rebuilt, *rebuilt), strict=True))
    case.update(zip(s_s, (1, 0, 0), strict=True))
    four = list(zip(x_s, hat_s, y_s, s_s, strict=True))
    tv = eq(at(sp.Add(*(pos(a - h) for a, h, _, _ in four)), case), sp.Rational(1, 20))
    refusal = sp.Add(*(a * (1 - s) * (1 - sp.Min(1, b / h)) for a, h, b, s in four))
    refused = eq(at(refusal, case), 0)
    risk = eq(at(sp.Add(*(s * pos(a - b) for a, _, b, s in four)), case), 0)
    output = [a * s + a * (1 - s) * sp.Min(1, b / h) for a, h, b, s in four]
    bias_at = at(sp.Add(*(pos(a - b) for a, b in zip(output, y_s, strict=True))), case)
    bias = eq(bias_at, sp.Rational(1, 20))
    sent = eq(at(sp.Add(*(a * (1 - s) for a, _, _, s in four)), case), sp.Rational(1, 10))
    chance, lost = sp.symbols("P_tx TV_1", positive=True)
    charge = at(chance * lost, {chance: second, lost: sp.Rational(1, 20)})
    charged = eq(charge, sp.Rational(1, 200))
    claim = lt(charge, bias_at)
    others = sp.Symbol("n", integer=True, positive=True)
    general = eq(second - second / others, second * (others - 1) / others)
    limit = eq(sp.Limit(second * (others - 1) / others, others, sp.oo, "-"), second)
    return Statement(
        name="optimise.separable_counterexample",
        title="Truncation is due in every context that may transmit",
        source="here",
        status="departs",
        functions=("optimise.separable_actions",),
        tests=(
            "test_truncation_is_due_in_full_where_a_context_may_transmit",
            "test_section_12_as_written_is_no_bound_and_the_sound_accounting_is",
        ),
        assumptions=(
            "Three tokens, x = (9/10, 1/10, 0), k = 1, so xhat = (9/10, 1/20, 1/20); y = xhat; the device "
            "skips the first token and no other: s = (1, 0, 0). P_tx is the chance of a transmission.",
        ),
        claims=(bias, charged, claim),
        steps=(
            step("Truncation moves", tv, Evaluate()),
            step("The server rejects nothing,", refused, Evaluate()),
            step("and the risk is 0,", risk, Evaluate()),
            step("but the output is x and not y: its bias is all of TV_1.", bias, Evaluate()),
            step("A tenth of the tokens is transmitted,", sent, Evaluate()),
            step("so §12 as written charges", charged, Evaluate()),
            step("which is too little.", claim, Evaluate()),
            step("With n unlikely tokens instead of 2, TV_1 is", general, Evaluate()),
            step("which tends to a tenth.", limit, Evaluate()),
        ),
        departs="THEORY §12 charges lambda TV_k only to tokens that are transmitted. k is chosen from the "
        "context before the draft, and the bound of §8.2 charges TV_k in full: here the bias is 1/20 and "
        "§12 charges 1/200.",
    )


def sound_accounting() -> Statement:
    """State the accounting that is a bound."""
    lemma = bias_bound()
    (bound,) = lemma.claims
    tv, risk = sp.symbols("TV_k R", nonnegative=True)
    risk_is = eq(risk, over(s * pos(x - y)))
    tv_is = eq(tv, over(pos(x - xh)))
    sends = le(bound.lhs, risk + tv)
    kept = sp.Symbol("R_1", nonnegative=True)
    kept_is = eq(kept, over(pos(x - y)))
    output = eq(at(x * s + x * (1 - s) * sp.Min(1, y / xh), {s: 1}), x)
    never = eq(over(pos(x - y)), kept)
    return Statement(
        name="optimise.sound_accounting",
        title="Bias that is charged to a context",
        source="here",
        status="departs",
        functions=("optimise.actions", "optimise.operating_point"),
        tests=(
            "test_truncation_is_due_in_full_where_a_context_may_transmit",
            "test_the_true_bias_of_the_operating_point_is_within_the_budget",
        ),
        assumptions=(
            "As in the lemma, with output law q; R is the risk of the skip rule in this context, TV_k = "
            "TV(x, xhat).",
            "A context that may transmit is charged R + TV_k, one that never does (s = 1 for every token) "
            "its risk R_1 alone.",
        ),
        assumed=(risk_is, tv_is, kept_is),
        lemmas=(lemma,),
        claims=(sends, never),
        steps=(
            step(
                "Where something may be sent, the bias is at most the charge: the lemma, with its sums "
                "named.",
                sends,
                Combine((1, 1, 1), sums=True),
                bound,
                risk_is,
                tv_is,
            ),
            step("Where nothing is ever sent, the output is x, token by token,", output, Evaluate()),
            step("and its bias, the sum of (x - y)_+, is the risk itself.", never, Combine((-1,)), kept_is),
        ),
        departs="Replaces the bias of THEORY §12 by E[risk + TV_k 1{P_tx > 0}]; latency is E[P_tx (tau_up(k) "
        "+ tau_LLM)].",
    )


def operating_point() -> Statement:
    """Show which sizes a multiplier of truncation chooses, and that they save most per unit of bias."""
    small, saved, lost, more = sp.symbols("tau_1 d_tau TV_2 d_TV", positive=True)
    mu = sp.Symbol("mu", positive=True)
    equal = eq(small + mu * (lost + more), small + saved + mu * lost)
    turn = eq(mu, saved / more)
    chance = sp.Symbol("P", positive=True)
    rate = eq(chance * saved / more, chance * mu)
    next_saved, next_more = sp.symbols("d_tau2 d_TV2", positive=True)
    convex = le(next_saved * more, saved * next_more)
    cleared = le((saved + next_saved) * more, saved * (more + next_more))
    stricter = le((saved + next_saved) / (more + next_more), saved / more)
    return Statement(
        name="optimise.operating_point",
        title="Sizes that a device can choose by itself",
        source="here",
        status="new",
        functions=("optimise.operating_point",),
        tests=(
            "test_a_device_changes_its_size_at_the_derived_multiplier",
            "test_no_threshold_and_multiplier_beat_the_operating_point",
        ),
        assumptions=(
            "In one context, the smaller size takes tau_1 and loses TV_2 + d_TV, the larger tau_1 + d_tau "
            "and TV_2; the device takes the least tau + mu TV, and transmits with chance P.",
            "d_tau2 and d_TV2 are saved and lost by the next smaller size; on the lower hull d_tau2/d_TV2 is "
            "at most d_tau/d_TV.",
        ),
        assumed=(equal, convex),
        claims=(turn, rate, stricter),
        steps=(
            step("The sizes change places at", turn, Solve(mu), equal),
            step(
                "The latency saved per unit of bias is that multiplier times the chance to transmit;",
                rate,
                Combine((chance,)),
                turn,
            ),
            step("Two sizes at once,", cleared, Combine((1,)), convex),
            step(
                "never save more per unit of bias than the first alone: taking the highest first is the "
                "greedy rule.",
                stricter,
                Combine((1 / (more * (more + next_more)),)),
                cleared,
            ),
        ),
    )


def transmit_cost() -> Statement:
    """Show that the cost of a transmission at its best size falls with the SNR."""
    bits, lost, bandwidth, snr = sp.symbols("B_k TV_k W gamma", positive=True)
    cost_k = bits / (bandwidth * sp.log(1 + snr, 2)) + price * lost
    each = lt(sp.Derivative(cost_k, snr), 0)
    now_1, now_2, then_1, then_2 = sp.symbols("c_1 c_2 cprime_1 cprime_2", positive=True)
    first, second = le(then_1, now_1), le(then_2, now_2)
    claim = le(sp.Min(then_1, then_2), sp.Min(now_1, now_2))
    return Statement(
        name="optimise.transmit_cost",
        title="A transmission at its best size is cheaper on a better link",
        source="here",
        status="new",
        functions=("summary.transmit_s",),
        tests=(
            "test_a_transmission_at_its_best_size_is_the_derived_minimum_and_cheaper_on_a_better_link",
            "test_the_cost_optimal_threshold_falls_with_snr_and_bandwidth_and_solves_its_equation",
        ),
        assumptions=(
            "Sending k entries costs tau_up(k) + lambda TV_k; the device takes the cheapest size of the "
            "context.",
            "c_1, c_2: the costs of two sizes; cprime_1, cprime_2: the same at a higher SNR.",
        ),
        assumed=(first, second),
        claims=(each, claim),
        steps=(
            step("Every single size gets cheaper as the SNR of a Gaussian channel rises.", each, Evaluate()),
            step(
                "So does the cheapest of two, and by repetition of any number.",
                claim,
                Orderings((now_1, now_2, then_1, then_2)),
                first,
                second,
            ),
        ),
        glue="A mean over contexts of costs that fall falls, and with it the threshold of §6.4.",
    )


def joint() -> Statement:
    """Show why the nested search may stop."""
    k, bits, index, more = sp.symbols("k b i d", positive=True)
    longer = lt(k * (bits + index), k * (bits + more + index))
    a, b, c = sp.symbols("x xhat xq", positive=True)
    triangle = le(sp.Abs(a - c), sp.Abs(a - b) + sp.Abs(b - c))
    A, B, C = (sp.IndexedBase(name) for name in ("x", "xhat", "xq"))
    summed = le(
        total(sp.Abs(A[token] - C[token])),
        total(sp.Abs(A[token] - B[token])) + total(sp.Abs(B[token] - C[token])),
    )
    put = ((a, A[token]), (b, B[token]), (c, C[token]))
    return Statement(
        name="optimise.joint",
        title="Bits a probability: what they cost and what they buy",
        source="here",
        status="new",
        functions=("optimise.joint_optimum", "optimise.quantisation_profile"),
        tests=(
            "test_the_quantisation_that_is_charged_is_the_derived_bound",
            "test_no_grid_point_beats_the_joint_optimum",
        ),
        assumptions=(
            "b bits a probability, i bits an index; xq is the quantised xhat, which the server verifies "
            "with.",
        ),
        claims=(longer, summed),
        steps=(
            step(
                "More bits make every packet longer, so beyond a link that quantised for free nothing is to "
                "be found.",
                longer,
                Coefficients(),
            ),
            step("One token of the two distortions,", triangle, Orderings((a, b, c))),
            step(
                "and all of them: quantisation adds at most its own TV.",
                summed,
                SumOver(token, size, put),
                triangle,
            ),
        ),
    )


BUILDERS: tuple[Builder, ...] = (
    weak_duality,
    lagrangian,
    kkt,
    hull,
    separable_counterexample,
    sound_accounting,
    operating_point,
    transmit_cost,
    joint,
)
