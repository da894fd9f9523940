"""The law of the text: what a charge on one text says of it on another."""

import sympy as sp

from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Orderings,
    Rename,
    SumOver,
    Telescope,
    pairs,
)
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt
from derivations.vocabulary import pos, size, sums_to_one, token, total

q, y, t = sp.symbols("q y t", nonnegative=True)
x = sp.Symbol("x", positive=True)
v = sp.Symbol("v", real=True)
Q, Y, X, V, T = (sp.IndexedBase(name) for name in ("q", "y", "x", "v", "t"))
place, length = sp.symbols("n N", integer=True, positive=True)
"""A token's place in the text, and the tokens of a text."""
charge, span = sp.symbols("r S", nonnegative=True)
hybrid, large = sp.symbols("R_q R_y", nonnegative=True)
"""Charge of a whole text: as hybrid decoding writes it, and as the large model does."""

_COORDINATES = pairs((q, y, x, v, t), (Q[token], Y[token], X[token], V[token], T[token]))
_MOVED = total((Q[token] - Y[token]) * V[token])
_TEXTS = (
    "Texts of N tokens that begin with one prompt. c is a context, what was written so far; in it y is the "
    "large model's law on V tokens and q that of hybrid decoding, r a charge: any number that the context "
    "has."
)
_VALUE = (
    "v_w, for the next token w: the charges still to come where the large model writes on after c w; it is "
    "0 behind the last token."
)


def _summing() -> SumOver:
    return SumOver(token, size, _COORDINATES)


def difference() -> Statement:
    """Show by how much the charges of two texts differ, exactly."""
    now, after, gap, mean = sp.symbols("A_n A_after D_n a", real=True)
    value, given = sp.Symbol("v_c", real=True), sp.Symbol("d", real=True)
    A, D, R = (sp.IndexedBase(name) for name in ("A", "D", "r"))
    weight, context, contexts = (
        sp.Symbol("p", nonnegative=True),
        *sp.symbols("k K", integer=True, positive=True),
    )
    P, GIVEN, MEAN, VALUE, CHARGE = (sp.IndexedBase(name) for name in ("p", "d", "a", "v_c", "r_c"))
    proof = Proof()
    given_is = proof.assume(eq(given, _MOVED))
    mean_is = proof.assume(eq(mean, total(Q[token] * V[token])))
    bellman = proof.assume(eq(value, charge + total(Y[token] * V[token])))
    split = proof.step(
        "In one context, the sum splits,",
        eq(_MOVED, total(Q[token] * V[token]) - total(Y[token] * V[token])),
        _summing(),
        proof.step("One token:", eq((q - y) * v, q * v - y * v), Evaluate()),
    )
    local = proof.step(
        "and with what the context is worth to the large model,",
        eq(given, mean - value + charge),
        Combine((1, 1, 1, 1)),
        given_is,
        split,
        mean_is,
        bellman,
    )
    over = proof.step(
        "Average over the contexts that hybrid text meets before token n, each with its chance p.",
        eq(
            sp.Sum(P[context] * GIVEN[context], (context, 1, contexts)),
            sp.Sum(P[context] * MEAN[context], (context, 1, contexts))
            - sp.Sum(P[context] * VALUE[context], (context, 1, contexts))
            + sp.Sum(P[context] * CHARGE[context], (context, 1, contexts)),
        ),
        SumOver(
            context,
            contexts,
            pairs(
                (weight, given, mean, value, charge),
                (P[context], GIVEN[context], MEAN[context], VALUE[context], CHARGE[context]),
            ),
        ),
        proof.step(
            "Each context times its chance:",
            eq(weight * given, weight * mean - weight * value + weight * charge),
            Combine((weight,)),
            local,
        ),
    )
    one = proof.assume(eq(charge, gap + now - after))
    summed = proof.step(
        "So before token n the mean charge is what the mean of D is short of A_(n+1) - A_n. Sum over the "
        "text:",
        eq(
            sp.Sum(R[place], (place, 1, length)),
            sp.Sum(D[place], (place, 1, length)) + sp.Sum(A[place] - A[place + 1], (place, 1, length)),
        ),
        SumOver(
            place,
            length,
            pairs((charge, gap, now, after), (R[place], D[place], A[place], A[place + 1])),
        ),
        one,
    )
    ends = proof.step(
        "what the contexts are worth telescopes,",
        eq(sp.Sum(A[place] - A[place + 1], (place, 1, length)), A[1] - A[length + 1]),
        Telescope(A[place]),
    )
    start, end = proof.assume(eq(A[1], large)), proof.assume(eq(A[length + 1], 0))
    whole = proof.assume(eq(hybrid, sp.Sum(R[place], (place, 1, length))))
    claim = proof.step(
        "The first context is the same for both, and behind the last token nothing is to come.",
        eq(hybrid - large, sp.Sum(D[place], (place, 1, length))),
        Combine((1, 1, 1, 1, 1)),
        whole,
        summed,
        ends,
        start,
        end,
    )
    return Statement(
        name="texts.difference",
        title="By how much the charges of two texts differ",
        source="here",
        status="new",
        functions=(),
        tests=(
            "test_the_charges_of_two_texts_differ_by_the_derived_sum",
            "test_the_difference_of_the_charges_is_found_by_walking_every_text",
        ),
        assumptions=(
            _TEXTS,
            _VALUE
            + " v_c is the same for the context itself: its charge r_c, and A_after, what then follows.",
            "In a context, d is the sum of (q - y) v and a the mean of v under q. Before token n, hybrid "
            "text is in context k of K with chance p_k; A_n is the mean of v_c there, A_(n+1) that of a, "
            "D_n that of d and r_n that of the charge, as the average over contexts says.",
            "R_q and R_y are the mean charges of the whole texts, each as it is written by its own law: A_1 "
            "is R_y, since the first context is the prompt.",
        ),
        assumed=proof.assumed,
        claims=(local, over, claim),
        steps=proof.steps,
        glue="A_(n+1) is the mean of a before token n, because the next context is c w with chance q_w.",
    )


