"""The payload: how many bits a truncated distribution costs."""

import sympy as sp

from derivations.rules import Coefficients, Combine, Evaluate, Numeric, Orderings, Solve
from derivations.series import geometric
from derivations.statement import Builder, Statement, Step, at, eq, le, lt, rounds_to

vocab, kept = sp.symbols("V k", integer=True, positive=True)
prob_bits, index_bits = sp.symbols("b_prob b_index", integer=True, positive=True)
published_vocab = sp.Integer(32000)
CU_PROB_BITS = sp.Integer(8)

SOURCE_CU = "CU eq. (5), arXiv:2505.11788v1"


def _printed(k: sp.Expr, size: sp.Expr, bits: sp.Expr) -> sp.Expr:
    return k * (bits + sp.ceiling(sp.log(size, 2)))


def printed() -> Statement:
    """Check the printed payload against its published numbers.

    Returns
    -------
    Statement
        B(k) with the three numbers of the literature.
    """
    total = sp.Symbol("B", positive=True)
    entry = sp.Symbol("i", integer=True, positive=True)
    sent = eq(total, sp.Sum(prob_bits + sp.ceiling(sp.log(vocab, 2)), (entry, 1, kept)))
    formula = _printed(kept, vocab, prob_bits)
    summed = eq(total, formula)
    bits = sp.Symbol("j", integer=True, positive=True)
    index = eq(at(sp.ceiling(sp.log(vocab, 2)), {vocab: published_vocab}), 15)
    below = lt(at(2**bits, {bits: 14}), published_vocab)
    above = le(published_vocab, at(2**bits, {bits: 15}))
    full = eq(at(formula, {kept: published_vocab, vocab: published_vocab, prob_bits: CU_PROB_BITS}), 736000)
    byte = eq(at(total / 8, {total: 736000}), 92000)
    short = eq(at(formula, {kept: 30, vocab: published_vocab, prob_bits: CU_PROB_BITS}), 690)
    share = lt(at(total / 736000, {total: 690}), sp.Rational(1, 1000))
    short_byte = eq(at(total / 8, {total: 690}), sp.Rational("86.25"))
    return Statement(
        name="payload.printed",
        title="Printed payload",
        source=SOURCE_CU,
        status="printed",
        functions=("payload.printed_bit",),
        tests=(
            "test_printed_and_resync",
            "test_the_whole_distribution_is_the_published_92_kilobyte",
            "test_the_printed_codec_pays_value_and_index_for_each_entry",
        ),
        assumptions=(
            "Each of the k kept entries carries its probability, b_prob bits, and its index, ceil(log2 V) "
            "bits (enough for V tokens: j = ceil(log2 V) is the least j with 2^j >= V).",
        ),
        assumed=(sent,),
        claims=(summed, full, byte, short, short_byte, share),
        steps=(
            Step(text="Add up the entries.", claim=summed, rule=Evaluate(), uses=(sent,)),
            Step(text="32000 tokens need more than 14 bits,", claim=below, rule=Numeric()),
            Step(text="and no more than 15.", claim=above, rule=Numeric()),
            Step(text="So an index has 15 bits.", claim=index, rule=Numeric()),
            Step(text="All entries, 8 bits each, in bit", claim=full, rule=Numeric()),
            Step(text="and in byte.", claim=byte, rule=Numeric()),
            Step(text="Thirty entries, in bit", claim=short, rule=Numeric()),
            Step(text="and in byte,", claim=short_byte, rule=Numeric()),
            Step(text="less than a thousandth.", claim=share, rule=Numeric()),
        ),
    )


def dense() -> Statement:
    """Find when sending all entries without indices is shorter.

    Returns
    -------
    Statement
        The break-even k of the dense codec.
    """
    surplus = kept * (prob_bits + index_bits) - vocab * prob_bits
    turn = eq(at(surplus, {kept: vocab * prob_bits / (prob_bits + index_bits)}), 0)
    slope = eq(surplus.subs(kept, kept + 1) - surplus, prob_bits + index_bits)
    edge = sp.floor(vocab * prob_bits / (prob_bits + index_bits))
    published = eq(at(edge, {vocab: published_vocab, prob_bits: 8, index_bits: 15}), 11130)
    return Statement(
        name="payload.dense",
        title="Dense payload",
        source="here",
        status="new",
        functions=("payload.dense_bit",),
        tests=(
            "test_dense_meets_printed_at_the_derived_size",
            "test_the_dense_codec_needs_no_index",
        ),
        assumptions=(
            "All V probabilities in order need no index: V b_prob bits. The printed codec adds b_index bits "
            "to each of k entries.",
        ),
        claims=(turn, slope, published),
        steps=(
            Step(text="Printed minus dense vanishes at this k,", claim=turn, rule=Evaluate()),
            Step(text="and grows with every kept entry.", claim=slope, rule=Evaluate()),
            Step(
                text="For the published setting the printed codec is shorter up to",
                claim=published,
                rule=Numeric(),
            ),
        ),
    )


