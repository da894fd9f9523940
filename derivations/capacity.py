"""The channel: what rate a link carries, and how long a packet takes on it."""

import sympy as sp

from derivations.rules import (
    ChangeVariable,
    Coefficients,
    Combine,
    Concave,
    Evaluate,
    Fundamental,
    IntegrateOver,
    Linear,
    Monotone,
    OnlyRoot,
    PositiveRoot,
    Solve,
)
from derivations.series import geometric
from derivations.statement import Builder, Statement, Step, at, eq, le, lt

bandwidth, snr, mean_snr = sp.symbols("W gamma gammabar", positive=True)
power, noise_psd, gain = sp.symbols("P N_0 g", positive=True)
signal, noise = sp.symbols("S N", positive=True)
radius, time, delta = sp.symbols("r t delta", positive=True)
bits = sp.Symbol("B", positive=True)
rate = sp.Symbol("R", positive=True)
outage = sp.Symbol("epsilon", positive=True)

SOURCE_CU = "CU eq. (6), arXiv:2505.11788v1"


def _gaussian_entropy(variance: sp.Symbol) -> sp.Expr:
    """Differential entropy of a circular complex Gaussian in nat, as an integral over the squared radius."""
    density = sp.exp(-radius / variance) / (sp.pi * variance)
    # the area element is pi d(r) for r the squared radius
    return sp.Integral(-sp.log(density) * density * sp.pi, (radius, 0, sp.oo))


def awgn_capacity() -> Statement:
    """Derive C = W log2(1 + SNR) as the difference of two Gaussian entropies.

    Returns
    -------
    Statement
        The rate of W complex channel uses a second.
    """
    total = _gaussian_entropy(signal).subs(signal, signal + noise)
    alone = _gaussian_entropy(noise)
    received = eq(total, sp.log(sp.pi * sp.E * (signal + noise)))
    floor = eq(alone, sp.log(sp.pi * sp.E * noise))
    nats = sp.Symbol("I", positive=True)
    difference = eq(nats, total - alone)
    per_use = eq(nats, sp.log(1 + signal / noise))
    capacity = sp.Symbol("C", positive=True)
    definition = eq(capacity, bandwidth * nats / sp.log(2))
    claim = eq(capacity, bandwidth * sp.log(1 + signal / noise, 2))
    return Statement(
        name="capacity.awgn_capacity",
        title="Capacity of the Gaussian channel",
        source=SOURCE_CU,
        status="printed",
        functions=("capacity.awgn_capacity_bit_per_s",),
        tests=(
            "test_awgn_capacity",
            "test_awgn_capacity_counts_the_bits_of_two_to_the_m_levels",
        ),
        assumptions=(
            "W complex channel uses a second; circular Gaussian noise of power N; input power S.",
            "A Gaussian input is optimal (Shannon), so the mutual information I is h(S + N) - h(N).",
        ),
        assumed=(difference, definition),
        claims=(claim,),
        steps=(
            Step(
                text="Entropy of the received signal, integrating over the squared radius r.",
                claim=received,
                rule=Evaluate(),
            ),
            Step(text="Entropy of the noise, likewise.", claim=floor, rule=Evaluate()),
            Step(text="Subtract.", claim=per_use, rule=Evaluate(), uses=(difference, received, floor)),
            Step(
                text="W uses a second, and ln 2 nat a bit.",
                claim=claim,
                rule=Evaluate(),
                uses=(definition, per_use),
            ),
        ),
    )