def span_bound() -> Statement:
    """Bound the charge on hybrid text by that on the large model's, where the future differs by little."""
    low = sp.Symbol("v_0", real=True)
    bias, gap = sp.Symbol("b", nonnegative=True), sp.Symbol("d", real=True)
    R, D = sp.IndexedBase("r"), sp.IndexedBase("D")
    proof = Proof()
    unit_q, unit_y = (proof.assume(relation) for relation in sums_to_one(Q, Y))
    given_is = proof.assume(eq(gap, _MOVED))
    lowest, widest = proof.assume(eq(v, low + t)), proof.assume(le(t, span))
    above = proof.assume(eq(total(pos(Q[token] - Y[token])), bias))
    below = proof.assume(eq(total(pos(Y[token] - Q[token])), bias))
    charged = proof.assume(le(bias, charge))
    moved = proof.step(
        "What all next tokens have in common cancels, since both laws sum to 1:",
        eq(_MOVED, total((Q[token] - Y[token]) * T[token])),
        _summing(),
        proof.step("One token,", eq((q - y) * v, low * q - low * y + (q - y) * t), Evaluate(), lowest),
        unit_q,
        unit_y,
    )
    most = proof.step(
        "The rest is at most",
        le(total((Q[token] - Y[token]) * T[token]), span * bias),
        _summing(),
        proof.step("and", le((q - y) * t, span * pos(q - y)), Orderings((q, y)), widest),
        above,
    )
    least = proof.step(
        "and at least",
        le(-span * bias, total((Q[token] - Y[token]) * T[token])),
        _summing(),
        proof.step("and", le(-span * pos(y - q), (q - y) * t), Orderings((q, y)), widest),
        below,
    )
    up = proof.step(
        "The bias is at most the charge, so in every context",
        le(gap, span * charge),
        Combine((1, 1, 1, span)),
        given_is,
        moved,
        most,
        charged,
    )
    down = proof.step(
        "and", le(-span * charge, gap), Combine((1, 1, 1, span)), given_is, moved, least, charged
    )
    along = SumOver(place, length, pairs((charge, gap), (R[place], D[place])))
    total_r, total_d = sp.Sum(R[place], (place, 1, length)), sp.Sum(D[place], (place, 1, length))
    whole = proof.assume(eq(hybrid, total_r))
    apart = proof.assume(eq(hybrid - large, total_d))
    larger = proof.step("Sum over the text:", le(total_d, span * total_r), along, up)
    smaller = proof.step("and", le(-span * total_r, total_d), along, down)
    upper = proof.step(
        "With the exact difference (texts.difference)",
        le(hybrid * (1 - span), large),
        Combine((span, 1, 1)),
        whole,
        apart,
        larger,
    )
    lower = proof.step("and", le(large, hybrid * (1 + span)), Combine((span, 1, 1)), whole, apart, smaller)
    short = proof.assume(lt(span, 1))
    claims = (
        proof.step("Divide:", le(large / (1 + span), hybrid), Coefficients(), lower),
        proof.step("and, where S is below 1,", le(hybrid, large / (1 - span)), Coefficients(), short, upper),
    )
    return Statement(
        name="texts.span_bound",
        title="Charges of two texts whose future differs by little",
        source="here",
        status="new",
        functions=(),
        tests=(
            "test_the_charge_of_hybrid_text_keeps_to_the_derived_bounds",
            "test_the_bounds_of_the_span_hold_in_random_chains",
        ),
        assumptions=(
            _TEXTS,
            _VALUE + " v_0 is the least of them in a context and t_w what v_w has above it, S the most that "
            "any context has.",
            "b = TV(q, y), the sum of either positive part (verification.total_variation), is at most the "
            "charge r in every context. d is the sum of (q - y) v, and R_q - R_y the sum over the text of "
            "its means under hybrid text (texts.difference); in the sums r_n and D_n are the means before "
            "token n.",
        ),
        assumed=proof.assumed,
        claims=claims,
        steps=proof.steps,
        glue="A relation that holds in every context holds for the means over contexts.",
    )


