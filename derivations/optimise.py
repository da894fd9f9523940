"""The joint optimum: a knapsack, its multiplier, and what bias must be charged for."""

import sympy as sp

from derivations.rules import Coefficients, Combine, Evaluate, Orderings, Solve, SumOver
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, step
from derivations.verification import bias_bound
from derivations.vocabulary import over, pos, s, size, token, total, x, xh, y

cost, loss, weight = sp.symbols("tau beta w", nonnegative=True)
price = sp.Symbol("lambda", positive=True)
budget = sp.Symbol("epsilon", positive=True)
contexts = sp.Symbol("N", integer=True, positive=True)
context = sp.Symbol("n", integer=True, positive=True)


def over_contexts(expression: sp.Expr) -> sp.Sum:
    """Return a sum over contexts.

    Parameters
    ----------
    expression : sympy expression
        One context, in the index n.

    Returns
    -------
    sympy expression
        The unevaluated sum.
    """
    return sp.Sum(expression, (context, 1, contexts))


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
        functions=("optimisation.solve_lp", "optimisation.solve"),
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
        functions=("optimisation.solve",),
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
    """Derive what a context that may transmit should skip, and how much it should send."""
    send, lost = sp.symbols("c TV", positive=True)
    share, rejected, skip = sp.symbols("s beta ell", nonnegative=True)
    mass, sent = sp.symbols("w pi", positive=True)
    proof = Proof()
    charge = mass * (share * price * rejected + (1 - share) * send) + price * lost
    sunk = proof.step(
        "Truncation is due whether a draft is skipped or not: between the two it drops out,",
        eq(at(charge, {share: 1}) - at(charge, {share: 0}), mass * (price * rejected - send)),
        Evaluate(),
    )
    unit = proof.assume(le(share, 1))
    skip_is = proof.assume(eq(skip, price * rejected))
    better = proof.step(
        "so for each draft it is a matter of the two alone,",
        le(sp.Min(skip, send), share * skip + (1 - share) * send),
        Orderings((skip, send)),
        unit,
    )
    rule = proof.step(
        "and the smaller of lambda beta and c is best, whatever TV is.",
        le(sp.Min(skip, send), share * price * rejected + (1 - share) * send),
        Combine((1, share)),
        better,
        skip_is,
    )
    beyond = sp.Symbol("e", positive=True)
    late = proof.step(
        "A rule that charges TV to the transmission skips beyond it, up to beta = (c + lambda TV)/lambda; "
        "what it skips there at beta = c/lambda + e costs more by",
        eq(price * (send / price + beyond) - send, price * beyond),
        Evaluate(),
    )
    small, saved, more = sp.symbols("tau_1 d_tau d_TV", positive=True)
    equal = proof.assume(eq(sent * small + price * (lost + more), sent * (small + saved) + price * lost))
    turn = proof.step(
        "The size weighs its uplink by the chance to transmit: the larger of two wins once the price of bias "
        "exceeds",
        eq(price, sent * saved / more),
        Solve(price),
        equal,
    )
    return Statement(
        name="optimise.kkt",
        title="Conditions of the joint optimum, context by context",
        source="here",
        status="departs",
        functions=("optimisation.solve",),
        tests=(
            "test_truncation_is_sunk_in_the_rule_and_weighs_on_the_size_as_derived",
            "test_the_multiplier_is_the_price_of_the_budget",
        ),
        assumptions=(
            "Given lambda, a context that may transmit sends k entries at c = tau_up(k) + tau_LLM and is "
            "charged lambda (R + TV), R its risk and TV = TV_k in full (optimise.sound_accounting). A draft "
            "of mass w is skipped with probability s, then at rejection probability beta; ell = lambda "
            "beta. On a line a u + b the rule is threshold.cost_optimal's, whatever TV.",
            "pi is the chance that the context transmits. Of two sizes the smaller takes tau_1 and loses TV "
            "+ d_TV, the larger tau_1 + d_tau and TV.",
            "A context that never transmits is charged its risk alone; it is better where that is less than "
            "the least over sizes and rules.",
        ),
        assumed=proof.assumed,
        claims=(sunk, rule, late, turn),
        steps=proof.steps,
        departs="It looks right to compare lambda beta with tau_up(k) + tau_LLM + lambda TV_k. But TV_k is "
        "due in every context that may transmit, also for the draft that is skipped: the comparison is with "
        "tau_up(k) + tau_LLM, and TV_k weighs on the size alone.",
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
        functions=("optimisation.lower_hull", "optimisation.actions"),
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


def settled() -> Statement:
    """Show that an action which is best at two prices of bias is best at every price between them."""
    t_1, t_2, b_1, b_2, ratio = sp.symbols("t_1 t_2 b_1 b_2 r", nonnegative=True)
    low, high = sp.symbols("lambda_1 lambda_2", nonnegative=True)
    between = (low + ratio * high) / (1 + ratio)
    at_low, at_high = (le(t_1 + price * b_1, t_2 + price * b_2) for price in (low, high))
    claim = le(t_1 + between * b_1, t_2 + between * b_2)
    return Statement(
        name="optimise.settled",
        title="What is best at two prices is best between them",
        source="here",
        status="new",
        functions=("optimisation.operating_point",),
        tests=(
            "test_an_action_that_is_best_at_two_prices_is_best_between_them",
            "test_the_best_randomised_policy_is_that_of_the_table_of_actions",
        ),
        assumptions=(
            "In one context action 1 has latency t_1 and bias b_1, any other action t_2 and b_2. Action 1 is "
            "the cheaper one, latency plus price times bias, at the prices lambda_1 and lambda_2. A price "
            "between them is (lambda_1 + r lambda_2)/(1 + r) for some r >= 0.",
        ),
        assumed=(at_low, at_high),
        claims=(claim,),
        steps=(
            step(
                "The price enters in a straight line, so both comparisons add up to that between.",
                claim,
                Combine((1 / (1 + ratio), ratio / (1 + ratio))),
                at_low,
                at_high,
            ),
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
        functions=("optimisation.separable_actions",),
        tests=(
            "test_truncation_is_due_in_full_where_a_context_may_transmit",
            "test_charging_truncation_on_transmission_is_no_bound_and_the_sound_accounting_is",
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
            step("so truncation charged to transmissions alone is", charged, Evaluate()),
            step("which is too little.", claim, Evaluate()),
            step("With n unlikely tokens instead of 2, TV_1 is", general, Evaluate()),
            step("which tends to a tenth.", limit, Evaluate()),
        ),
        departs="It seems enough to charge lambda TV_k to the tokens that are transmitted. k is chosen from "
        "the context before the draft, and the bound charges TV_k in full (verification.bias_bound): here "
        "the bias is 1/20 and the charge 1/200.",
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
        functions=("optimisation.actions", "optimisation.operating_point"),
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
        departs="The bias that is charged is E[risk + TV_k 1{P_tx > 0}] and not E[risk + TV_k P_tx]; latency "
        "is E[P_tx (tau_up(k) + tau_LLM)].",
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
        functions=("optimisation.operating_point",),
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
    """Show that a context at its best size is cheaper on a better link, and its packet not always shorter."""
    bits, lost, bandwidth, snr, chance = sp.symbols("B_k TV_k W gamma P", positive=True)
    rate = bandwidth * sp.log(1 + snr, 2)
    proof = Proof()
    each = proof.step(
        "Every single size gets cheaper as the SNR of a Gaussian channel rises.",
        lt(sp.Derivative(chance * bits / rate + price * lost, snr), 0),
        Evaluate(),
    )
    now_1, now_2, then_1, then_2 = sp.symbols("c_1 c_2 cprime_1 cprime_2", positive=True)
    first, second = proof.assume(le(then_1, now_1)), proof.assume(le(then_2, now_2))
    claim = proof.step(
        "So does the cheapest of two, and by repetition of any number.",
        le(sp.Min(then_1, then_2), sp.Min(now_1, now_2)),
        Orderings((now_1, now_2, then_1, then_2)),
        first,
        second,
    )
    fixed = proof.step(
        "The packet of one size gets shorter, and the threshold of that size with it "
        "(threshold.cost_optimal).",
        lt(sp.Derivative(bits / rate, snr), 0),
        Evaluate(),
    )
    speed = sp.Symbol("C", positive=True)
    cost = chance * bits / speed + price * lost
    slow, fast = {speed: sp.Rational(9, 10)}, {speed: sp.Rational(11, 10)}
    short, long = {bits: 1, lost: 1, chance: 1, price: 1}, {bits: 2, lost: 0, chance: 1, price: 1}
    takes_short = proof.step(
        "But a better link may make a larger size the best. Of 1 bit that loses 1 and 2 bits that lose "
        "nothing, the first is cheaper at C = 9/10",
        lt(at(cost, {**short, **slow}), at(cost, {**long, **slow})),
        Evaluate(),
    )
    takes_long = proof.step(
        "and the second at C = 11/10:",
        lt(at(cost, {**long, **fast}), at(cost, {**short, **fast})),
        Evaluate(),
    )
    rises = proof.step(
        "the packet takes longer on the better link, and more is skipped.",
        lt(at(bits / speed, {bits: 1, **slow}), at(bits / speed, {bits: 2, **fast})),
        Evaluate(),
    )
    return Statement(
        name="optimise.transmit_cost",
        title="A context is cheaper on a better link; its threshold need not be lower",
        source="here",
        status="new",
        functions=("recommendation.Recommendation.transmit_s",),
        tests=(
            "test_a_context_at_its_best_size_is_the_derived_minimum_and_its_packet_may_grow_with_the_link",
            "test_the_cost_optimal_threshold_falls_with_snr_and_bandwidth_and_solves_its_equation",
        ),
        assumptions=(
            "A context that transmits with chance P costs P tau_up(k) + lambda TV_k beside what does not "
            "depend on k (optimise.kkt); the device takes the cheapest size. C = W log2(1 + gamma) bit/s.",
            "c_1, c_2: the costs of two sizes; cprime_1, cprime_2: the same at a higher SNR.",
        ),
        assumed=proof.assumed,
        claims=(each, claim, fixed, takes_short, takes_long, rises),
        steps=proof.steps,
        glue="A mean over contexts of costs that fall falls.",
    )


def joint() -> Statement:
    """Show when the search over bits a probability may stop."""
    k, bits, index, more, weight, rate = sp.symbols("k b i d w C", positive=True)
    K, W = sp.IndexedBase("k"), sp.IndexedBase("w")
    found, least, latency, later, base = sp.symbols("L_found L_free L_b Lprime D_0", nonnegative=True)
    proof = Proof()
    line = proof.step(
        "More bits make every packet longer,",
        le(weight * k * (bits + index) / rate, weight * k * (bits + more + index) / rate),
        Coefficients(),
    )

    def sent(width: sp.Expr) -> sp.Sum:
        return over_contexts(W[context] * K[context] * (width + index) / rate)

    longer = proof.step(
        "and so the time of any policy that keeps its skips and sizes.",
        le(sent(bits), sent(bits + more)),
        SumOver(context, contexts, ((weight, W[context]), (k, K[context]))),
        line,
    )
    latency_is = proof.assume(eq(latency, base + sent(bits)))
    later_is = proof.assume(eq(later, base + sent(bits + more)))
    slower = proof.step(
        "With what does not depend on the bits,",
        le(latency, later),
        Combine((1, 1, -1), sums=True),
        longer,
        latency_is,
        later_is,
    )
    optimum, stop = proof.assume(le(least, latency)), proof.assume(le(found, least))
    claim = proof.step(
        "no policy with more bits beats what was found, once that is at most the optimum of a link that "
        "quantises for free.",
        le(found, later),
        Combine(),
        stop,
        optimum,
        slower,
    )
    a, b, c = sp.symbols("x xhat xq", positive=True)
    A, B, C = (sp.IndexedBase(name) for name in ("x", "xhat", "xq"))
    triangle = proof.step(
        "What quantising costs: one token of the two distortions,",
        le(sp.Abs(a - c), sp.Abs(a - b) + sp.Abs(b - c)),
        Orderings((a, b, c)),
    )
    summed = proof.step(
        "and all of them: it adds at most its own TV.",
        le(
            total(sp.Abs(A[token] - C[token])),
            total(sp.Abs(A[token] - B[token])) + total(sp.Abs(B[token] - C[token])),
        ),
        SumOver(token, size, ((a, A[token]), (b, B[token]), (c, C[token]))),
        triangle,
    )
    return Statement(
        name="optimise.joint",
        title="When the search over bits a probability may stop",
        source="here",
        status="new",
        functions=("optimisation.joint_optimum", "optimisation.quantisation_profile"),
        tests=(
            "test_the_quantisation_that_is_charged_is_the_derived_bound",
            "test_no_grid_point_beats_the_joint_optimum",
        ),
        assumptions=(
            "b bits a probability, i bits an index, a link of C bit/s that is the same for packets of any "
            "length. In context n of N a policy sends k_n entries with weight w_n, the chance to transmit "
            "included; D_0 is what its latency has besides. L_b and Lprime: its latency with b and with b + "
            "d bits.",
            "L_free is the least latency with b bits within the budget when quantising adds no bias. A "
            "policy within the budget with b + d bits, quantising charged, is one of those that L_free is "
            "the least of: it is within the budget when quantising is free. L_found was found with at most "
            "b bits.",
            "xq is the quantised xhat, which the server verifies with.",
        ),
        assumed=proof.assumed,
        claims=(longer, claim, summed),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (
    weak_duality,
    lagrangian,
    kkt,
    hull,
    settled,
    separable_counterexample,
    sound_accounting,
    operating_point,
    transmit_cost,
    joint,
)