def rayleigh_ergodic_capacity() -> Statement:
    """Derive the ergodic capacity over Rayleigh fading.

    Returns
    -------
    Statement
        The capacity through the exponential integral.
    """
    density = sp.exp(-snr / mean_snr) / mean_snr
    spread = sp.log(1 + snr) * density
    tail = sp.exp(-snr / mean_snr) / (1 + snr)
    whole = (snr, 0, sp.oo)
    parts = -sp.log(1 + snr) * sp.exp(-snr / mean_snr)
    slope = eq(sp.Derivative(parts, snr), spread - tail)
    upper = eq(sp.Limit(parts, snr, sp.oo, "-"), 0)
    lower = eq(sp.Limit(parts, snr, 0), 0)
    nothing = eq(sp.Integral(spread - tail, whole), 0)
    swap = eq(sp.Integral(spread, whole), sp.Integral(tail, whole))
    exponential = sp.Integral(sp.exp(-time) / time, (time, 1 / mean_snr, sp.oo))
    shifted = eq(sp.Integral(tail, whole), sp.exp(1 / mean_snr) * exponential)
    definition = eq(exponential, sp.expint(1, 1 / mean_snr))
    capacity = sp.Symbol("Cbar", positive=True)
    start = eq(capacity, bandwidth * sp.Integral(spread, whole) / sp.log(2))
    claim = eq(capacity, bandwidth * sp.exp(1 / mean_snr) * sp.expint(1, 1 / mean_snr) / sp.log(2))
    return Statement(
        name="capacity.rayleigh_ergodic_capacity",
        title="Ergodic capacity over Rayleigh fading",
        source="textbook",
        status="printed",
        functions=("capacity.rayleigh_ergodic_capacity_bit_per_s",),
        tests=(
            "test_rayleigh_ergodic_capacity",
            "test_ergodic_capacity_is_the_mean_over_the_exponential_density",
        ),
        assumptions=(
            "The SNR gamma is exponential with mean gammabar (Rayleigh amplitude) and known at the receiver; "
            "a packet spans many coherence blocks.",
            "E_1(z) is by definition the integral of exp(-t)/t from z to infinity.",
        ),
        assumed=(start, definition),
        claims=(claim,),
        steps=(
            Step(text="Product rule, to integrate by parts.", claim=slope, rule=Evaluate()),
            Step(text="The boundary term vanishes at infinity,", claim=upper, rule=Evaluate()),
            Step(text="and at 0.", claim=lower, rule=Evaluate()),
            Step(
                text="So the integral of the right side is 0.",
                claim=nothing,
                rule=Fundamental(),
                uses=(slope, upper, lower),
            ),
            Step(text="The logarithm is gone.", claim=swap, rule=Linear(), uses=(nothing,)),
            Step(
                text="Change to t = (1 + gamma) / gammabar.",
                claim=shifted,
                rule=ChangeVariable(snr, mean_snr * time - 1, time),
            ),
            Step(
                text="Name the integral.",
                claim=claim,
                rule=Combine(
                    (
                        1,
                        bandwidth / sp.log(2),
                        bandwidth / sp.log(2),
                        bandwidth / sp.log(2) * sp.exp(1 / mean_snr),
                    )
                ),
                uses=(start, swap, shifted, definition),
            ),
        ),
    )


def rayleigh_outage_capacity() -> Statement:
    """Derive the rate that a Rayleigh link falls short of with probability epsilon.

    Returns
    -------
    Statement
        The outage capacity.
    """
    density = sp.exp(-time / mean_snr) / mean_snr
    threshold = sp.Symbol("gamma_epsilon", real=True)
    level = sp.Symbol("epsilon", positive=True)
    chance = sp.Integral(density, (time, 0, threshold))
    falls = eq(chance, 1 - sp.exp(-threshold / mean_snr))
    misses = eq(chance, level)
    asked = eq(1 - sp.exp(-threshold / mean_snr), level)
    rises = lt(0, sp.Derivative(1 - sp.exp(-threshold / mean_snr) - level, threshold))
    root = eq(threshold, -mean_snr * sp.log(1 - level))
    capacity = sp.Symbol("C_epsilon", positive=True)
    definition = eq(capacity, bandwidth * sp.log(1 + threshold, 2))
    claim = eq(capacity, bandwidth * sp.log(1 - mean_snr * sp.log(1 - level), 2))
    return Statement(
        name="capacity.rayleigh_outage_capacity",
        title="Outage capacity over Rayleigh fading",
        source="textbook",
        status="printed",
        functions=("capacity.rayleigh_outage_capacity_bit_per_s",),
        tests=(
            "test_rayleigh_outage_capacity",
            "test_outage_capacity_fails_exactly_with_the_outage_probability",
        ),
        assumptions=(
            "The SNR is exponential with mean gammabar and constant over a packet.",
            "C_epsilon is the rate at the SNR gamma_epsilon that the link misses with probability epsilon < "
            "1.",
        ),
        assumed=(misses, definition),
        claims=(claim,),
        steps=(
            Step(text="Probability that the SNR is below gamma_epsilon.", claim=falls, rule=Evaluate()),
            Step(text="It is to be epsilon.", claim=asked, rule=Combine(), uses=(misses, falls)),
            Step(text="It rises with gamma_epsilon,", claim=rises, rule=Evaluate()),
            Step(
                text="so it is epsilon at one point only.",
                claim=root,
                rule=OnlyRoot(threshold),
                uses=(asked, rises),
            ),
            Step(text="Insert into the rate.", claim=claim, rule=Evaluate(), uses=(definition, root)),
        ),
    )