def crude_bound() -> Statement:
    """Show that accumulated bias says nothing after 1/epsilon tokens."""
    P = sp.IndexedBase("e")
    apart, then, each = sp.symbols("e_n e_after epsilon", nonnegative=True)
    bias, number = sp.Symbol("b", nonnegative=True), sp.Symbol("m", positive=True)
    proof = Proof()
    kept = proof.assume(eq(then, apart + (1 - apart) * bias))
    small, some = proof.assume(le(bias, each)), proof.assume(le(apart, 1))
    first = proof.assume(eq(P[1], 0))
    step = proof.step(
        "Two texts that are still the same part at the next token with chance b.",
        le(then - apart, each),
        Coefficients(),
        small,
        some,
        kept,
    )
    summed = proof.step(
        "Sum over the text:",
        le(sp.Sum(P[place + 1] - P[place], (place, 1, length)), length * each),
        SumOver(place, length, pairs((apart, then), (P[place], P[place + 1]))),
        step,
    )
    ends = proof.step(
        "The left side telescopes.",
        eq(sp.Sum(P[place + 1] - P[place], (place, 1, length)), P[length + 1] - P[1]),
        Telescope(-P[place]),
    )
    claim = proof.step(
        "So after N tokens the texts have parted with chance at most",
        le(P[length + 1], length * each),
        Combine((1, 1, 1)),
        summed,
        ends,
        first,
    )
    vacuous = proof.step(
        "which says nothing from 1/epsilon tokens on;",
        eq(at(number * each, {number: 1 / each}), 1),
        Evaluate(),
    )
    true = proof.step(
        "and it is no artefact: if b is epsilon in every context, the share of texts that have not parted "
        "by then is, for small epsilon,",
        eq(sp.Limit((1 - 1 / number) ** number, number, sp.oo, "-"), sp.exp(-1)),
        Evaluate(),
    )
    return Statement(
        name="texts.crude_bound",
        title="Accumulated bias says nothing of long texts",
        source="textbook",
        status="printed",
        functions=(),
        tests=(
            "test_texts_part_at_most_as_fast_as_derived",
            "test_coupled_texts_part_as_often_as_the_bias_accumulates",
        ),
        assumptions=(
            _TEXTS,
            "Both texts are written together, each next token the same with chance 1 - b, b = TV(q, y) at "
            "most epsilon in every context (a maximal coupling); e_n is the chance that they differ before "
            "token n. What is charged on one text and not on the other is charged only where they have "
            "parted.",
        ),
        assumed=proof.assumed,
        claims=(claim, vacuous, true),
        steps=proof.steps,
    )


def not_between() -> Statement:
    """Show that the charge on hybrid text need not lie between those on the two models' texts."""
    a, b, c, d, g = sp.symbols("a b c d g", positive=True)
    own = a - b
    charges = {name: own + one * two * g for name, one, two in (("x", a, d), ("y", b, c), ("q", a, c))}
    proof = Proof()
    more, less = proof.assume(lt(b, a)), proof.assume(lt(d, c))
    kept = a + (1 - a) * pos(b - a) / (pos(b - a) + (1 - b))
    filled = d + (1 - d) * pos(c - d) / (pos(c - d) + (1 - c))
    claims = (
        proof.step(
            "In the prompt the device keeps token 1, which it overrates: the server never draws it.",
            eq(kept, a),
            Orderings((a, b)),
            more,
        ),
        proof.step(
            "After it, it keeps token 1 again, which it underrates: the server fills up to the large "
            "model's law.",
            eq(filled, c),
            Orderings((c, d)),
            less,
        ),
        proof.step(
            "So hybrid text reaches the third context with chance a c, more than the small model's, a d,",
            lt(charges["x"], charges["q"]),
            Combine((a * g,)),
            less,
        ),
        proof.step(
            "and than the large model's, b c.",
            lt(charges["y"], charges["q"]),
            Combine((c * g,)),
            more,
        ),
    )
    return Statement(
        name="texts.not_between",
        title="Hybrid text need not lie between the texts of the two models",
        source="here",
        status="departs",
        functions=(),
        tests=(
            "test_a_hybrid_charge_lies_outside_as_derived",
            "test_hybrid_charges_lie_outside_in_a_share_of_random_chains",
        ),
        assumptions=(
            "Two tokens. In the prompt the small model gives token 1 chance a, the large one b < a; after "
            "it d and c > d. The device keeps token 1 in both and sends token 2 to a server that draws from "
            "what is left (kept_law.achievability). The charge is the excess of the kept law: a - b in the "
            "prompt, 0 after token 1, and g after two tokens 1; elsewhere 0.",
        ),
        assumed=(more, less),
        claims=claims,
        steps=proof.steps,
        departs="One expects the charge on hybrid text between that on the small model's text and that on "
        "the large one's; here it is above both, whatever a > b, c > d and g. So neither trace, nor both, "
        "bracket it.",
    )


