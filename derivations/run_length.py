"""How the mean latency over a run grows where a packet's mean latency is infinite."""

import sympy as sp

from derivations.rules import Combine, Evaluate
from derivations.statement import Builder, Proof, Statement, eq

bits, bandwidth, snr, mean_snr = sp.symbols("B W gamma gammabar", positive=True)
pace = sp.Symbol("s", positive=True)

_scale = bits * sp.log(2) / (bandwidth * mean_snr)
_faded = 2 ** (bits * pace / bandwidth) - 1
_ASSUMED = "The SNR gamma of each packet is exponential with mean gammabar, anew for each packet; s is 1/t."


def tail() -> Statement:
    """Derive how heavy the tail of a packet's latency is.

    Returns
    -------
    Statement
        The chance of a long packet, and what it tends to.
    """
    proof = Proof()
    chance = proof.step(
        "A packet takes longer than t where the SNR is below 2^(B/(W t)) - 1:",
        eq(
            sp.Integral(sp.exp(-snr / mean_snr) / mean_snr, (snr, 0, _faded)),
            1 - sp.exp(-_faded / mean_snr),
        ),
        Evaluate(),
    )
    limit = proof.step(
        "t times this chance tends to c = B ln 2 / (W gammabar).",
        eq(sp.Limit((1 - sp.exp(-_faded / mean_snr)) / pace, pace, 0), _scale),
        Evaluate(),
    )
    return Statement(
        name="run_length.tail",
        title="How heavy the tail of a rate-adaptive packet is",
        source="here",
        status="new",
        functions=("run_length.tail_scale_s", "run_length.tail_probability"),
        tests=("test_the_tail_is_that_of_the_derivation", "test_the_tail_is_that_of_drawn_packets"),
        assumptions=(_ASSUMED, "A packet of B > 0 bits takes B / (W log2(1 + gamma))."),
        claims=(chance, limit),
        steps=proof.steps,
    )


def growth() -> Statement:
    """Derive by how much a run of ten times the length is slower.

    Returns
    -------
    Statement
        Growth of the truncated mean with the logarithm of the run.
    """
    proof = Proof()
    survival = 1 - sp.exp(-_faded / mean_snr)
    density = proof.step(
        "The part of the mean up to t grows with ln t by t^2 f(t), and f(t) = - dP(D > t)/dt, so by the "
        "slope of P(D > 1/s) in s,",
        eq(sp.Derivative(survival, pace), sp.diff(survival, pace)),
        Evaluate(),
    )
    grows = proof.step(
        "which tends to c for long times,",
        eq(sp.Limit(sp.diff(survival, pace), pace, 0), _scale),
        Evaluate(),
    )
    decade = proof.step(
        "so every decade of the run adds c ln 10.",
        eq(sp.log(10) * sp.Limit(sp.diff(survival, pace), pace, 0), sp.log(10) * _scale),
        Combine((sp.log(10),)),
        grows,
    )
    return Statement(
        name="run_length.growth",
        title="A run of ten times the length is slower by c ln 10",
        source="here",
        status="new",
        functions=("run_length.mean_latency_quantile_s",),
        tests=(
            "test_the_quantiles_grow_by_the_derived_step_a_decade",
            "test_the_quantiles_of_runs_are_those_of_a_simulation",
        ),
        assumptions=(
            _ASSUMED,
            "n packets are as slow as the mean truncated at n c says, but for c times a variable with "
            "Landau's law: Gnedenko and Kolmogorov, for sums of a tail c/t.",
        ),
        claims=(density, grows, decade),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (tail, growth)
