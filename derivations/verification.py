"""Verification: what speculative sampling accepts, what it puts out, and what skipping costs."""

import sympy as sp

from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Largest,
    Numeric,
    Orderings,
    Rename,
    SameSum,
    SignPatterns,
    Solve,
    SumOver,
    Telescope,
    ToLimit,
)
from derivations.series import geometric
from derivations.statement import Builder, Proof, Statement, Step, at, eq, le, lt
from derivations.vocabulary import (
    XH,
    X,
    Y,
    other,
    over,
    pos,
    s,
    size,
    summing,
    sums_to_one,
    token,
    total,
    x,
    xh,
    y,
)

distance = sp.Symbol("T", positive=True)
"""TV(x, y)."""
accepts = sp.Min(1, y / x)
rejects = 1 - accepts

TV_IS_HALF_L1 = eq(distance, over(sp.Abs(x - y)) / 2)
DISTRIBUTIONS = sums_to_one(X, Y)

SOURCE_SD = "SD, arXiv:2211.17192v2, Sec. 2.3 and App. A.1"


def _small(number: int) -> tuple[tuple[sp.Symbol, ...], tuple[sp.Symbol, ...], tuple[sp.Symbol, ...]]:
    first = sp.symbols(f"x_1:{number + 1}", positive=True)
    second = sp.symbols(f"y_1:{number + 1}", positive=True)
    skips = sp.symbols(f"s_1:{number + 1}", nonnegative=True)
    return first, second, skips


def _half_l1(p: tuple[sp.Expr, ...], q: tuple[sp.Expr, ...]) -> sp.Expr:
    return sp.Add(*(sp.Abs(a - b) for a, b in zip(p, q, strict=True))) / 2


def _output(
    p: tuple[sp.Symbol, ...], q: tuple[sp.Symbol, ...], skips: tuple[sp.Expr, ...]
) -> tuple[sp.Expr, ...]:
    """Law of the output over a small vocabulary, written out."""
    refused = sp.Add(*(a * (1 - c) * (1 - sp.Min(1, b / a)) for a, b, c in zip(p, q, skips, strict=True)))
    spread = sp.Add(*(pos(b - a) for a, b in zip(p, q, strict=True)))
    return tuple(
        a * c + a * (1 - c) * sp.Min(1, b / a) + refused * pos(b - a) / spread
        for a, b, c in zip(p, q, skips, strict=True)
    )


def total_variation() -> Statement:
    """Show that three forms of the total variation agree."""
    draft_side = eq(pos(x - y), sp.Abs(x - y) / 2 + x / 2 - y / 2)
    llm_side = eq(pos(y - x), sp.Abs(x - y) / 2 + y / 2 - x / 2)
    common = eq(sp.Min(x, y), x / 2 + y / 2 - sp.Abs(x - y) / 2)
    sums = [
        eq(over(r.lhs), value)
        for r, value in ((draft_side, distance), (llm_side, distance), (common, 1 - distance))
    ]
    half = eq(over(sp.Abs(x - y)), 2 * distance)
    return Statement(
        name="verification.total_variation",
        title="Three forms of the total variation",
        source="textbook",
        status="printed",
        functions=("verification.total_variation",),
        tests=(
            "test_total_variation_and_rejection",
            "test_total_variation_is_the_largest_difference_on_an_event",
        ),
        assumptions=(
            "x and y are distributions on V tokens, V arbitrary; T = TV(x, y) is half the L1 distance.",
        ),
        assumed=(TV_IS_HALF_L1, *DISTRIBUTIONS),
        claims=tuple(sums),
        steps=(
            Step(text="The L1 distance is 2 T.", claim=half, rule=Combine((-2,)), uses=(TV_IS_HALF_L1,)),
            Step(text="One token, whichever entry is larger:", claim=draft_side, rule=Orderings((x, y))),
            Step(text="the other positive part,", claim=llm_side, rule=Orderings((x, y))),
            Step(text="and the common part.", claim=common, rule=Orderings((x, y))),
            *(
                Step(
                    text="Sum over the vocabulary.",
                    claim=claim,
                    rule=summing(),
                    uses=(line, half, *DISTRIBUTIONS),
                )
                for claim, line in zip(sums, (draft_side, llm_side, common), strict=True)
            ),
        ),
    )