def rate_adaptive_divergence() -> Statement:
    """Show that the mean latency of a rate-adaptive link over Rayleigh fading is infinite.

    Returns
    -------
    Statement
        A lower bound on the mean that grows without limit.
    """
    latency = bits * sp.log(2) / (bandwidth * sp.log(1 + snr))
    gap = snr - sp.log(1 + snr)
    slope = eq(sp.Derivative(gap, snr), snr / (1 + snr))
    rises = lt(0, sp.Derivative(gap, snr))
    start = eq(sp.Limit(gap, snr, 0), 0)
    below = lt(sp.log(1 + snr), snr)
    floor = bits * sp.log(2) / bandwidth
    slower = lt(floor / snr, latency)
    decay = sp.exp(-snr / mean_snr)
    grows = lt(0, sp.Derivative(1 - decay, snr))
    from_zero = eq(sp.Limit(1 - decay, snr, 0), 0)
    decays = lt(0, 1 - decay)
    bend = decay - 1 + snr / mean_snr
    bends = lt(0, sp.Derivative(bend, snr))
    touches = eq(sp.Limit(bend, snr, 0), 0)
    tangent = lt(0, bend)
    least = floor / snr * (1 - snr / mean_snr) / mean_snr
    pointwise = lt(least, latency * decay / mean_snr)
    span = (snr, delta, 1)
    inside = lt(delta, 1)
    part = sp.Integral(latency * decay / mean_snr, span)
    integrated = lt(sp.Integral(least, span), part)
    bound = floor / mean_snr * (-sp.log(delta) - (1 - delta) / mean_snr)
    value = eq(sp.Integral(least, span), bound)
    claim = lt(bound, part)
    endless = eq(sp.Limit(bound, delta, 0), sp.oo)
    return Statement(
        name="capacity.rate_adaptive_divergence",
        title="The mean latency of a rate-adaptive Rayleigh link is infinite",
        source="here",
        status="new",
        functions=("capacity.rate_adaptive_mean_latency_s",),
        tests=(
            "test_the_part_of_a_mean_that_diverges_is_above_its_derived_bound",
            "test_the_mean_latency_that_diverges_is_refused_and_its_parts_grow",
            "test_refuses_a_mean_that_diverges_and_names_the_knobs",
        ),
        assumptions=(
            "The SNR gamma is exponential with mean gammabar; a packet of B > 0 bits takes B ln 2 / (W ln(1 "
            "+ gamma)).",
            "0 < delta < 1.",
        ),
        assumed=(inside,),
        claims=(claim, endless),
        steps=(
            Step(text="Compare ln(1 + gamma) with gamma.", claim=slope, rule=Evaluate()),
            Step(text="The difference rises,", claim=rises, rule=Evaluate()),
            Step(text="from 0.", claim=start, rule=Evaluate()),
            Step(
                text="So the rate is below its linear bound.",
                claim=below,
                rule=Monotone(snr),
                uses=(rises, start),
            ),
            Step(
                text="So a packet takes longer than a multiple of 1/gamma (multiply the line before by B ln "
                "2 / (W gamma ln(1 + gamma)) > 0).",
                claim=slower,
                rule=Combine((floor / (snr * sp.log(1 + snr)),)),
                uses=(below,),
            ),
            Step(
                text="Compare the density with its tangent at 0. First, this rises",
                claim=grows,
                rule=Evaluate(),
            ),
            Step(text="from 0,", claim=from_zero, rule=Evaluate()),
            Step(text="so it is positive,", claim=decays, rule=Monotone(snr), uses=(grows, from_zero)),
            Step(
                text="and is, but for a factor, the slope of the difference,",
                claim=bends,
                rule=Combine((1 / mean_snr,)),
                uses=(decays,),
            ),
            Step(text="which starts from 0", claim=touches, rule=Evaluate()),
            Step(text="and so is positive.", claim=tangent, rule=Monotone(snr), uses=(bends, touches)),
            Step(
                text="Latency times density is therefore above",
                claim=pointwise,
                rule=Combine((decay / mean_snr, floor / (snr * mean_snr))),
                uses=(slower, tangent),
            ),
            Step(
                text="at every SNR, and so is its integral from delta to 1,",
                claim=integrated,
                rule=IntegrateOver(snr, delta, 1),
                uses=(pointwise, inside),
            ),
            Step(text="where the lower bound integrates to", claim=value, rule=Evaluate()),
            Step(
                text="The part of the mean latency with gamma between delta and 1 is above this,",
                claim=claim,
                rule=Combine((1, 1)),
                uses=(integrated, value),
            ),
            Step(text="which grows without end as delta falls to 0.", claim=endless, rule=Evaluate()),
        ),
        glue="Latency and density are positive, so the mean is at least its part over [delta, 1], for every "
        "delta.",
    )


