"""Latency and throughput: what a token costs in the long run, and what no scheme can beat."""

import sympy as sp

from derivations.capacity import mean_packet_latency
from derivations.rules import Coefficients, Combine, Evaluate, Numeric, SameSum, Solve, SumOver
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, rounds_to, step
from derivations.vocabulary import other, size, token, total

slm, llm, up, full, chance = sp.symbols("tau_SLM tau_LLM tau_k tau_V p", positive=True)
gain = sp.Symbol("G", positive=True)
bits, full_bits, rate = sp.symbols("B_k B_V C", positive=True)

SPEEDUP = (slm + full + llm) / (slm + chance * (up + llm))
SOURCE_CU = "CU, arXiv:2505.11788v1: latency model and abstract"


def transmission_latency() -> Statement:
    """Add up what one transmission takes."""
    trip, down, down_rate = sp.symbols("tau_rtt B_down R_down", positive=True)
    added = trip + up + llm + down / down_rate
    printed = eq(sp.Limit(added.subs(trip, 0), down_rate, sp.oo, "-"), up + llm)
    return Statement(
        name="throughput.transmission_latency",
        title="What a transmission adds",
        source=SOURCE_CU,
        status="printed",
        functions=("throughput.transmission_latency_s",),
        tests=(
            "test_transmission_latency_adds_what_was_left_out",
            "test_a_transmission_costs_round_trip_uplink_llm_and_downlink",
        ),
        assumptions=(
            "Round trip tau_rtt, uplink tau_k, LLM pass tau_LLM and downlink of B_down bits at R_down bit/s "
            "follow one another.",
        ),
        claims=(printed,),
        steps=(
            step(
                "Without round trip and with a free downlink the printed model is left.", printed, Evaluate()
            ),
        ),
    )


def headers() -> Statement:
    """Charge what a transport puts around a request to its round trip."""
    trip, payload, frame, each = sp.symbols("tau_rtt B F v", positive=True)
    claim = eq((payload + frame) * each + trip, payload * each + (trip + frame * each))
    return Statement(
        name="throughput.headers",
        title="Headers and framing lengthen the round trip",
        source="here",
        status="new",
        functions=("throughput.framed",),
        tests=(
            "test_a_frame_is_a_longer_round_trip",
            "test_framing_is_charged_once_a_request_whatever_it_holds",
        ),
        assumptions=(
            "A request of B bits of payload carries F bits around it. A packet takes v seconds a bit, as on "
            "every link whose latency is proportional to the bits; round trip tau_rtt once a request.",
        ),
        claims=(claim,),
        steps=(step("Each bit takes as long as any other.", claim, Evaluate()),),
    )


def round_latency() -> Statement:
    """Average the latency of a single-draft round."""
    each = sp.Symbol("t_1", nonnegative=True)
    fixed = llm - each
    mean = chance * (slm + up + llm) + (1 - chance) * (slm + each)
    claim = eq(mean, slm + chance * (up + fixed) + each)
    hlm = eq(at(claim.rhs, {chance: 1}), slm + up + llm)
    printed = eq(at(claim.rhs, {each: 0}), slm + chance * (up + llm))
    rises = lt(0, sp.Derivative(slm + chance * (up + llm), chance))
    longer = lt(0, sp.Derivative(slm + chance * (up + llm), up))
    return Statement(
        name="throughput.round_latency",
        title="Latency of a token with one draft a round",
        source=SOURCE_CU,
        status="printed",
        functions=("throughput.round_latency_s",),
        tests=(
            "test_round_latency",
            "test_a_round_costs_a_transmission_as_often_as_there_is_one",
        ),
        assumptions=(
            "A draft is transmitted with probability p; otherwise it is kept, and read by the LLM with its "
            "next pass, of which it makes t_1 more (passes.every_token_is_fed_once). Each round makes one "
            "token.",
        ),
        claims=(claim, hlm, printed, rises, longer),
        steps=(
            step("Average the two kinds of round; tau_LLM - t_1 is the fixed part.", claim, Evaluate()),
            step("HLM transmits every token, in full.", hlm, Evaluate()),
            step("Without a part for each token it is what is printed.", printed, Evaluate()),
            step("Latency rises with the share transmitted", rises, Evaluate()),
            step("and with the time of a packet.", longer, Evaluate()),
        ),
    )