def rejection_probability() -> Statement:
    """Show that the mean rejection probability is the total variation."""
    same = eq(rejects, pos(1 - y / x))
    moved = eq(x * rejects, pos(x - y))
    kept = eq(x * accepts, sp.Min(x, y))
    lemma = total_variation()
    draft_side, _, common = lemma.claims
    rejected = eq(over(x * rejects), distance)
    accepted = eq(over(x * accepts), 1 - distance)
    small = []
    for number in (3, 4):
        p, q, _skip = _small(number)
        law = sp.Add(*(a * sp.Min(1, b / a) for a, b in zip(p, q, strict=True)))
        small.append((number, p, q, eq(law, 1 - _half_l1(p, q))))
    return Statement(
        name="verification.rejection_probability",
        title="Acceptance is 1 - TV",
        source=SOURCE_SD,
        status="printed",
        functions=("verification.rejection_probability",),
        tests=(
            "test_total_variation_and_rejection",
            "test_the_mean_rejection_is_the_total_variation",
        ),
        assumptions=(
            "x and y are distributions on V tokens, V arbitrary; T = TV(x, y).",
            "A draft d ~ x is accepted with min(1, y_d / x_d), so beta_d = 1 - min(1, y_d / x_d).",
        ),
        lemmas=(lemma,),
        claims=(same, rejected, accepted),
        steps=(
            Step(text="Two forms of the rejection probability.", claim=same, rule=Orderings((x, y))),
            Step(text="Its share of the draft's mass", claim=moved, rule=Orderings((x, y))),
            Step(text="and the accepted share.", claim=kept, rule=Orderings((x, y))),
            Step(
                text="Sum over the vocabulary: the mean rejection probability,",
                claim=rejected,
                rule=summing(),
                uses=(moved, draft_side),
            ),
            Step(text="and acceptance.", claim=accepted, rule=summing(), uses=(kept, common)),
            *(
                Step(
                    text=f"Independent check with {number} tokens and all {2**number - 2} sign patterns.",
                    claim=claim,
                    rule=SignPatterns(p, q),
                )
                for number, p, q, claim in small
            ),
        ),
    )


def residual() -> Statement:
    """Show that the residual is a distribution away from the rejected tokens."""
    lemma = total_variation()
    _, llm_side, _ = lemma.claims
    law = pos(y - x) / distance
    nonnegative = le(0, law)
    sums = eq(over(law), 1)
    apart = eq(pos(x - y) * pos(y - x), 0)
    return Statement(
        name="verification.residual",
        title="The residual is a distribution",
        source=SOURCE_SD,
        status="printed",
        functions=("verification.residual",),
        tests=(
            "test_output_law_without_skips_is_the_llm_and_the_residual_a_law",
            "test_the_residual_is_a_law_on_the_tokens_that_are_never_rejected",
        ),
        assumptions=("T = TV(x, y) > 0, that is x differs from y on the V tokens; r = (y - x)_+ / T.",),
        lemmas=(lemma,),
        claims=(nonnegative, sums, apart),
        steps=(
            Step(text="No entry is negative.", claim=nonnegative, rule=Orderings((x, y))),
            Step(
                text="The entries sum to 1,",
                claim=sums,
                rule=Combine((1 / distance,), sums=True),
                uses=(llm_side,),
            ),
            Step(
                text="and no token is both rejected and drawn from the residual.",
                claim=apart,
                rule=Orderings((x, y)),
            ),
        ),
    )


def output_law() -> Statement:
    """Show that verification puts out exactly the LLM's law."""
    lemma = rejection_probability()
    rejected = lemma.claims[1]
    refused = sp.Symbol("P_rej", positive=True)
    definition = eq(refused, over(x * rejects))
    chance = eq(refused, distance)
    law = x * accepts + refused * pos(y - x) / distance
    at_distance = eq(law.subs(refused, distance), y)
    claim = eq(law, y)
    small = []
    for number in (3, 4):
        p, q, _skip = _small(number)
        out = _output(p, q, (sp.S.Zero,) * number)
        small.extend((number, place + 1, p, q, eq(out[place], q[place])) for place in range(number))
    return Statement(
        name="verification.output_law",
        title="Verification is exact",
        source=SOURCE_SD,
        status="printed",
        functions=("verification.output_law",),
        tests=(
            "test_output_law_without_skips_is_the_llm_and_the_residual_a_law",
            "test_the_output_law_is_what_a_walk_through_all_outcomes_gives",
            "test_the_output_law_agrees_with_drawing_it",
        ),
        assumptions=(
            "An output is an accepted draft, or, after a rejection, a draw from r = (y - x)_+ / T.",
            "P_rej is the chance of a rejection; T = TV(x, y) > 0.",
        ),
        assumed=(definition,),
        lemmas=(lemma,),
        claims=(claim,),
        steps=(
            Step(
                text="The chance of a rejection.", claim=chance, rule=Combine(), uses=(definition, rejected)
            ),
            Step(
                text="One entry of the output, accepted part and redrawn part.",
                claim=at_distance,
                rule=Orderings((x, y)),
            ),
            Step(
                text="So the output has law y, whatever x is.",
                claim=claim,
                rule=Combine((1, pos(y - x) / distance)),
                uses=(at_distance, chance),
            ),
            *(
                Step(
                    text=f"Independent check with {number} tokens and all {2**number - 2} sign patterns: "
                    f"token {place}.",
                    claim=line,
                    rule=SignPatterns(p, q),
                )
                for number, place, p, q, line in small
            ),
        ),
    )