def arq_success_probability() -> Statement:
    """Derive the chance that one packet gets through at a fixed rate.

    Returns
    -------
    Statement
        The success probability.
    """
    density = sp.exp(-time / mean_snr) / mean_snr
    needed = sp.Symbol("gamma_R", positive=True)
    root = eq(needed, 2**rate - 1)
    asked = eq(sp.log(1 + needed, 2), rate)
    rises = lt(0, sp.Derivative(sp.log(1 + needed, 2), needed))
    passes = eq(sp.Integral(density, (time, needed, sp.oo)), sp.exp(-needed / mean_snr))
    chance = sp.Symbol("p", positive=True)
    definition = eq(chance, sp.Integral(density, (time, needed, sp.oo)))
    claim = eq(chance, sp.exp(-(2**rate - 1) / mean_snr))
    return Statement(
        name="capacity.arq_success_probability",
        title="Chance that a packet gets through at a fixed rate",
        source="textbook",
        status="printed",
        functions=("capacity.arq_success_probability",),
        tests=(
            "test_arq_success_probability",
            "test_success_probability_is_the_tail_of_the_snr",
        ),
        assumptions=(
            "The SNR gamma is exponential with mean gammabar and drawn afresh for each packet. At R bit/s/Hz "
            "it gets through if log2(1 + gamma) >= R, that is from gamma_R on.",
        ),
        assumed=(root, definition),
        claims=(claim,),
        steps=(
            Step(text="The SNR gamma_R carries R,", claim=asked, rule=Evaluate(), uses=(root,)),
            Step(text="and what is carried rises with it.", claim=rises, rule=Evaluate()),
            Step(text="Probability of at least that SNR.", claim=passes, rule=Evaluate()),
            Step(text="Insert.", claim=claim, rule=Evaluate(), uses=(definition, passes, root)),
        ),
    )