def renewal_throughput() -> Statement:
    """Show that the long-run rate is mean tokens over mean duration."""
    rounds = sp.Symbol("m", integer=True, positive=True)
    tokens_mean, time_mean = sp.symbols("Nbar Dbar", positive=True)
    N, D, C = (sp.IndexedBase(name) for name in ("N", "D", "c"))
    tokens = sp.Sum(N[token], (token, 1, rounds))
    time = sp.Sum(D[token], (token, 1, rounds))
    proof = Proof()
    tokens_are, time_is = (
        proof.assume(eq(tokens, rounds * tokens_mean)),
        proof.assume(eq(time, rounds * time_mean)),
    )
    exact = proof.step(
        "All tokens over all time, exactly, for any number of rounds.",
        eq(tokens / time, tokens_mean / time_mean),
        Evaluate(),
        tokens_are,
        time_is,
    )
    spread = sp.Symbol("v", positive=True)
    uncorrelated = proof.assume(eq(sp.Sum(C[token, other], (other, 1, rounds)), spread))
    pairs_of = sp.Sum(sp.Sum(C[token, other], (other, 1, rounds)), (token, 1, rounds))
    variance = proof.step(
        "The variance of a sum of rounds: each goes with itself alone.",
        eq(pairs_of, rounds * spread),
        SameSum(),
        uncorrelated,
    )
    weight, strays, gap = sp.symbols("w h z", nonnegative=True)
    W, H, Z = (sp.IndexedBase(name) for name in ("w", "h", "z"))
    margin = sp.Symbol("e", positive=True)
    far = proof.assume(le(strays * margin**2, gap**2))
    weighed = proof.step(
        "An outcome whose mean strays by e or more has a square of at least e^2; times its chance,",
        le(weight * strays * margin**2, weight * gap**2),
        Combine((weight,)),
        far,
    )
    chance = sp.Symbol("P", nonnegative=True)
    chance_is = proof.assume(eq(total(W[token] * H[token]), chance))
    square_is = proof.assume(eq(total(W[token] * Z[token] ** 2), pairs_of / rounds**2))
    summed = proof.step(
        "summed over all outcomes:",
        le(chance * margin**2, total(W[token] * Z[token] ** 2)),
        SumOver(token, size, ((weight, W[token]), (strays, H[token]), (gap, Z[token]))),
        weighed,
        chance_is,
    )
    scaled = proof.step(
        "in terms of one round,",
        le(chance * margin**2, spread / rounds),
        Combine((1, 1, 1 / rounds**2)),
        summed,
        square_is,
        variance,
    )
    rare = proof.step(
        "To stray is rare (Chebyshev),",
        le(chance, spread / (rounds * margin**2)),
        Combine((1 / margin**2,)),
        scaled,
    )
    never = proof.step(
        "and ever more so.", eq(sp.Limit(spread / (rounds * margin**2), rounds, sp.oo, "-"), 0), Evaluate()
    )
    nu, delta = sp.symbols("nu delta", positive=True)
    inside, small = proof.assume(lt(margin, nu)), proof.assume(lt(margin, delta))
    low_tokens, high_tokens = (
        proof.assume(le(nu - margin, tokens_mean)),
        proof.assume(le(tokens_mean, nu + margin)),
    )
    low_time, high_time = (
        proof.assume(le(delta - margin, time_mean)),
        proof.assume(le(time_mean, delta + margin)),
    )
    low = proof.step(
        "Otherwise the rate is at least",
        le((nu - margin) / (delta + margin), tokens_mean / time_mean),
        Coefficients(),
        inside,
        low_tokens,
        high_time,
    )
    high = proof.step(
        "and at most",
        le(tokens_mean / time_mean, (nu + margin) / (delta - margin)),
        Coefficients(),
        small,
        low_time,
        high_tokens,
    )
    from_below = proof.step(
        "which both end, as e falls,",
        eq(sp.Limit((nu - margin) / (delta + margin), margin, 0), nu / delta),
        Evaluate(),
    )
    from_above = proof.step(
        "at the ratio of the means.",
        eq(sp.Limit((nu + margin) / (delta - margin), margin, 0), nu / delta),
        Evaluate(),
    )
    half = sp.Rational(1, 2)
    share, quick, slow = sp.symbols("w D_1 D_2", positive=True)
    numbers = {share: half, quick: 1, slow: 3}
    proof.step(
        "Half the rounds take 1 s, half 3 s, a token each: the rate is",
        eq(at(1 / (share * quick + (1 - share) * slow), numbers), half),
        Numeric(),
    )
    proof.step(
        "and not the mean of the two rates.",
        eq(at(share / quick + (1 - share) / slow, numbers), sp.Rational(2, 3)),
        Numeric(),
    )
    return Statement(
        name="throughput.renewal_throughput",
        title="Throughput is a ratio of means",
        source="textbook (renewal-reward)",
        status="printed",
        functions=("throughput.renewal_throughput_token_per_s",),
        tests=(
            "test_renewal_throughput_is_tokens_over_time_and_below_the_mean_rate",
            "test_the_two_averages_of_simulated_rounds",
        ),
        assumptions=(
            "m rounds of N_i tokens and duration D_i have mean tokens Nbar and mean duration Dbar, over "
            "those rounds. The rate is read at the end of a round.",
            "Rounds have the same means nu = E[N] and delta = E[D], a finite variance v and no correlation: "
            "of the covariances c of a round with all rounds only that with itself is left. What is shown "
            "of tokens holds of durations.",
            "P: chance that the mean of m rounds strays by e or more from its expectation; z and w: by how "
            "much it does in an outcome and with which chance, h is 1 if z is at least e and else 0. The "
            "mean square of z is the variance of the sum over m^2.",
            "In the example rounds take D_1 with share w, else D_2.",
        ),
        assumed=proof.assumed,
        claims=(exact, rare, never, low, high, from_below, from_above),
        steps=proof.steps,
    )