def kept_given_token() -> Statement:
    """Split verified text into kept drafts and replacements, and draw the drafts back from the text."""
    lemma = total_variation()
    _, llm_side, _ = lemma.claims
    coin = sp.Min(1, x / y)
    f, F = sp.Symbol("f", real=True), sp.IndexedBase("f")
    kept = eq(y * coin, x * accepts)
    redrawn = eq(y * (1 - coin), pos(y - x))
    weighed = eq(y * coin * f, x * accepts * f)
    follows = eq(
        total(Y[token] * sp.Min(1, X[token] / Y[token]) * F[token]),
        total(X[token] * sp.Min(1, Y[token] / X[token]) * F[token]),
    )
    replaced = eq(over(y * (1 - coin)), distance)
    coupled = eq(y * coin + distance * (pos(x - y) / distance), x)
    return Statement(
        name="verification.kept_given_token",
        title="Verified text tells which drafts were kept",
        source="here",
        status="new",
        functions=("verification.kept_given_token",),
        tests=(
            "test_a_text_of_the_llm_tells_which_drafts_were_kept",
            "test_the_llm_s_own_text_tells_the_joint_law_of_text_and_kept_drafts",
        ),
        assumptions=(
            "The output w has the law y (verification.output_law); T = TV(x, y) > 0 over the V tokens. "
            "Drafts that the server keeps are the output.",
            "f is any function of the token, such as what happens in the context that it leads to.",
        ),
        lemmas=(lemma,),
        claims=(kept, redrawn, follows, coupled),
        steps=(
            Step(
                text="The chance that w is put out as a kept draft is y_w min(1, x_w / y_w): so given w, its "
                "draft was kept with min(1, x_w / y_w).",
                claim=kept,
                rule=Orderings((x, y)),
            ),
            Step(
                text="The rest of y_w is what the residual puts out.", claim=redrawn, rule=Orderings((x, y))
            ),
            Step(
                text="Any function of the next token weighs the same", claim=weighed, rule=Orderings((x, y))
            ),
            Step(
                text="summed over kept drafts or over verified text with the chance that its token was kept.",
                claim=follows,
                rule=summing((f, F[token])),
                uses=(weighed,),
            ),
            Step(
                text="The text's token is a replacement with probability T.",
                claim=replaced,
                rule=summing(),
                uses=(redrawn, llm_side),
            ),
            Step(
                text="Draw the draft back: w where it was kept, else from (x - y)_+ / T. It has the law x.",
                claim=coupled,
                rule=Orderings((x, y)),
            ),
        ),
        glue="Given the whole text, the coins of successive tokens are independent, since a context holds "
        "all that a draft depends on: text that the LLM wrote alone tells the rounds of every exact scheme.",
    )