def arq_mean_latency() -> Statement:
    """Derive the mean time of retransmission until success.

    Returns
    -------
    Statement
        The mean latency at a fixed rate.
    """
    lost = sp.Symbol("ell", positive=True)
    series = geometric(lost, "Attempt n is needed with chance ell^(n-1).")
    attempts, chance = sp.symbols("A p", positive=True)
    attempts_are = eq(attempts, series.total)
    lost_is = eq(chance, 1 - lost)
    whole = eq(attempts * chance, 1)
    inverse = eq(attempts, 1 / chance)
    passes = sp.exp(-(2**rate - 1) / mean_snr)
    chance_is = eq(chance, passes)
    latency = sp.Symbol("T", positive=True)
    spent = eq(latency, bits * attempts / (bandwidth * rate))
    claim = eq(latency, bits / (bandwidth * rate * passes))
    return Statement(
        name="capacity.arq_mean_latency",
        title="Mean latency with retransmission",
        source="here",
        status="new",
        functions=("capacity.arq_mean_latency_s", "capacity.attempt_latency_s"),
        tests=(
            "test_arq_mean_latency",
            "test_repeating_takes_as_long_as_a_simulation_of_it",
            "test_the_rate_of_repetition_is_its_goodput",
        ),
        assumptions=(
            "Attempts are independent and alike; each takes B / (W R) and gets through with chance p at mean "
            "SNR gammabar (the statement before); feedback is free.",
            "ell = 1 - p; A is the mean number of attempts: the sum over n of the chances that attempt n is "
            "needed.",
        ),
        assumed=(attempts_are, lost_is, series.below_one, chance_is, spent),
        claims=(whole, claim),
        steps=(
            *series.steps,
            Step(
                text="So the mean number of attempts, times p, is 1.",
                claim=whole,
                rule=Combine((chance, series.total, 1)),
                uses=(attempts_are, lost_is, series.value),
            ),
            Step(text="Solve for it.", claim=inverse, rule=Solve(attempts), uses=(whole,)),
            Step(
                text="Insert the chance of success.",
                claim=claim,
                rule=Evaluate(),
                uses=(spent, inverse, chance_is),
            ),
        ),
    )


def arq_spectral_efficiency() -> Statement:
    """Derive the rate that minimises the mean latency of retransmission.

    Returns
    -------
    Statement
        The Lambert-W rate, with the second-order condition.
    """
    x = rate
    goodput = sp.log(x) - (2**x - 1) / mean_snr
    first = sp.Derivative(goodput, x)
    slope = eq(first, 1 / x - sp.log(2) * 2**x / mean_snr)
    second = sp.Derivative(goodput, x, x)
    curved = eq(second, -1 / x**2 - sp.log(2) ** 2 * 2**x / mean_snr)
    concave = lt(second, 0)
    condition = eq(1 / x - sp.log(2) * 2**x / mean_snr, 0)
    root = sp.LambertW(mean_snr) / sp.log(2)
    best = sp.Symbol("R", positive=True)
    solved = eq(best, root)
    stationary = eq(sp.Subs(slope.rhs, x, root), 0)
    claim = le(goodput, goodput.subs(x, root))
    return Statement(
        name="capacity.arq_spectral_efficiency",
        title="Best rate with retransmission",
        source="here",
        status="new",
        functions=("capacity.arq_spectral_efficiency",),
        tests=(
            "test_arq_spectral_efficiency",
            "test_the_best_rate_beats_a_brute_force_search",
        ),
        assumptions=(
            "As for the mean latency at mean SNR gammabar; minimising B / (W R p) is maximising ln(R p), the "
            "logarithm of the goodput.",
        ),
        assumed=(condition,),
        claims=(solved, claim),
        steps=(
            Step(text="Differentiate ln(R p).", claim=slope, rule=Evaluate()),
            Step(text="Differentiate again.", claim=curved, rule=Evaluate()),
            Step(
                text="Both terms are negative: strictly concave.",
                claim=concave,
                rule=Combine((-1,), label="the two terms are negative"),
                uses=(curved,),
            ),
            Step(
                text="So the slope falls and vanishes once: W is Lambert's function.",
                claim=solved,
                rule=OnlyRoot(x),
                uses=(condition, concave),
            ),
            Step(text="The slope vanishes at the root.", claim=stationary, rule=Evaluate()),
            Step(
                text="So no other rate is as good.",
                claim=claim,
                rule=Concave(x),
                uses=(concave, stationary),
            ),
        ),
    )