def enumerative() -> Statement:
    """Show that one number for the index set is never longer than an index an entry.

    Returns
    -------
    Statement
        C(V, k) <= V^k.
    """
    n = sp.Symbol("n", integer=True, nonnegative=True)
    spare = sp.Symbol("m", integer=True, nonnegative=True)
    k_1 = n + 1
    size = n + 1 + spare  # V >= n + 1
    ratio = eq(sp.binomial(size, k_1) / sp.binomial(size, n), (size - n) / k_1)
    small = le((size - n) / k_1, size)
    number = sp.Symbol("c", positive=True)
    whole = sp.Symbol("u", integer=True, nonnegative=True)
    rounded = le(sp.ceiling(whole - number) - whole, 0)
    return Statement(
        name="payload.enumerative",
        title="Enumerative payload",
        source="here",
        status="new",
        functions=("payload.enumerative_bit",),
        tests=(
            "test_enumerative_is_the_count_of_sets_and_never_longer_than_printed",
            "test_the_enumerative_codec_numbers_every_set_of_indices",
        ),
        assumptions=(
            "The kept set is one of C(V, k) sets, so ceil(log2 C(V, k)) bits name it. k = n + 1 and V = n + "
            "1 + m, with n, m >= 0.",
        ),
        claims=(small, rounded),
        steps=(
            Step(text="One more kept entry multiplies the number of sets by", claim=ratio, rule=Evaluate()),
            Step(
                text="at most V; so C(V, k) <= V^k, starting from C(V, 0) = 1,",
                claim=small,
                rule=Coefficients(),
            ),
            Step(
                text="and log2 C(V, k) is the whole number u = k ceil(log2 V) less some c >= 0: rounding up "
                "cannot pass u. So the enumerative codec is never longer than the printed one.",
                claim=rounded,
                rule=Evaluate(),
            ),
        ),
        glue="The product of k ratios of at most V is at most V^k.",
    )


def best() -> Statement:
    """Show that the shortest of three codecs is at most each of them.

    Returns
    -------
    Statement
        The minimum, and that it does not change the order in k.
    """
    one, two, three, more = sp.symbols("B_1 B_2 B_3 d", nonnegative=True)
    least = le(sp.Min(one, two, three), one)
    grows = le(sp.Min(one, three), sp.Min(one + more, three))
    return Statement(
        name="payload.best",
        title="Shortest codec",
        source="here",
        status="new",
        functions=("payload.distribution_bit",),
        tests=(
            "test_the_best_codec_is_the_derived_minimum_and_never_falls_with_k",
            "test_the_best_codec_is_the_least_of_the_three",
        ),
        assumptions=(
            "B_1, B_2, B_3: bits of the three codecs; two bits that name the codec are not charged.",
        ),
        claims=(least, grows),
        steps=(
            Step(text="The minimum is at most each.", claim=least, rule=Orderings((one, two, three))),
            Step(
                text="Where one codec grows by d with k and another does not, the minimum does not fall.",
                claim=grows,
                rule=Orderings((one, three, more)),
            ),
        ),
    )