def risk_is_bias() -> Statement:
    """Show that rejection risk is the total variation of the output."""
    lemma = total_variation()
    draft_side, _, _ = lemma.claims
    refused = sp.Symbol("rho", positive=True)
    unit = le(s, 1)
    definition = eq(refused, over((1 - s) * pos(x - y)))
    fewer = le((1 - s) * pos(x - y), pos(x - y))
    bounded = le(over((1 - s) * pos(x - y)), distance)
    rho_small = le(refused, distance)
    law = x * s + (1 - s) * x * accepts + refused * pos(y - x) / distance
    line = eq(pos(law - y), s * x * rejects)
    Q = sp.IndexedBase("q")
    q = sp.Symbol("q", nonnegative=True)
    named = eq(pos(q - y), s * x * rejects)
    means = eq(q, law)
    bias = sp.Symbol("TV_q", nonnegative=True)
    bias_is = eq(bias, total(pos(Q[token] - Y[token])))
    summed = eq(total(pos(Q[token] - Y[token])), over(s * x * rejects))
    claim = eq(bias, over(s * x * rejects))
    small = []
    for number in (3,):
        p, r, skips = _small(number)
        out = _output(p, r, skips)
        risk = sp.Add(*(c * pos(a - b) for a, b, c in zip(p, r, skips, strict=True)))
        small.append((number, p, r, skips, eq(_half_l1(out, r), risk)))
    return Statement(
        name="verification.risk_is_bias",
        title="Rejection risk is bias",
        source="here",
        status="new",
        functions=("verification.rejection_risk",),
        tests=(
            "test_output_law_with_skips_is_the_one_written_out_for_three_tokens",
            "test_rejection_risk_is_the_bias",
        ),
        assumptions=(
            "The device keeps draft d with probability s_d, 0 <= s_d <= 1, for any s; else the server "
            "verifies exactly.",
            "rho is the chance that a draft is sent and rejected; q is the law of the output; T = TV(x, y) > "
            "0.",
            "TV_q = TV(q, y), as the sum of positive parts.",
        ),
        assumed=(unit, definition, means, bias_is),
        lemmas=(lemma,),
        claims=(claim,),
        steps=(
            Step(
                text="What is sent and rejected, one token.",
                claim=fewer,
                rule=Orderings((x, y)),
                uses=(unit,),
            ),
            Step(text="Sum over the vocabulary.", claim=bounded, rule=summing(), uses=(fewer, draft_side)),
            Step(
                text="So rho is at most T.", claim=rho_small, rule=Combine((1, 1)), uses=(definition, bounded)
            ),
            Step(
                text="One entry of the output against y. Where x > y the excess is s (x - y) = s x beta; "
                "where x < y the entry falls short of y by (1 - rho/T)(y - x), so its positive part is 0.",
                claim=line,
                rule=Orderings((x, y)),
                uses=(unit, rho_small),
            ),
            Step(text="Name the entry q.", claim=named, rule=Rename(), uses=(line, means)),
            Step(text="Sum over the vocabulary.", claim=summed, rule=summing((q, Q[token])), uses=(named,)),
            Step(
                text="The left side is the total variation.",
                claim=claim,
                rule=Combine(),
                uses=(bias_is, summed),
            ),
            *(
                Step(
                    text=f"Independent check with {number} tokens, every sign pattern, any skip rule.",
                    claim=check,
                    rule=SignPatterns(p, r, skips),
                )
                for number, p, r, skips, check in small
            ),
        ),
    )


def data_processing() -> Statement:
    """Show that no Markov kernel increases the L1 distance."""
    K = sp.IndexedBase("K")
    k = sp.Symbol("K", nonnegative=True)
    upward = le(k * (x - xh), k * sp.Abs(x - xh))
    downward = le(k * (xh - x), k * sp.Abs(x - xh))
    kernel = (k, K[other, token])
    moved = over(K[other, token] * (x - xh))
    spread = over(K[other, token] * sp.Abs(x - xh))
    up = le(moved, spread)
    down = le(over(K[other, token] * (xh - x)), spread)
    shift = sp.Symbol("D", real=True)
    size_j = sp.Symbol("B", nonnegative=True)
    shift_is, size_is = eq(shift, moved), eq(size_j, spread)
    up_named, down_named = le(shift, size_j), le(-shift, size_j)
    both = le(sp.Abs(shift), size_j)
    D, B = sp.IndexedBase("D"), sp.IndexedBase("B")
    column = eq(total(K[other, token], other), 1)
    summed = le(total(sp.Abs(D[other]), other), total(B[other], other))
    each = eq(total(B[other], other), total(spread, other))
    swap = eq(total(spread, other), over(sp.Abs(x - xh)))
    claim = le(total(sp.Abs(D[other]), other), over(sp.Abs(x - xh)))
    return Statement(
        name="verification.data_processing",
        title="A kernel does not increase total variation",
        source="textbook",
        status="printed",
        functions=(),
        tests=(
            "test_a_kernel_does_not_increase_total_variation",
            "test_the_distance_to_the_reconstruction_bounds_the_bias",
        ),
        assumptions=(
            "The kernel K: K_ji >= 0 is the chance that draft i becomes output j; each column sums to 1.",
            "D_j is the difference of the two outputs at token j, B_j the sum of K_ji |x_i - xhat_i| over i.",
        ),
        assumed=(shift_is, size_is, column, each),
        claims=(claim,),
        steps=(
            Step(text="One draft's share of the difference,", claim=upward, rule=Orderings((x, xh))),
            Step(text="and of its negative.", claim=downward, rule=Orderings((x, xh))),
            Step(text="Sum over the drafts,", claim=up, rule=summing(kernel), uses=(upward,)),
            Step(text="both.", claim=down, rule=summing(kernel), uses=(downward,)),
            Step(
                text="In short,",
                claim=up_named,
                rule=Combine((1, 1, -1), sums=True),
                uses=(shift_is, up, size_is),
            ),
            Step(
                text="and",
                claim=down_named,
                rule=Combine((-1, 1, -1), sums=True),
                uses=(shift_is, down, size_is),
            ),
            Step(
                text="so the absolute value is bounded.",
                claim=both,
                rule=Largest(),
                uses=(up_named, down_named),
            ),
            Step(
                text="Sum over the outputs.",
                claim=summed,
                rule=SumOver(other, size, ((shift, D[other]), (size_j, B[other]))),
                uses=(both,),
            ),
            Step(text="Exchange the sums; each column is 1.", claim=swap, rule=SameSum(), uses=(column,)),
            Step(text="Together.", claim=claim, rule=Combine(), uses=(summed, each, swap)),
        ),
    )