def mean_rate() -> Statement:
    """Show that the mean of the rates is never below the rate."""
    lemma = mean_packet_latency()
    value, mean = sp.symbols("c m", positive=True)
    weight = sp.Symbol("w", positive=True)
    tangent = lemma.claims[0]
    weighted = le(weight * (2 / mean) - weight * value / mean**2, weight / value)
    W, C = sp.IndexedBase("w"), sp.IndexedBase("c")
    unit, centre = eq(total(W[token]), 1), eq(total(W[token] * C[token]), mean)
    claim = le(1 / mean, total(W[token] / C[token]))

    return Statement(
        name="throughput.mean_rate",
        title="The mean of the rates is never below the rate",
        source="here (Jensen)",
        status="new",
        functions=("throughput.mean_rate_token_per_s",),
        tests=(
            "test_renewal_throughput_is_tokens_over_time_and_below_the_mean_rate",
            "test_the_two_averages_of_simulated_rounds",
        ),
        assumptions=("Rounds of duration c with chances w and mean duration m, a token each.",),
        assumed=(unit, centre),
        lemmas=(lemma,),
        claims=(claim,),
        steps=(
            step("The tangent of 1/c at the mean, times a chance.", weighted, Combine((weight,)), tangent),
            step(
                "Sum over the kinds of round.",
                claim,
                SumOver(token, size, ((weight, W[token]), (value, C[token]))),
                weighted,
                unit,
                centre,
            ),
        ),
    )