def index_only() -> Statement:
    """Show that ceil(log2 V) bits name a token and one bit less does not.

    Returns
    -------
    Statement
        The bits of one index.
    """
    power = sp.Symbol("j", integer=True, nonnegative=True)
    enough = eq(sp.ceiling(sp.log(2**power, 2)), power)
    fits = le(2**power + 1, 2 ** (power + 1))
    llama = eq(at(sp.ceiling(sp.log(vocab, 2)), {vocab: published_vocab}), 15)
    smollm = eq(at(sp.ceiling(sp.log(vocab, 2)), {vocab: 49152}), 16)
    return Statement(
        name="payload.index_only",
        title="Index alone",
        source="textbook",
        status="printed",
        functions=("payload.index_only_bit",),
        tests=(
            "test_index_only_names_every_token_and_one_bit_less_does_not",
            "test_an_index_names_every_token_and_no_more",
        ),
        assumptions=("An index has a fixed length; j bits name at most 2^j of the V tokens.",),
        claims=(enough, llama, smollm),
        steps=(
            Step(text="A power of two needs its exponent,", claim=enough, rule=Evaluate()),
            Step(
                text="one token more does not fit j bits, and fits j + 1.",
                claim=fits,
                rule=Evaluate(),
            ),
            Step(text="32000 tokens:", claim=llama, rule=Numeric()),
            Step(text="49152 tokens:", claim=smollm, rule=Numeric()),
        ),
    )


def resync() -> Statement:
    """Count the bits that bring a run of skipped tokens to the server.

    Returns
    -------
    Statement
        The payload of a run and its mean for geometric runs.
    """
    skip = sp.Symbol("s", positive=True)
    count = sp.Symbol("j", integer=True, positive=True)
    last = sp.Symbol("n", integer=True, positive=True)
    run = eq(sp.Sum(index_bits, (count, 1, last)), last * index_bits)
    series = geometric(skip, "The run has at least n tokens with chance s^n = s s^(n-1).")
    length = sp.Symbol("ell", positive=True)
    length_is = eq(length, skip * series.total)
    balance = eq(length * (1 - skip), skip)
    mean = eq(length, skip / (1 - skip))
    return Statement(
        name="payload.resync",
        title="Re-synchronisation",
        source="here",
        status="new",
        functions=("payload.resync_bit",),
        tests=(
            "test_printed_and_resync",
            "test_resynchronising_sends_an_index_for_each_skipped_token",
        ),
        assumptions=(
            "A run of n skipped tokens is sent as n indices of b_index bits with the next transmission; CU "
            "neglects it.",
            "For the mean run ell: each token is skipped with chance s < 1, independently.",
        ),
        assumed=(series.below_one, length_is),
        claims=(run, mean),
        steps=(
            Step(text="One index a skipped token.", claim=run, rule=Evaluate()),
            *series.steps,
            Step(
                text="times s, the mean run:",
                claim=balance,
                rule=Combine((1 - skip, skip)),
                uses=(length_is, series.value),
            ),
            Step(text="Solve.", claim=mean, rule=Solve(length), uses=(balance,)),
        ),
    )


def compression() -> Statement:
    """Read the mean number of kept entries off the published compression.

    Returns
    -------
    Statement
        97.4 % means 832 entries of 32000, not 30.
    """
    saved = sp.Symbol("c", positive=True)
    packet, whole = sp.symbols("B_k B_V", positive=True)
    saving = 1 - packet / whole
    ratio = eq(
        at(saving, {packet: kept * (prob_bits + index_bits), whole: vocab * (prob_bits + index_bits)}),
        1 - kept / vocab,
    )
    published = eq(at((1 - saved) * vocab, {saved: sp.Rational("0.974"), vocab: published_vocab}), 832)
    offline = rounds_to(at(100 * (1 - kept / vocab), {kept: 30, vocab: published_vocab}), "99.91")
    return Statement(
        name="payload.compression",
        title="Compression",
        source="CU, arXiv:2505.11788v1, abstract",
        status="printed",
        functions=("payload.compression",),
        tests=(
            "test_compression",
            "test_compression_of_97_4_per_cent_is_832_entries_not_30",
        ),
        assumptions=(
            "Compression c is 1 - B_k/B_V: bits of k entries over bits of all V, each of b_prob + b_index "
            "bits.",
        ),
        claims=(ratio, published, offline),
        steps=(
            Step(text="Bits an entry cancel.", claim=ratio, rule=Evaluate()),
            Step(text="So the published 97.4 % is a mean of", claim=published, rule=Numeric()),
            Step(text="kept entries, while k = 30 compresses by (per cent)", claim=offline, rule=Numeric()),
        ),
        departs="The published compression of 97.4 % belongs to a mean k of 832, not to the published k* = "
        "30.",
    )


BUILDERS: tuple[Builder, ...] = (printed, dense, enumerative, best, index_only, resync, compression)