def bias_bound() -> Statement:
    """Show that skipping and truncation add at most rejection risk plus TV(x, x-hat)."""
    accepts_hat = sp.Min(1, y / xh)
    refused, spread = sp.symbols("rho R", positive=True)
    mu = sp.Symbol("mu", nonnegative=True)
    unit = le(s, 1)
    law = x * s + x * (1 - s) * accepts_hat + refused * pos(y - xh) / spread
    excess = le(refused, spread + mu)
    line = le(pos(law - y), s * pos(x - y) + accepts_hat * pos(x - xh) + mu * pos(y - xh) / spread)
    refused_is = eq(refused, over(x * (1 - s) * (1 - accepts_hat)))
    spread_is = eq(spread, over(pos(y - xh)))
    spread_other = eq(spread, over(pos(xh - y)))
    balance = eq(pos(xh - y), pos(y - xh) + xh - y)
    balanced = eq(over(pos(xh - y)), over(pos(y - xh)))
    second = le(x * (1 - s) * (1 - accepts_hat), pos(xh - y) + (1 - accepts_hat) * pos(x - xh))
    second_sum = le(
        over(x * (1 - s) * (1 - accepts_hat)), over(pos(xh - y)) + over((1 - accepts_hat) * pos(x - xh))
    )
    mu_is = eq(mu, over((1 - accepts_hat) * pos(x - xh)))
    q, Q = sp.Symbol("q", nonnegative=True), sp.IndexedBase("q")
    means = eq(q, law)
    named = le(pos(q - y), s * pos(x - y) + accepts_hat * pos(x - xh) + mu * pos(y - xh) / spread)
    spread_total = eq(over(pos(y - xh)), spread)
    summed = le(
        total(pos(Q[token] - Y[token])),
        over(s * pos(x - y)) + over(accepts_hat * pos(x - xh)) + mu,
    )
    claim = le(total(pos(Q[token] - Y[token])), over(s * pos(x - y)) + over(pos(x - xh)))
    return Statement(
        name="verification.bias_bound",
        title="Skipping and truncation: the biases add",
        source="here",
        status="departs",
        functions=("verification.bias_bound",),
        tests=(
            "test_bias_bound_is_the_derived_sum_and_holds",
            "test_the_distance_to_the_reconstruction_bounds_the_bias",
        ),
        assumptions=(
            "The server verifies with xhat instead of x; s_d as before; xhat differs from y and has no zero "
            "entry (tokens with xhat = 0 belong to the second case of each line, and xhat = y leaves q = x "
            "s + x (1 - s) = x).",
            "rho: chance that a draft is sent and rejected. R = TV(xhat, y). mu: the sum of (1 - min(1, "
            "y/xhat)) (x - xhat)_+.",
            "The left side of the statement is TV(q, y), the last sum is TV(x, xhat).",
        ),
        assumed=(unit, refused_is, spread_is, mu_is, means, *sums_to_one(XH, Y)),
        claims=(claim,),
        steps=(
            Step(text="The positive parts of xhat - y", claim=balance, rule=Orderings((y, xh))),
            Step(
                text="sum to the same on both sides,",
                claim=balanced,
                rule=summing(),
                uses=(balance, *sums_to_one(XH, Y)),
            ),
            Step(
                text="so R is either of them.",
                claim=spread_other,
                rule=Combine((1, -1)),
                uses=(spread_is, balanced),
            ),
            Step(
                text="One token's part of rho: where y < xhat, x (1-s) is at most xhat + (x - xhat)_+; "
                "elsewhere it is 0.",
                claim=second,
                rule=Orderings((x, y, xh)),
                uses=(unit,),
            ),
            Step(text="Sum over the vocabulary.", claim=second_sum, rule=summing(), uses=(second,)),
            Step(
                text="So rho exceeds R by at most mu.",
                claim=excess,
                rule=Combine((1, 1, -1, -1), sums=True),
                uses=(refused_is, second_sum, spread_other, mu_is),
            ),
            Step(
                text="One entry of the output against y. Where y < xhat it is s (x - y) + (1 - s)(y/xhat)(x "
                "- xhat); elsewhere (x - xhat) - (1 - rho/R)(y - xhat).",
                claim=line,
                rule=Orderings((x, y, xh), label="every order of x, y, xhat; both signs of the rest"),
                uses=(unit, excess),
            ),
            Step(text="Name the entry q.", claim=named, rule=Rename(), uses=(line, means)),
            Step(text="R is its sum.", claim=spread_total, rule=Combine((-1,)), uses=(spread_is,)),
            Step(
                text="Sum over the vocabulary.",
                claim=summed,
                rule=summing((q, Q[token])),
                uses=(named, spread_total),
            ),
            Step(
                text="The two parts of the truncation make one.",
                claim=claim,
                rule=Combine((1, 1), sums=True),
                uses=(summed, mu_is),
            ),
        ),
        departs="Data processing gives the first sum with xhat_d and the rejection probability against xhat; "
        "the bound also holds, as proved here, with x_d and the rejection probability beta_d = (1 - "
        "y_d/x_d)_+ that a trace records.",
    )