def short_packet_blocklength() -> Statement:
    """Derive the number of channel uses a short packet needs.

    Returns
    -------
    Statement
        The positive root of the normal approximation.
    """
    nats_capacity, dispersion = sp.symbols("C D", positive=True)
    quantile = sp.Symbol("q", positive=True)
    root = sp.Symbol("y", positive=True)
    normal = eq(nats_capacity * root**2 - quantile * sp.sqrt(dispersion) * root - bits, 0)
    value = (
        quantile * sp.sqrt(dispersion) + sp.sqrt(quantile**2 * dispersion + 4 * nats_capacity * bits)
    ) / (2 * nats_capacity)
    solved = eq(root, value)
    uses = sp.Symbol("n", positive=True)
    definition = eq(uses, root**2)
    claim = eq(uses, value**2)
    first_order = eq(sp.Limit(value**2 * nats_capacity / bits, bits, sp.oo, "-"), 1)
    longer = lt(bits / nats_capacity, value**2)
    variance = eq(1 - (1 + snr) ** (-2), snr * (snr + 2) / (1 + snr) ** 2)
    return Statement(
        name="capacity.short_packet_blocklength",
        title="Channel uses of a short packet",
        source="PPV, IEEE Trans. IT 2010, normal approximation",
        status="printed",
        functions=("capacity.short_packet_blocklength", "capacity.short_packet_latency_s"),
        tests=(
            "test_short_packet_blocklength",
            "test_blocklength_put_back_into_the_normal_approximation_gives_the_bits",
            "test_short_packet_latency_is_one_channel_use_a_second_and_hertz",
        ),
        assumptions=(
            "B = n C - sqrt(n D) q with q = Q^-1(epsilon) > 0, that is epsilon < 1/2; C and D in bit and "
            "bit² a complex channel use; the term of order log n is dropped.",
            "y = sqrt(n).",
        ),
        assumed=(normal, definition),
        claims=(claim, first_order, longer),
        steps=(
            Step(
                text="The dispersion of a complex channel use over log2(e)^2, in both of its usual forms.",
                claim=variance,
                rule=Evaluate(),
            ),
            Step(
                text="A quadratic in y = sqrt(n); only one root is positive.",
                claim=solved,
                rule=PositiveRoot(root),
                uses=(normal,),
            ),
            Step(text="Square it.", claim=claim, rule=Evaluate(), uses=(definition, solved)),
            Step(text="Long packets reach Shannon's count.", claim=first_order, rule=Evaluate()),
            Step(
                text="Short ones need strictly more, so Shannon's latency is optimistic.",
                claim=longer,
                rule=Coefficients(),
            ),
        ),
    )


def received_snr() -> Statement:
    """State the link budget and how the SNR falls with bandwidth.

    Returns
    -------
    Statement
        The SNR, its decibels, and the capacity's rise to a limit as the band widens.
    """
    ratio = sp.Symbol("SNR", positive=True)
    definition = eq(ratio, power * gain / (noise_psd * bandwidth))
    decibel = eq(
        10 * sp.log(ratio, 10),
        10 * sp.log(power, 10)
        + 10 * sp.log(gain, 10)
        - 10 * sp.log(noise_psd, 10)
        - 10 * sp.log(bandwidth, 10),
    )
    wide = eq(
        sp.Limit(bandwidth * sp.log(1 + power * gain / (noise_psd * bandwidth), 2), bandwidth, sp.oo, "-"),
        power * gain / (noise_psd * sp.log(2)),
    )
    return Statement(
        name="capacity.received_snr",
        title="Link budget",
        source="textbook",
        status="printed",
        functions=("capacity.received_snr", "capacity.snr_from_db", "capacity.db_from_snr"),
        tests=(
            "test_link_budget_adds_up_in_decibels",
            "test_received_snr_of_a_link_budget_done_in_decibels",
            "test_decibels_at_known_points",
        ),
        assumptions=("Noise of density N_0 over the band W; SNR = P g / (N_0 W).",),
        assumed=(definition,),
        claims=(decibel, wide),
        steps=(
            Step(
                text="A product of powers is a sum of decibels.",
                claim=decibel,
                rule=Evaluate(),
                uses=(definition,),
            ),
            Step(
                text="A wider band spreads the power: the capacity has a limit.", claim=wide, rule=Evaluate()
            ),
        ),
    )