def importance_ratio() -> Statement:
    """Show how much likelier hybrid text writes the small model's token than the small model."""
    share, over = sp.symbols("s h", nonnegative=True)
    asks, excess = sp.symbols("p e", positive=True)
    proof = Proof()
    law = proof.assume(eq(q, share * x + asks * pos(over * x - share * x) / (asks + excess)))
    divided = proof.step(
        "Divide by x, which is positive.",
        eq(law.rhs / x, share + asks * pos(over - share) / (asks + excess)),
        Orderings((over, share)),
    )
    claim = proof.step(
        "Name it:", eq(q / x, share + asks * pos(over - share) / (asks + excess)), Rename(), divided, law
    )
    alone = proof.step(
        "A device that keeps nothing makes it y / x,",
        eq(at(claim.rhs, {share: 0, asks: 1, excess: 0}), over),
        Evaluate(),
    )
    return Statement(
        name="texts.importance_ratio",
        title="How much likelier hybrid text writes a token than the small model",
        source="here",
        status="new",
        functions=("texts.importance_ratio",),
        tests=(
            "test_the_ratio_is_the_derived_one",
            "test_the_ratio_is_that_of_the_output_law",
        ),
        assumptions=(
            "In one context the small model writes a token with x, of which the device keeps the share s; h "
            "= y / x. It asks with chance p, and e is the excess of what it keeps: what is left of y sums "
            "to p + e, and q is the law of hybrid text (both kept_law.achievability).",
        ),
        assumed=proof.assumed,
        claims=(claim, alone),
        steps=proof.steps,
    )


def collapse() -> Statement:
    """Show that importance weights leave one text after a number of tokens."""
    apart = sp.Symbol("chi", positive=True)
    count, left = sp.symbols("M n_eff", positive=True)
    mean, square = sp.symbols("w_1 w_2", positive=True)
    proof = Proof()
    unit_q, unit_x = (proof.assume(relation) for relation in sums_to_one(Q, X))
    far = proof.assume(eq(total((Q[token] - X[token]) ** 2 / X[token]), apart))
    second = proof.step(
        "The ratio has mean 1 under the small model, and a second moment above:",
        eq(total(Q[token] ** 2 / X[token]), 1 + apart),
        Combine((1, 2, -1), sums=True),
        far,
        unit_q,
        unit_x,
    )
    once = proof.assume(eq(mean, 1))
    product = proof.assume(eq(square, sp.Product(1 + apart, (place, 1, length))))
    kish = proof.assume(eq(left, count * mean**2 / square))
    claim = proof.step(
        "Contexts alike multiply their moments, so of M texts there are left",
        eq(left, count / (1 + apart) ** length),
        Evaluate(),
        kish,
        once,
        product,
    )
    gone = proof.step(
        "one as soon as the text has ln M / ln(1 + chi) tokens.",
        eq(at(count * sp.exp(-v * sp.log(1 + apart)), {v: sp.log(count) / sp.log(1 + apart)}), 1),
        Evaluate(),
    )
    return Statement(
        name="texts.collapse",
        title="Importance weights leave one text",
        source="textbook",
        status="printed",
        functions=("texts.effective_texts",),
        tests=(
            "test_weights_of_contexts_alike_leave_the_derived_number_of_texts",
            "test_the_weights_of_the_recorded_texts_collapse",
        ),
        assumptions=(
            "q is the law that is wanted in a context, x that which wrote, chi their chi-square divergence. "
            "M texts of N tokens are weighed with the product of q / x along them; w_1 and w_2 are the mean "
            "and the mean square of a weight, n_eff Kish's effective sample size. The contexts are alike "
            "and independent: v = 1 + chi is the second moment of each factor.",
        ),
        assumed=proof.assumed,
        claims=(second, claim, gone),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (
    difference,
    span_bound,
    crude_bound,
    not_between,
    importance_ratio,
    collapse,
)
"""All statements, found on call: importing this module imports no derivation."""