def server_sampling_law() -> Statement:
    """Show what a server that draws from its own law really costs."""
    p_skip = sp.Symbol("P_skip", positive=True)
    skip_is = eq(over(x * s), p_skip)
    law = x * s + (1 - p_skip) * y
    unit = eq(over(law), 1)
    excess = eq(law - y, x * s - p_skip * y)
    const = sp.Symbol("c", positive=True)
    constant = eq(pos(x * const - const * y), const * pos(x - y))
    lemma = total_variation()
    blind = eq(over(pos(x * const - const * y)), const * distance)
    top = sp.Symbol("x_1", positive=True)
    inside = lt(top, 1)
    two = pos(top * 1 - top * top) + pos((1 - top) * 0 - top * (1 - top))
    bias = eq(two, top * (1 - top))
    a, b = sp.symbols("x_d y_d", positive=True)
    risk = eq(at(pos(a - b), {a: top, b: top}), 0)
    quarter = eq(at(top * (1 - top), {top: sp.Rational(3, 4)}), sp.Rational(3, 16))
    worst = lt(0, bias.rhs)
    blind_skip = eq(over(x * const), const)
    return Statement(
        name="verification.server_sampling_law",
        title="A server that draws for itself is exact only if the skip rule ignores the draft",
        source="here",
        status="departs",
        functions=("verification.server_sampling_law",),
        tests=(
            "test_server_sampling_law",
            "test_the_server_sampling_law_is_what_a_walk_gives",
        ),
        assumptions=(
            "The device keeps d with probability s_d; otherwise the server ignores d and draws from y: q = x "
            "s + (1 - P_skip) y, with P_skip the sum of x s over the V tokens; T = TV(x, y).",
        ),
        assumed=(skip_is, inside, *DISTRIBUTIONS),
        lemmas=(lemma,),
        claims=(excess, blind, bias, worst),
        steps=(
            Step(text="The output is a law.", claim=unit, rule=SameSum(), uses=(skip_is, *DISTRIBUTIONS)),
            Step(
                text="One entry of the output against y: the bias is the sum of its positive parts.",
                claim=excess,
                rule=Evaluate(),
            ),
            Step(
                text="If s is a constant c, then P_skip = c",
                claim=blind_skip,
                rule=SameSum(),
                uses=(DISTRIBUTIONS[0],),
            ),
            Step(text="and, one token,", claim=constant, rule=Orderings((x, y))),
            Step(
                text="the bias is c TV(x, y), which equals the rejection risk: blind skipping costs what it "
                "should.",
                claim=blind,
                rule=summing(),
                uses=(constant, lemma.claims[0]),
            ),
            Step(
                text="Counterexample for a rule that looks at the draft: two tokens, y = x = (x_1, 1 - x_1), "
                "skip the first and only it. The risk is 0,",
                claim=risk,
                rule=Evaluate(),
            ),
            Step(
                text="yet P_skip = x_1 and the bias is the variance of the skip decision,",
                claim=bias,
                rule=Coefficients(),
                uses=(inside,),
            ),
            Step(text="strictly more,", claim=worst, rule=Coefficients(), uses=(inside,)),
            Step(text="for example at x_1 = 3/4.", claim=quarter, rule=Numeric()),
        ),
        departs="That the server draws from y looks free of bias. It is so only if the skip decision does "
        "not depend on d. With x = y = (3/4, 1/4) and s = (1, 0) its bias is 3/16 while CU-HLM's risk is 0. "
        "A server that knows what the device would have kept draws from the rest of y instead, and has the "
        "least bias there is (kept_law.achievability).",
    )