def log_distance_path_gain() -> Statement:
    """Derive the log-distance path gain from a power law.

    Returns
    -------
    Statement
        The gain in linear scale and decibels.
    """
    distance, reference, exponent, gain_0 = sp.symbols("d d_0 n g_0", positive=True)
    law = eq(
        sp.Derivative(sp.log(gain_0 * (distance / reference) ** (-exponent)), distance), -exponent / distance
    )
    start = eq(at(gain_0 * (distance / reference) ** (-exponent), {distance: reference}), gain_0)
    claim = eq(
        10 * sp.log(gain_0 * (distance / reference) ** (-exponent), 10),
        10 * sp.log(gain_0, 10)
        - 10 * exponent * sp.log(distance, 10)
        + 10 * exponent * sp.log(reference, 10),
    )
    return Statement(
        name="capacity.log_distance_path_gain",
        title="Log-distance path gain",
        source="textbook",
        status="printed",
        functions=("capacity.log_distance_path_gain",),
        tests=(
            "test_log_distance_path_gain",
            "test_log_distance_loses_ten_n_decibels_a_decade",
        ),
        assumptions=("The gain falls by the power n of the distance beyond d_0, where it is g_0.",),
        claims=(law, start, claim),
        steps=(
            Step(text="The relative slope of the gain is -n / d,", claim=law, rule=Evaluate()),
            Step(text="it starts at g_0,", claim=start, rule=Evaluate()),
            Step(
                text="and it is a line in decibels over the logarithm of distance.",
                claim=claim,
                rule=Evaluate(),
            ),
        ),
    )


def mean_packet_latency() -> Statement:
    """Show which way the mean of 1/rate differs from 1/mean rate, and that latency falls with SNR.

    Returns
    -------
    Statement
        Jensen's inequality by its tangent, and two derivatives.
    """
    value, mean = sp.symbols("c m", positive=True)
    tangent = le(2 / mean - value / mean**2, 1 / value)
    square = eq(1 / value - (2 / mean - value / mean**2), (value - mean) ** 2 / (value * mean**2))
    latency = bits / (bandwidth * sp.log(1 + snr, 2))
    falls = lt(sp.Derivative(latency, snr), 0)
    wider = lt(sp.Derivative(latency, bandwidth), 0)
    attempts, once, mean_time = sp.symbols("A T Tbar", positive=True)
    series = geometric(outage, "Attempt n is needed with chance epsilon^(n-1).")
    attempts_are = eq(attempts, series.total)
    repeats = eq(attempts * (1 - outage), 1)
    number = eq(attempts, 1 / (1 - outage))
    time_is = eq(mean_time, attempts * once)
    repeated = eq(mean_time, once / (1 - outage))
    law, output = sp.symbols("q q_out", positive=True)
    output_is = eq(output, series.total * (1 - outage) * law)
    unbiased = eq(output, law)
    return Statement(
        name="capacity.mean_packet_latency",
        title="A mean rate, and one attempt of several, give a latency that is too short",
        source="here",
        status="new",
        functions=("capacity.packet_latency_s", "capacity.rate_bit_per_s"),
        tests=(
            "test_mean_packet_latency_repeats_what_is_lost",
            "test_the_latency_at_the_mean_rate_is_below_the_mean_latency",
            "test_mean_latency_repeats_what_is_lost",
            "test_what_is_lost_is_sent_again_at_the_derived_mean_and_without_bias",
        ),
        assumptions=(
            "Rates c > 0 with mean m; a packet of B bits takes B / c. On a Gaussian channel of bandwidth W "
            "and SNR gamma it takes B ln 2 / (W ln(1 + gamma)).",
            "Where attempts that take T are lost with chance epsilon < 1, independently, A of them are "
            "needed on average and take Tbar. The device waits until a packet is received, and the channel "
            "knows nothing of the tokens: at whichever attempt n the server answers, with chance "
            "epsilon^(n-1) (1 - epsilon), the law of the token is q.",
        ),
        assumed=(attempts_are, series.below_one, time_is, output_is),
        claims=(tangent, falls, wider, repeated, unbiased),
        steps=(
            Step(text="Difference of 1/c and its tangent at m.", claim=square, rule=Evaluate()),
            Step(
                text="A square is not negative, so 1/c lies above the tangent, whose mean is 1/m: E[B/c] >= "
                "B/E[c].",
                claim=tangent,
                rule=Coefficients(label="a square over a positive number"),
            ),
            Step(text="Latency falls with SNR", claim=falls, rule=Evaluate()),
            Step(text="and with bandwidth.", claim=wider, rule=Evaluate()),
            *series.steps,
            Step(
                text="Lost attempts are repeated.",
                claim=repeats,
                rule=Combine((1 - outage, 1)),
                uses=(attempts_are, series.value),
            ),
            Step(text="Solve.", claim=number, rule=Solve(attempts), uses=(repeats,)),
            Step(text="So the mean is", claim=repeated, rule=Evaluate(), uses=(time_is, number)),
            Step(
                text="and the law of the token is that of a link that loses nothing: no bias is added.",
                claim=unbiased,
                rule=Combine((1, law)),
                uses=(output_is, series.value),
            ),
        ),
        glue="Expectation is linear and keeps order.",
    )