def mean_rate_speedup() -> Statement:
    """Derive the speed-up when throughput is read as E[1/D]."""
    ratio, skip = sp.symbols("r s", positive=True)
    slow, quick = sp.symbols("D_tx D_skip", positive=True)
    ratio_is = eq(slow, ratio * quick)
    claim = eq(((1 - skip) / slow + skip / quick) * slow, 1 - skip + skip * slow / quick)
    short = eq(((1 - skip) / slow + skip / quick) * slow, 1 - skip + skip * ratio)
    target = eq(1 - skip + skip * ratio, gain)
    back = eq(ratio, (gain - (1 - skip)) / skip)
    number = rounds_to(
        at((gain - (1 - skip)) / skip, {gain: sp.Rational("2.54"), skip: sp.Rational("0.4593")}), "4.35"
    )
    unbounded = eq(sp.Limit(1 - skip + skip * ratio, ratio, sp.oo, "-"), sp.oo)
    printed = sp.Rational("24.6"), sp.Rational("104.6")
    least = (printed[0] + printed[1]) / printed[0]
    shortest = rounds_to(least, "5.252")
    at_least = rounds_to(at(1 - skip + skip * ratio, {skip: sp.Rational("0.4593"), ratio: least}), "2.953")
    rises = lt(0, sp.Derivative(1 - skip + skip * ratio, ratio))
    skipped = rounds_to((sp.Rational("2.54") - 1) / (least - 1), "0.362")
    return Statement(
        name="throughput.mean_rate_speedup",
        title="Speed-up of the mean rate",
        source="here",
        status="new",
        functions=("throughput.mean_rate_speedup", "throughput.mean_rate_latency_ratio"),
        tests=(
            "test_mean_rate_speedup_and_back",
            "test_the_mean_rate_speedup_inverts_and_is_the_average_of_rates",
        ),
        assumptions=("A share s of the tokens is skipped and takes D_skip, the others D_tx = r D_skip.",),
        assumed=(ratio_is, target),
        claims=(short, back, number, unbounded, at_least, skipped),
        steps=(
            step("Mean rate over the rate of always transmitting.", claim, Evaluate()),
            step("With the ratio of the two latencies:", short, Evaluate(), ratio_is),
            step("Backwards:", back, Solve(ratio), target),
            step("2.54 at 45.93 % skipped needs a ratio of", number, Numeric()),
            step("Unlike the renewal rate it has no ceiling,", unbounded, Evaluate()),
            step("and it rises with the ratio.", rises, Evaluate()),
            step(
                "U-HLM prints 24.6 ms and 104.6 ms: over a link that takes no time the ratio is",
                shortest,
                Numeric(),
            ),
            step("so over any link the mean rate at 45.93 % skipped is at least", at_least, Numeric()),
            step("and 2.54 needs a share of at most", skipped, Numeric()),
        ),
    )


def speedup_over_hlm() -> Statement:
    """Derive the speed-up over HLM, its monotonicities and its limits."""
    over_rate = SPEEDUP.subs({full: full_bits / rate, up: bits / rate})
    slow = eq(sp.Limit(over_rate, rate, 0), full_bits / (chance * bits))
    fast = eq(sp.Limit(over_rate, rate, sp.oo, "-"), (slm + llm) / (slm + chance * llm))
    falls = lt(sp.Derivative(SPEEDUP, chance), 0)
    falls_up = lt(sp.Derivative(SPEEDUP, up), 0)
    gains = lt(0, sp.Derivative(SPEEDUP, full))
    return Statement(
        name="throughput.speedup_over_hlm",
        title="Speed-up over HLM",
        source=SOURCE_CU,
        status="printed",
        functions=("throughput.speedup_over_hlm",),
        tests=(
            "test_speedup_limits_are_the_derived_ones",
            "test_speedup_is_the_ratio_of_the_two_latencies",
        ),
        assumptions=(
            "Throughput is 1/E[D]; HLM transmits every token with all V entries; the link carries C bit/s.",
        ),
        claims=(slow, fast, falls, falls_up, gains),
        steps=(
            step("A slow link: payloads decide.", slow, Evaluate()),
            step("A fast link: computing decides.", fast, Evaluate()),
            step("The speed-up falls with the share transmitted,", falls, Evaluate()),
            step("and with the time of the short packet,", falls_up, Evaluate()),
            step("and rises with that of the full one.", gains, Evaluate()),
        ),
    )


