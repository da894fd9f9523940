"""The packets: what a set costs by its gaps, and what rounding a truncated law to few bits costs."""

import sympy as sp

from derivations.rules import Combine, Evaluate, Monotone, Orderings, Substitute
from derivations.statement import Builder, Proof, Statement, eq, le
from derivations.truncation import quantisation_tv_bound
from derivations.vocabulary import pos


def gap_length() -> Statement:
    """Bound the bits of a set by its gaps, and compare them with the logarithm of the number of sets.

    Returns
    -------
    Statement
        At most 2 - log2 e, 0.56 bits, a token above it, and a logarithm.
    """
    few, gap, part = sp.symbols("n m t", positive=True)  # tokens named; their mean gap is t m, m = 2^r
    unary, gaps, low, others, length, sets, vocab, odds = sp.symbols("Q G S N L C V x", positive=True)
    mean = part * gap
    proof = Proof()
    divided = proof.assume(eq(gaps, gap * unary + low))
    fits = proof.assume(le(gaps, others))
    others_is = proof.assume(eq(others, few * mean))
    length_is = proof.assume(eq(length, few * (1 + sp.log(gap, 2)) + unary))
    chord = proof.assume(le(part - 1, sp.log(part, 2)))
    entropy = few * sp.log(1 + mean, 2) + few * mean * sp.log(1 + 1 / mean, 2)
    types = proof.assume(le(entropy, sp.log(sets, 2) + sp.log(vocab + 1, 2)))
    quotients = proof.step(
        "The unary parts are the gaps over 2^r, less what the low bits hold: all gaps together fit in N.",
        le(unary, others / gap),
        Combine((1 / gap, 1 / gap)),
        divided,
        fits,
    )
    bound = proof.step(
        "So no set of n tokens takes more than",
        le(length, few * (1 + sp.log(gap, 2)) + others / gap),
        Combine(),
        length_is,
        quotients,
    )
    by_part = proof.step(
        "which is, with N = n t 2^r,",
        le(length, few * (1 + sp.log(gap, 2)) + few * part),
        Combine((1, 1 / gap)),
        bound,
        others_is,
    )
    by_mean = proof.step(
        "and by the chord of the logarithm",
        le(length, few * (2 + sp.log(mean, 2))),
        Combine((1, few)),
        by_part,
        chord,
    )
    rise = sp.log(1 + odds) - odds / (1 + odds)
    slope = proof.step(
        "Compare ln(1 + x) with x/(1 + x): it rises", le(0, sp.Derivative(rise, odds)), Evaluate()
    )
    start = proof.step("from 0,", eq(sp.Limit(rise, odds, 0), 0), Evaluate())
    above = proof.step("so it is not below.", le(0, rise), Monotone(odds), slope, start)
    nat = proof.step(
        "At x = 1/(t m), the inverse of the mean gap,",
        le(0, sp.log(1 + 1 / mean) - 1 / (1 + mean)),
        Substitute(((odds, 1 / mean),)),
        above,
    )
    split = proof.step(
        "The entropy has a part that the length has, and another:",
        eq(entropy, few * sp.log(mean, 2) + few * (1 + mean) * sp.log(1 + 1 / mean, 2)),
        Evaluate(),
    )
    claim = proof.step(
        "of which each token has log2 e at least. So the length exceeds the logarithm by no more than",
        le(length, sp.log(sets, 2) + few * (2 - 1 / sp.log(2)) + sp.log(vocab + 1, 2)),
        Combine((1, 1, 1, few * (1 + mean) / sp.log(2))),
        by_mean,
        split,
        types,
        nat,
    )
    return Statement(
        name="codec.gap_length",
        title="A set by its gaps",
        source="here; the code is that of Golomb and Rice",
        status="new",
        functions=("codec.bits.most_subset_bit",),
        tests=(
            "test_no_set_is_longer_than_derived",
            "test_the_longest_set_is_as_long_as_the_bound",
            "test_a_set_comes_back_and_takes_no_more_than_its_bound",
        ),
        assumptions=(
            "n of V tokens are named, at most half of them, N = V - n are not. The gap g before each that is "
            "named is written as its lowest r bits and, in unary with one bit to end it, the rest q of g = q "
            "m + low bits, m = 2^r. Q, G, S: sums of rests, gaps and low bits.",
            "2^r <= floor(N/n) < 2^(r + 1), so N = n t m with 1 <= t < 2; between 1 and 2 the logarithm is "
            "above its chord, t - 1 <= log2 t.",
            "C is the number of sets of n of V tokens. Of all numbers of tokens that V coins of bias n/V can "
            "name, of which there are V + 1, n is the likeliest: C >= 2^(V H(n/V)) / (V + 1) (textbook).",
        ),
        assumed=proof.assumed,
        claims=(bound, claim),
        steps=proof.steps,
    )


def truncated_rounding() -> Statement:
    """Bound what is lost when the k largest probabilities arrive with few bits each.

    Returns
    -------
    Statement
        The truncation and a quarter of a level an entry, the tail being one of them.
    """
    lemma = quantisation_tv_bound()
    rounding = lemma.claims[-1]
    entries = next(one for one in rounding.rhs.free_symbols if one.name == "n")
    levels, cells = next(one for one in rounding.rhs.free_symbols if one.name == "ell"), rounding.lhs
    prob, high, low = sp.symbols("x c d", positive=True)
    tail, joined = sp.symbols("t z", positive=True)
    truncated, before, after, kept = sp.symbols("T_k B A k", positive=True)
    proof = Proof()
    spread = proof.assume(eq(low * (tail + joined), high * tail))
    moved = proof.assume(le(after, before + tail * (high - low) - joined * low))
    triangle = proof.assume(le(before, truncated + cells))
    counted = proof.assume(eq(entries, kept + 1))
    proof.step(
        "Where a tail token is given less, it lacks no more than what was taken,",
        le(pos(prob - low), pos(prob - high) + (high - low)),
        Orderings((prob, low, high)),
        proof.assume(le(low, high)),
    )
    balance = proof.step(
        "which is what the others are given.",
        eq(tail * (high - low), joined * low),
        Combine(),
        spread,
    )
    nearer = proof.step("So nothing is lost by joining,", le(after, before), Combine(), moved, balance)
    claim = proof.step(
        "and truncation and rounding, the tail a further entry, are all that is.",
        le(after, truncated + (kept + 1) / (4 * levels)),
        Combine((1, 1, 1, 1 / (4 * levels))),
        nearer,
        triangle,
        rounding,
        counted,
    )
    return Statement(
        name="codec.truncated_rounding",
        title="A truncated law in few bits",
        source="here",
        status="new",
        functions=("codec.laws.round_truncated",),
        tests=(
            "test_a_truncated_law_in_few_bits_is_as_near_as_derived",
            "test_joining_the_tail_is_never_farther_than_sending_zeros",
        ),
        assumptions=(
            "The k largest probabilities and the mass of the tail, n = k + 1 numbers that sum to 1, are "
            "rounded to multiples of 1/ell by largest remainders: a total variation of T (lemma). Spread "
            "evenly over the tail it is as much from the truncated law, so B, that from x, is at most T_k + "
            "T.",
            "z entries that are left with nothing join the t tokens of the tail, so that each of these has d "
            "where it had c. A is the total variation from x after that, as B is before.",
            "An entry is at least every token of the tail. If one of the z is below d, so is the whole tail, "
            "which then lacks nothing, and A <= B. Else each of the z lacks d less than before, and each of "
            "the tail c - d more at most.",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(nearer, claim),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (gap_length, truncated_rounding)