def sequence_bias() -> Statement:
    """Show that biases add along a sequence."""
    a, b, p, q = sp.symbols("a b p q", positive=True)
    line = le(sp.Abs(a * p - b * q), sp.Abs(a - b) * p + b * sp.Abs(p - q))
    P, Q = sp.IndexedBase("p"), sp.IndexedBase("q")
    A, B = sp.IndexedBase("a"), sp.IndexedBase("b")
    next_sum = total(sp.Abs(a * P[other] - b * Q[other]), other)
    next_tv = total(sp.Abs(P[other] - Q[other]), other)
    unit = eq(total(P[other], other), 1)
    inner = le(next_sum, sp.Abs(a - b) + b * next_tv)
    left, cond = sp.symbols("l d", nonnegative=True)
    left_is, cond_is = eq(left, next_sum), eq(cond, next_tv)
    named = le(left, sp.Abs(a - b) + b * cond)
    L, D = sp.IndexedBase("l"), sp.IndexedBase("d")
    claim = le(total(L[token]) / 2, total(sp.Abs(A[token] - B[token])) / 2 + total(B[token] * D[token]) / 2)
    doubled = le(total(L[token]), total(sp.Abs(A[token] - B[token])) + total(B[token] * D[token]))
    return Statement(
        name="verification.sequence_bias",
        title="Biases add along a sequence",
        source="textbook",
        status="printed",
        functions=("verification.sequence_bias_bound",),
        tests=(
            "test_sequence_bias_bounds_the_law_of_two_tokens",
            "test_sequences_differ_by_at_most_the_sum_of_the_biases_along_the_way",
            "test_sequence_bounds_at_their_ends",
        ),
        assumptions=(
            "a and b: laws of the context so far; p and q: laws of the next token given a context i.",
            "l_i and d_i name the inner sums: the left side is the TV of the longer sequences, d_i / 2 the "
            "bias in context i.",
        ),
        assumed=(unit, left_is, cond_is),
        claims=(claim,),
        steps=(
            Step(
                text="Add and subtract b p: one context, one next token.",
                claim=line,
                rule=Orderings((a, b, p, q)),
            ),
            Step(
                text="Sum over the next token.",
                claim=inner,
                rule=SumOver(other, size, ((p, P[other]), (q, Q[other]))),
                uses=(line, unit),
            ),
            Step(
                text="Name the sums.", claim=named, rule=Combine((1, 1, -b)), uses=(left_is, inner, cond_is)
            ),
            Step(
                text="Sum over the contexts.",
                claim=doubled,
                rule=SumOver(token, size, ((a, A[token]), (b, B[token]), (left, L[token]), (cond, D[token]))),
                uses=(named,),
            ),
            Step(
                text="Halve: the TV grows by at most the mean bias of the new token.",
                claim=claim,
                rule=Combine((sp.Rational(1, 2),)),
                uses=(doubled,),
            ),
        ),
        glue="Induction over the length of the sequence; the contexts are drawn from the decoder that is "
        "judged (b), or by symmetry from the LLM.",
    )