def speedup_ceiling() -> Statement:
    """Show that payload and skip rate cap the speed-up, and that the published figures break the cap."""
    more = le(up, full)
    cap = full / (chance * up)
    claim = lt(SPEEDUP, cap)
    skipped, saved = sp.symbols("s c", positive=True)
    both = 1 / ((1 - skipped) * (1 - saved))
    cu = {skipped: sp.Rational("0.748"), saved: sp.Rational("0.974")}
    u = {skipped: sp.Rational("0.4593"), saved: 0}
    number = rounds_to(at(both, cu), "152.6")
    below = lt(at(both, cu), 206)
    uhlm = rounds_to(at(both, u), "1.849")
    below_u = lt(at(both, u), sp.Rational("2.54"))
    strict_share = lt(chance, 1)
    return Statement(
        name="throughput.speedup_ceiling",
        title="The three headline figures do not fit one operating point",
        source=SOURCE_CU,
        status="new",
        functions=("throughput.speedup_ceiling",),
        tests=(
            "test_speedup_its_ceiling_and_its_inverse",
            "test_the_published_ceilings",
            "test_no_latency_reaches_the_ceiling",
        ),
        assumptions=(
            "tau_k <= tau_V, p < 1; on one link tau_V/tau_k = B_V/B_k. Throughput is 1/E[D]. s is the share "
            "skipped, c the compression.",
        ),
        assumed=(more, strict_share),
        claims=(claim, number, below, uhlm, below_u),
        steps=(
            step(
                "Compare the speed-up with (1/p) tau_V/tau_k; after clearing the denominators the difference "
                "is tau_SLM (tau_V - p tau_k) + p tau_LLM (tau_V - tau_k) > 0.",
                claim,
                Coefficients(),
                strict_share,
                more,
            ),
            step("74.8 % skipped and 97.4 % compressed cap the speed-up at", number, Numeric()),
            step("below the published 206.", below, Numeric()),
            step("45.93 % skipped, nothing compressed:", uhlm, Numeric()),
            step("below the published 2.54.", below_u, Numeric()),
        ),
        departs="The abstract of CU-HLM prints 206 times, 74.8 % skipped and 97.4 % compressed. The latency "
        "model of the same paper caps the last two at 152.6 times.",
    )


def floor_latency() -> Statement:
    """Bound the time of a token for schemes that draft before they decide, and say what reaches the bound."""
    extra, index, few = sp.symbols("d tau_i tau_m", nonnegative=True)
    scheme = slm + chance * (llm + extra)
    proof = Proof()
    claim = proof.step("Whatever is sent takes time.", le(slm + chance * llm, scheme), Combine(()))
    named = proof.step(
        "A scheme that names its draft sends an index and what else it needs.",
        le(slm + chance * (llm + index), scheme.subs(extra, index + extra)),
        Combine(()),
    )
    reached = proof.step(
        "The kept law sends a few bits, so it is this close to the bound.",
        eq(scheme.subs(extra, few) - (slm + chance * llm), chance * few),
        Evaluate(),
    )
    alone = proof.step(
        "HLM with one draft is slower than the LLM alone, which is exact too.",
        lt(llm, slm + full + llm),
        Combine(()),
    )
    return Statement(
        name="throughput.floor_latency",
        title="The floor of schemes that draft before they decide",
        source="here",
        status="departs",
        functions=("throughput.floor_latency_s",),
        tests=(
            "test_nothing_is_below_the_floor",
            "test_no_single_draft_scheme_beats_the_floor",
        ),
        assumptions=(
            "Assumed and not shown: a round makes one token; it drafts it (tau_SLM) before it decides, and "
            "where it asks, with chance p, one pass of the LLM (tau_LLM) follows what is sent. d >= 0 is "
            "the time of whatever else a transmission takes. A scheme that looks ahead, lets both work at "
            "once or asks for several tokens is not among these.",
            "tau_i: an index, which is what the function charges, by convention; tau_m: the kept law, of "
            "which one token or none is sent at a threshold below 1/2 (kept_law.support).",
        ),
        claims=(claim, named, reached, alone),
        steps=proof.steps,
        departs="That a server which draws from y reaches the floor without bias is true only if the skip "
        "rule ignores the draft (verification.server_sampling_law). A server that knows the kept law comes "
        "within the time of its few bits, at the least bias there is (kept_law.achievability).",
    )