def packet_across_a_change_of_rate() -> Statement:
    """Derive the mean time of a packet over a rate that changes, and that it is not affine in the payload.

    Returns
    -------
    Statement
        What a change of rate contributes, and the mean over two rates that alternate.
    """
    first, second, held, then, place = sp.symbols("r_1 r_2 t_1 t_2 s", positive=True)
    starts, others, mean_time = sp.symbols("S_1 S_2 E", positive=True)

    def inside(span: sp.Symbol, rate: sp.Symbol) -> sp.Expr:
        return sp.Integral(bits / rate, (place, 0, span - bits / rate))

    def across(rate: sp.Symbol, following: sp.Symbol) -> sp.Expr:
        left = place + (bits - rate * place) / following  # s is what is left of the span
        return sp.Integral(left, (place, 0, bits / rate))

    def after(span: sp.Symbol, rate: sp.Symbol, following: sp.Symbol) -> sp.Expr:
        return span * bits / rate - bits**2 / (2 * rate) * (1 / rate - 1 / following)

    starts_are = eq(starts, inside(held, first) + across(first, second))
    others_are = eq(others, inside(then, second) + across(second, first))
    mean_is = eq(mean_time, (starts + others) / (held + then))
    one = eq(starts, after(held, first, second))
    other = eq(others, after(then, second, first))
    bend = (1 / first - 1 / second) ** 2
    mean = (bits * (held / first + then / second) - bits**2 / 2 * bend) / (held + then)
    claim = eq(mean_time, mean)
    concave = eq(sp.Derivative(mean, (bits, 2)), -bend / (held + then))
    return Statement(
        name="capacity.packet_across_a_change_of_rate",
        title="Over a rate that changes, the mean time of a packet is not affine in its size",
        source="here",
        status="new",
        functions=("rate_trace.packet_mean_s", "rate_trace.packet_end_s"),
        tests=(
            "test_packet_across_a_change_of_rate",
            "test_the_mean_over_a_trace_is_that_of_packets_at_random_times",
        ),
        assumptions=(
            "A rate r_1 that holds for t_1 is followed by r_2 for t_2, and so on again. A packet of B bits, "
            "at most r_1 t_1 and r_2 t_2, starts at a uniformly random time.",
            "S_1 and S_2 are the times of packets that start at r_1 and at r_2, integrated over the start; "
            "of those that meet the change, s is what was left before it.",
        ),
        assumed=(starts_are, others_are, mean_is),
        claims=(one, claim, concave),
        steps=(
            Step(text="Starts at the first rate,", claim=one, rule=Evaluate(), uses=(starts_are,)),
            Step(text="and at the second.", claim=other, rule=Evaluate(), uses=(others_are,)),
            Step(
                text="Their sum over the period: a packet takes B E[1/r], less what the faster rate gives "
                "back at a change.",
                claim=claim,
                rule=Evaluate(),
                uses=(mean_is, one, other),
            ),
            Step(
                text="So the mean is strictly concave in B wherever rates differ: two packets take longer "
                "than one of their size.",
                claim=concave,
                rule=Evaluate(),
            ),
        ),
        glue="Spans of more than two rates add their S, each with the rate that follows.",
    )


BUILDERS: tuple[Builder, ...] = (
    awgn_capacity,
    rayleigh_ergodic_capacity,
    rayleigh_outage_capacity,
    rate_adaptive_divergence,
    mean_packet_latency,
    packet_across_a_change_of_rate,
    arq_success_probability,
    arq_mean_latency,
    arq_spectral_efficiency,
    short_packet_blocklength,
    received_snr,
    log_distance_path_gain,
)
