"""`cuhlm thresholds`: skip thresholds from a rejection line."""

from typing import Any

import click

from cuhlm_theory import capacity, load, payload, presets
from cuhlm_theory._checks import as_nonnegative, as_probability
from cuhlm_theory.cli import options, output
from cuhlm_theory.law import Law, bias_price_for_budget, budget_for_bias_price, parse_law
from cuhlm_theory.parameters import Codec, Latency
from cuhlm_theory.rejection import Line
from cuhlm_theory.throughput import skip_saves_s

_MEANING = {
    "risk_averse": "no bias, if the line is right",
    "risk_prone": "the line reaches delta",
    "risk_budget": "bias within the budget",
    "cost_optimal": "latency plus price times bias is least",
}


def _render(result: output.Result) -> None:
    rows = [(name.replace("_", "-"), result[name], what) for name, what in _MEANING.items()]
    needs = [f"{name.replace('_', '-')} needs {what}" for name, what in result["missing"].items()]
    output.table(
        f"Skip iff u <= threshold, for beta(u) = clip({result['slope']:g} u {result['intercept']:+g}, 0, 1)",
        ["rule", "threshold", "why there"],
        rows,
        note="; ".join(needs),
    )
    details = {
        "risk": "bias spent within the risk budget",
        "skip_rate": "share of tokens skipped at the risk budget",
        "tie_probability": "probability of skipping at that threshold",
        "bias_price_for_budget_s": "price of bias the risk budget amounts to [s]",
        "transmit_s": "latency a transmission adds [s]",
        "budget_for_bias_price": "bias the price leads to",
    }
    known = [(what, result[key]) for key, what in details.items() if result[key] is not None]
    if known:
        output.table("Behind them", ["quantity", "value"], known)


@click.command(
    "thresholds",
    epilog="\b\nExample: cuhlm thresholds --slope 0.815 --intercept -0.066 --risk-budget 0.05 "
    "--uncertainty uniform",
)
@options.scenario
@click.option(
    "--slope", type=options.Number(), default=None, help="a, positive [default: the calibration's]."
)
@click.option("--intercept", type=options.Number(), default=None, help="b [default: the calibration's].")
@click.option(
    "--delta", type=options.Number(), default=None, help="P(y_d < x_d) [default: the calibration's]."
)
@click.option("--calibration", default=None, help="FILE, DIR, smollm2, qwen2.5-coder, cu-hlm or u-hlm.")
@click.option(
    "--risk-budget", type=options.Number(), default=None, help="Mean bias that skipping may cost, in [0, 1]."
)
@click.option(
    "--uncertainty",
    default=None,
    help="Law of u: uniform, beta:P,Q, a trace, or .npy of u [N] or of u and beta [N, 2] "
    "[default: the calibration's].",
)
@click.option(
    "--bias-price-s",
    type=options.Number("s"),
    default=None,
    help="Seconds a token may cost per unit of bias.",
)
@click.option(
    "--transmit-s",
    type=options.Number("s"),
    default=None,
    help="Uplink plus LLM [s] [default: from the link and k].",
)
@click.option(
    "--k",
    type=options.WHOLE,
    default=int(presets.SETTINGS["offline_k"].value),
    show_default=True,
    help="Entries sent.",
)
@options.of(Codec, only=["vocab_size", "prob_bits", "index_bits"])
@options.link
@options.of(Latency, only=["llm_latency_s", "llm_per_token_s", "round_trip_s"])
@output.reports(_render)
def command(
    *,
    slope: float | None,
    intercept: float | None,
    delta: float | None,
    calibration: str | None,
    risk_budget: float | None,
    uncertainty: str | None,
    bias_price_s: float | None,
    **channel: Any,
) -> output.Result:
    """Skip thresholds from a rejection line: printed, within a risk budget, cost-optimal."""
    fitted = None
    if calibration is not None:
        fitted = load(calibration)
        slope = fitted.line.slope if slope is None else slope
        intercept = fitted.line.intercept if intercept is None else intercept
        delta = fitted.line.delta if delta is None else delta
    if slope is None or intercept is None:
        name = "slope" if slope is None else "intercept"
        raise ValueError(f"{name} must be given, or --calibration; got neither")
    line = Line(slope, intercept, delta)
    if uncertainty is not None:
        law = parse_law(uncertainty, options.recorded_law)
    else:
        law = None if fitted is None else fitted.law
    tau = _transmit_s(fitted, **channel)
    if risk_budget is not None:
        as_probability("risk_budget", risk_budget)
    if bias_price_s is not None:
        as_nonnegative("bias_price_s", bias_price_s)
    wants = {
        "risk_prone": [("--delta", delta)],
        "risk_budget": [("--risk-budget", risk_budget), ("--uncertainty, the law of u", law)],
        "cost_optimal": [("--bias-price-s", bias_price_s), ("--llm-latency-s or --transmit-s", tau)],
    }
    lacking = {key: [what for what, value in needs if value is None] for key, needs in wants.items()}
    missing = {key: " and ".join(names) for key, names in lacking.items() if names}
    result = {
        "risk_averse": line.risk_averse,
        "risk_prone": line.risk_prone,
        **_at_budget(line, risk_budget, law, tau),
        **_at_price(line, bias_price_s, law, tau),
    }
    return {
        **result,
        "slope": line.slope,
        "intercept": line.intercept,
        "delta": line.delta,
        "bias_price_s": bias_price_s,
        "transmit_s": tau,
        "missing": missing,
    }


def _at_budget(line: Line, budget: float | None, law: Law | None, tau: float | None) -> output.Result:
    """Threshold within the risk budget, and the price of bias that it amounts to."""
    keys = ("risk_budget", "tie_probability", "risk", "skip_rate", "bias_price_for_budget_s")
    if budget is None or law is None:
        return dict.fromkeys(keys)
    spent = law.within(budget, line)
    price = None if tau is None else bias_price_for_budget(budget, line, tau, law)
    values = (spent.threshold, spent.tie_probability, spent.risk, spent.skip_rate, price)
    return dict(zip(keys, values, strict=True))


def _at_price(line: Line, price_s: float | None, law: Law | None, tau: float | None) -> output.Result:
    """Cost-optimal threshold, and the budget that the price amounts to."""
    keys = ("cost_optimal", "budget_for_bias_price", "cost_optimal_skip_rate")
    if price_s is None or tau is None:
        return dict.fromkeys(keys)
    best = float(line.cost_optimal(tau, price_s))
    if law is None:
        return dict(zip(keys, (best, None, None), strict=True))
    spent = budget_for_bias_price(price_s, line, tau, law)
    exact = float(line.cost_optimal(tau, price_s, clip=False))
    share = float(law.skip_rate(exact)) if exact >= 0.0 else 0.0
    return dict(zip(keys, (best, spent, share), strict=True))


def _transmit_s(fitted: Any, *, transmit_s: float | None, k: int, **values: Any) -> float | None:
    """Latency that a transmission adds to a skip; None where the LLM's latency is not known."""
    ladder = options.ladder(values, {"calibration": fitted})
    link, codec = ladder.link(), ladder.build(Codec)
    if transmit_s is not None:
        return float(as_nonnegative("transmit_s", transmit_s))
    bits = payload.printed_bit(k, codec.vocab_size, codec.prob_bits, codec.index_bits)
    latency = ladder.build(Latency)
    if "llm_latency_s" in ladder.assumed:
        return None
    return float(skip_saves_s(latency, capacity.packet_latency_s(link, bits)))