def first_divergence() -> Statement:
    """Bound the mean position of the first token that differs, and show when the bound is reached."""
    worst = sp.Symbol("b", positive=True)
    rounds = sp.Symbol("m", integer=True, positive=True)
    now, then = sp.symbols("a_n a_next", nonnegative=True)
    A = sp.IndexedBase("a")
    position, before = sp.symbols("E_T E_N", nonnegative=True)
    proof = Proof()
    start = proof.assume(eq(A[1], 1))
    survives = proof.assume(le(now - then, worst * now))
    partial = sp.Sum(A[token], (token, 1, rounds))
    sums = SumOver(token, rounds, ((now, A[token]), (then, A[token + 1])))
    summed = proof.step(
        "Agreement is lost at most in the share b. Sum over the first m tokens;",
        le(sp.Sum(A[token] - A[token + 1], (token, 1, rounds)), worst * partial),
        sums,
        survives,
    )
    ends = proof.step(
        "the losses telescope",
        eq(sp.Sum(A[token] - A[token + 1], (token, 1, rounds)), A[1] - A[rounds + 1]),
        Telescope(A[token]),
    )
    lost = proof.step(
        "to what is lost in all:", le(1 - A[rounds + 1], worst * partial), Combine(), summed, ends, start
    )
    last = sp.Symbol("a_end", nonnegative=True)
    last_is = proof.assume(eq(A[rounds + 1], last))
    falls = proof.assume(le(last, now))
    fewer = proof.step(
        "What agrees after m tokens agreed before each of them,",
        le(rounds * last, partial),
        sums,
        falls,
    )
    within = proof.assume(le(partial, position))
    bounded = proof.step(
        "so m times it is at most E_T,", le(rounds * last, position), Combine((1, 1)), fewer, within
    )
    every = proof.step(
        "and for every m",
        le(1 / (worst + 1 / rounds), position),
        Combine(
            (
                1 / (worst + 1 / rounds),
                1 / (worst + 1 / rounds),
                worst / (worst + 1 / rounds),
                1 / (rounds * worst + 1),
            )
        ),
        lost,
        last_is,
        within,
        bounded,
    )
    grows = proof.step(
        "As m grows", eq(sp.Limit(1 / (worst + 1 / rounds), rounds, sp.oo, "-"), 1 / worst), Evaluate()
    )
    claim = proof.step("the first difference comes at", le(1 / worst, position), ToLimit(), every, grows)
    apart = proof.assume(eq(before, position - 1))
    agrees = proof.step(
        "or later, and does not count among those before it.",
        le(1 / worst - 1, before),
        Combine((1, 1)),
        claim,
        apart,
    )
    steady = sp.Symbol("q", positive=True)
    series = geometric(
        steady, "With bias b in every context the first n - 1 tokens agree with chance q^(n-1)."
    )
    proof.assume(series.below_one)
    for line in series.steps:
        proof.step(line.text, line.claim, line.rule, *line.uses)
    steady_is = proof.assume(eq(worst, 1 - steady))
    mean = sp.Symbol("E_b", positive=True)
    mean_is = proof.assume(eq(mean, series.total))
    tail = proof.step(
        "So b E_b = 1.",
        eq(worst * mean, 1),
        Combine((mean, 1 - steady, 1)),
        steady_is,
        mean_is,
        series.value,
    )
    reached = proof.step("The bound is reached.", eq(mean, 1 / worst), Solve(mean), tail)
    proof.step("At bias 1 the first token already differs.", eq(at(1 / worst - 1, {worst: 1}), 0), Evaluate())
    return Statement(
        name="verification.first_divergence",
        title="First divergence",
        source="here",
        status="departs",
        functions=("verification.first_divergence",),
        tests=(
            "test_first_divergence",
            "test_no_course_of_biases_diverges_earlier_than_the_worst_one_throughout",
            "test_sequences_differ_by_at_most_the_sum_of_the_biases_along_the_way",
        ),
        assumptions=(
            "Two texts are drawn together so that, where they agree so far, the next token differs with the "
            "bias of that context, at most b in any (the best coupling of two laws). a_n is the chance that "
            "the first n - 1 tokens agree, a_next that one more does; they never rise, and a_end is the "
            "last of m + 1.",
            "E_T, the mean position of the first token that differs, counted from 1, is the sum of all a_n, "
            "so at least that of the first m; if it is infinite nothing is to be shown. E_N = E_T - 1 "
            "tokens come before it. E_b is E_T where the bias is b = 1 - q in every context.",
        ),
        assumed=proof.assumed,
        claims=(claim, agrees, reached),
        steps=proof.steps,
        departs="It is tempting to read 1/max bias as the number of tokens before the first divergence. It "
        "is the position of the diverging token; before it there are 1/max bias - 1. At bias 1 there are "
        "none.",
    )


BUILDERS: tuple[Builder, ...] = (
    total_variation,
    rejection_probability,
    residual,
    output_law,
    kept_given_token,
    risk_is_bias,
    data_processing,
    bias_bound,
    server_sampling_law,
    sequence_bias,
    first_divergence,
)