def transmit_probability_for_speedup() -> Statement:
    """Solve the speed-up for the share transmitted."""
    share, fixed, each = sp.symbols("p t_0 t_1", positive=True)
    target = eq(gain * (slm + share * (up + fixed) + each), slm + full + fixed + each)
    claim = eq(share, ((slm + full + fixed + each) / gain - slm - each) / (up + fixed))
    return Statement(
        name="throughput.transmit_probability_for_speedup",
        title="Share transmitted at a given speed-up",
        source="here",
        status="new",
        functions=("throughput.transmit_probability_for_speedup",),
        tests=(
            "test_speedup_its_ceiling_and_its_inverse",
            "test_the_transmit_probability_for_a_speedup_inverts_the_speedup",
        ),
        assumptions=(
            "As above, tau_LLM = t_0 + t_1; a result above 1 is cut to 1, one below 0 says that no share "
            "suffices.",
        ),
        assumed=(target,),
        claims=(claim,),
        steps=(step("Solve.", claim, Solve(share), target),),
    )


def rate_for_speedup() -> Statement:
    """Show where on the axis of link rates a speed-up is reached."""
    fixed, each = sp.symbols("t_0 t_1", positive=True)
    numerator = slm + fixed + each + full_bits / rate
    denominator = slm + chance * (fixed + bits / rate) + each
    claim = eq(
        numerator - gain * denominator,
        (full_bits - gain * chance * bits) / rate
        - (gain * (slm + chance * fixed + each) - (slm + fixed + each)),
    )
    edge = sp.Symbol("C", positive=True)
    needed, spare = sp.symbols("n d", positive=True)
    meets = eq(spare / edge - needed, 0)
    most = eq(edge, spare / needed)
    with_30 = {full_bits: 736000, gain: 206, chance: sp.Rational("0.252"), bits: 690}
    published = eq(at(full_bits - gain * chance * bits, with_30), sp.Rational("700180.72"))
    compressed = {**with_30, bits: 736000 * sp.Rational("0.026")}
    negative = lt(at(full_bits - gain * chance * bits, compressed), 0)
    return Statement(
        name="throughput.rate_for_speedup",
        title="Link rates at which a speed-up is reached",
        source="here",
        status="new",
        functions=("throughput.rate_for_speedup_bit_per_s",),
        tests=(
            "test_rates_at_which_a_speedup_is_reached",
            "test_the_rate_interval_is_where_the_speedup_holds",
        ),
        assumptions=(
            "As above, tau_LLM = t_0 + t_1; d = B_V - G p B_k and n = G (tau_SLM + p t_0 + t_1) - tau_SLM - "
            "tau_LLM, both positive.",
        ),
        assumed=(meets,),
        claims=(claim, most, negative),
        steps=(
            step(
                "G is reached where this difference is not negative; it is linear in 1/C.", claim, Evaluate()
            ),
            step("With d and n positive: links no faster than", most, Solve(edge), meets),
            step("At 206 and p = 0.252 with k = 30, d is (bit)", published, Numeric()),
            step(
                "while with the published compression it is negative: no link reaches 206.",
                negative,
                Numeric(),
            ),
        ),
    )


def phase_regions() -> Statement:
    """Show that latency is linear in what a link takes, so that the links that suit a setting are convex."""
    kinds = sp.Symbol("M", integer=True, positive=True)
    weight, compute, bit, trip = sp.symbols("w c b n", nonnegative=True)
    inverse, delay = sp.symbols("v tau_rtt", nonnegative=True)
    W, C, B, T = (sp.IndexedBase(name) for name in ("w", "c", "b", "n"))
    means = sp.symbols("cbar bbar nbar", nonnegative=True)

    def over_rounds(expression: sp.Expr) -> sp.Sum:
        return sp.Sum(expression, (token, 1, kinds))

    proof = Proof()
    means_are = [
        proof.assume(eq(over_rounds(W[token] * part[token]), mean))
        for part, mean in zip((C, B, T), means, strict=True)
    ]
    line = proof.step(
        "A round computes, sends and waits;",
        eq(
            weight * (compute + bit * inverse + trip * delay),
            weight * compute + weight * bit * inverse + weight * trip * delay,
        ),
        Evaluate(),
    )
    plane = proof.step(
        "so a token takes three terms: a plane over the link.",
        eq(
            over_rounds(W[token] * (C[token] + B[token] * inverse + T[token] * delay)),
            means[0] + means[1] * inverse + means[2] * delay,
        ),
        SumOver(token, kinds, ((weight, W[token]), (compute, C[token]), (bit, B[token]), (trip, T[token]))),
        line,
        *means_are,
    )
    one, two = (sp.symbols(f"c_{k} b_{k} n_{k}", nonnegative=True) for k in (1, 2))
    first, second = (sp.symbols(f"v_{k} t_{k}", nonnegative=True) for k in (1, 2))
    share, other_share = sp.symbols("h g", nonnegative=True)

    def taken(setting: tuple, link: tuple) -> sp.Expr:
        return setting[0] + setting[1] * link[0] + setting[2] * link[1]

    here, there = (proof.assume(le(taken(one, link), taken(two, link))) for link in (first, second))
    unit = proof.assume(eq(share + other_share, 1))
    between = tuple(share * a + other_share * b for a, b in zip(first, second, strict=True))
    convex = proof.step(
        "Where a setting is no slower than another over two links, it is so over every link between them.",
        le(taken(one, between), taken(two, between)),
        Combine((share, other_share, two[0] - one[0])),
        here,
        there,
        unit,
    )
    return Statement(
        name="throughput.phase_regions",
        title="Links that suit one setting best are convex",
        source="here",
        status="new",
        functions=("phases.phases",),
        tests=(
            "test_a_setting_takes_the_derived_plane_over_every_link",
            "test_the_fastest_setting_is_that_of_evaluating_each_over_the_link",
        ),
        assumptions=(
            "A setting has M kinds of rounds; kind i takes c_i seconds of device and server, sends b_i bits "
            "at a rate of 1/v and waits for n_i round trips of tau_rtt. w_i is how often it happens over "
            "the mean tokens of a round, so that the sum of w times the duration is the latency of a token "
            "(throughput.renewal_throughput). cbar, bbar and nbar are these sums of the parts. Bits that "
            "come down at a rate of their own are a term more.",
            "Settings 1 and 2; links of inverse rates v_1 and v_2 with round trips t_1 and t_2; h and g mix "
            "the links.",
        ),
        assumed=proof.assumed,
        claims=(plane, convex),
        steps=proof.steps,
        glue="Being the fastest of all is being no slower than each other one, and what convex sets have in "
        "common is convex.",
    )


BUILDERS: tuple[Builder, ...] = (
    transmission_latency,
    headers,
    round_latency,
    renewal_throughput,
    mean_rate,
    mean_rate_speedup,
    speedup_over_hlm,
    speedup_ceiling,
    floor_latency,
    transmit_probability_for_speedup,
    rate_for_speedup,
    phase_regions,
)
