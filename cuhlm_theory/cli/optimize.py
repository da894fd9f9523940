"""`cuhlm optimize`: which scheme to run over one link, and every other one beside it."""

import itertools
import math
from dataclasses import asdict, replace
from typing import Any

import click

from cuhlm_theory import explanation
from cuhlm_theory._checks import as_probability
from cuhlm_theory.cli import options, output
from cuhlm_theory.cli._setting import build_setting, setting_options
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.recommendation import Question, Recommendation
from cuhlm_theory.schemes import SCHEMES

_POINT = {
    "threshold": "skip iff the uncertainty is at most",
    "skip_rate": "tokens skipped [-]",
    "risk": "bias of skipping [-]",
    "truncation_bias": "bias of truncation, at most [-]",
    "bias_bound": "bias, at most [-]",
    "bias_budget": "bias allowed [-]",
    "k_mean": "entries sent, mean k [token]",
    "truncation_price_s": "k(x) minimises tau_up(k) + mu TV_k, mu [s]",
    "uplink_bit_per_token": "uplink [bit/token]",
    "latency_s": "latency [s/token]",
    "throughput_token_per_s": "throughput E[N]/E[D] [token/s]",
    "mean_rate_token_per_s": "mean rate E[N/D] [token/s]",
    "speedup_over_hlm": "speed-up over HLM [-]",
    "floor_ratio": "latency over the single-draft floor [-]",
    "energy_j_per_token": "energy [J/token]",
    "excess_over_optimum": "latency above the certified optimum [-]",
}
_COLUMNS = {
    "name": "scheme",
    "throughput_token_per_s": "token/s",
    "throughput_ci95": "95 %",
    "bias": "bias",
    "skip_rate": "skipped",
    "uplink_bit_per_token": "bit/token",
    "text": "text",
}
_ROUNDS = {
    "name": "scheme",
    "num_drafts": "drafts",
    "tokens_per_round": "token/round",
    "llm_calls_per_token": "calls",
    "downlink_bit_per_token": "bit down",
}
_COSTS = {
    "name": "scheme",
    "latency_s": "s/token",
    "mean_rate_token_per_s": "E[N/D]",
    "speedup_over_hlm": "speed-up",
    "energy_j_per_token": "J/token",
}
_ACCOUNTS = {"bound": "≤", "estimate": "≈"}
_JOINT = {
    "name": "scheme",
    "bias": "bias",
    "latency_s": "s/token",
    "throughput_token_per_s": "token/s",
    "prob_bits": "b_prob",
}
_RULES = {"budget": "budget", "exact_bit": "exact rule", "printed_bit": "printed rule", "ratio": "ratio"}
_ORDERS = {
    "k": "k",
    "bit": "bit",
    "sample_then_truncate_bias": "bias S-T",
    "truncate_then_sample_bias": "bias T-S",
    "sample_acceptance": "kept S-T",
    "truncate_then_sample_acceptance": "kept T-S",
}
_CONSISTENCY = {
    "name": "abstract",
    "speedup": "speed-up",
    "ceiling": "ceiling",
    "fits": "fits",
    "max_transmit_probability": "p_tx needed",
    "max_payload_ratio": "B(k)/B(V) needed",
    "mean_rate_latency_ratio": "E[1/D] ratio",
    "least_mean_rate": "E[1/D] least",
}
_REGION = {
    "transmit_probability": "p_tx",
    "k": "k",
    "slm_s": "SLM [s]",
    "llm_s": "LLM [s]",
    "ceiling": "ceiling",
}


def _render(result: output.Result) -> None:
    everything, proof = click.get_current_context().params["everything"], result["certificate"]
    if result["recommendation"] is not None:
        for line in result["recommendation"]["lines"]:
            output.say(line)
        output.say("")
    _render_schemes(result)
    if everything:
        _render_rounds(result)
        _render_point(result)
        _render_sync(result)
    if proof and (everything or "solver_primal" in proof):
        output.say(
            f"Certificate ({proof['solver']}) of {proof['class']}: the best one, which knows the risk of "
            f"every context, takes {proof['primal']:.9g} s; none of this class takes less than "
            f"{proof['dual']:.9g} s; relative gap {proof['relative_gap']:.1e}. The LLM alone, runs of "
            "several drafts and the kept law are outside it."
        )
    _render_more(result)


def _place(inputs: dict[str, Any]) -> str:
    if inputs["rate_trace"] is not None:
        return f"the rates of {inputs['rate_trace']}"
    if inputs["rate_bit_per_s"] is not None:
        return f"{inputs['rate_bit_per_s']:g} bit/s"
    return f"{inputs['snr_db']:g} dB, {inputs['bandwidth_hz']:g} Hz, {inputs['fading']}"


def _cells(rows: list[dict[str, Any]], columns: dict[str, str]) -> list[list[Any]]:
    return [[row[key] for key in columns] for row in rows]


def _render_schemes(result: output.Result) -> None:
    inputs, rows = result["inputs"], _fastest_first(result)
    if len(rows) == 1:
        output.table(rows[0]["name"], ["quantity", "value"], list(rows[0].items())[1:])
        return
    cells = _cells(rows, _COLUMNS)
    for row, line in zip(rows, cells, strict=True):
        if row["bias"] is not None and (sign := _ACCOUNTS.get(row["bias_account"])):
            line[3] = f"{sign}\u202f{row['bias']:.4g}"
        line[5] = _whole(line[5])
    reasons: dict[str, list[str]] = {}
    for name, why in result["missing"].items():
        reasons.setdefault(why, []).append(name)
    notes = [f"{', '.join(names)}: {why}." for why, names in reasons.items()]
    if inputs["assumed"]:
        notes.append(f"Assumed: {', '.join(inputs['assumed'])}.")
    if result["lacks_text"]:
        notes.append(result["lacks_text"])
    equal = "".join(
        f" at equal {what} ({inputs[key]:g})"
        for what, key in (("bias", "equal_bias"), ("bits", "equal_bits"))
        if inputs[key] is not None
    )
    title = f"Schemes{equal}: {_place(inputs)}; {inputs['calibration']}, V = {inputs['vocab_size']}"
    output.table(title, list(_COLUMNS.values()), cells, note=" ".join(notes))


def _fastest_first(result: output.Result) -> list[dict[str, Any]]:
    return sorted(result["schemes"], key=lambda row: -row["throughput_token_per_s"])


def _render_rounds(result: output.Result) -> None:
    rows = _fastest_first(result)
    if len(rows) == 1:
        return
    free = result["inputs"]["downlink_bit_per_s"] == math.inf
    output.table(
        "Their rounds",
        list(_ROUNDS.values()),
        _cells(rows, _ROUNDS),
        note="Bits down take no time; --downlink-bit-per-s charges them." if free else "",
    )
    output.table("Time, the other average, energy", list(_COSTS.values()), _cells(rows, _COSTS))


def _render_point(result: output.Result) -> None:
    point = result["operating_point"]
    output.table(
        f"Operating point of {point['scheme']}",
        ["quantity", "value"],
        [(text, point[key]) for key, text in _POINT.items()],
        note=f"Binding budget: {point['binds']}.",
    )
    names = ("risk_averse", "risk_prone", "risk_budget", "cost_optimal")
    output.table(
        "Thresholds on the uncertainty",
        [name.replace("_", "-") for name in names],
        [[result["thresholds"][name] for name in names]],
    )


def _render_sync(result: output.Result) -> None:
    sync = result["verify_on_sync"]
    if sync:
        winner = "verify-on-sync" if sync["exact_wins"] else "CU-HLM"
        output.say(
            f"At the same trigger: verify-on-sync {sync['latency_s']:.4g} s a token and exact "
            f"({sync['latency_with_bonus_s']:.4g} s with the LLM's bonus token), CU-HLM "
            f"{sync['cu_hlm_latency_s']:.4g} s; {winner} is faster. Break-even risk for i.i.d. tokens: "
            f"{sync['break_even_risk']:.4g}; the risk here is {sync['risk']:.4g}."
        )


def _whole(bits: float) -> float:
    return round(bits) if bits >= 1000.0 else bits


def _render_more(result: output.Result) -> None:
    if "joint" in result:
        output.table(
            "Joint optimum over scheme, threshold, k, b_prob, codec and draft count",
            [*_JOINT.values(), "settings"],
            [
                [*cells, ", ".join(f"{name} {value:.4g}" for name, value in row["settings"].items())]
                for row, cells in zip(result["joint"], _cells(result["joint"], _JOINT), strict=True)
            ],
        )
    if "headline" in result:
        _render_headline(result["headline"])
    if result.get("truncation"):
        _render_truncation(result["truncation"])
    for sentence in result.get("explanation", ()):
        output.say(sentence)


def _render_truncation(found: dict[str, Any]) -> None:
    output.table(
        "Bits a token of the two rules for k at equal budget, nothing skipped",
        list(_RULES.values()),
        _cells(found["exact_over_printed"], _RULES),
    )
    if "orders" in found:
        output.table(
            "Sample then truncate (S-T) against truncate then sample (T-S), at equal bits",
            list(_ORDERS.values()),
            _cells(found["orders"], _ORDERS),
        )


def _render_headline(found: dict[str, Any]) -> None:
    output.table(
        "Printed figures against the printed latency model",
        list(_CONSISTENCY.values()),
        _cells(found["consistency"], _CONSISTENCY),
        note=" ".join(row["statement"] for row in found["consistency"]),
    )
    for speedup, group in itertools.groupby(found["region"], lambda row: row["speedup"]):
        rows = list(group)
        table = _cells(rows, _REGION)
        for row, cells in zip(rows, table, strict=True):
            rate = row["max_rate_bit_per_s"]
            cells.append(None if rate is None else rate / 1e3)
            cells.extend(None if snr is None else f"{snr:.1f}" for snr in row["max_snr_db"])
        output.table(
            f"A speed-up of {speedup:g} over HLM needs at most this rate [kbit/s] or SNR [dB]",
            [*_REGION.values(), "kbit/s", *(f"{width / 1e6:g} MHz" for width in rows[0]["bandwidths_hz"])],
            table,
        )


@click.command(
    "optimize",
    epilog="\b\nExample: cuhlm optimize --snr-db 10 --bandwidth-hz 1e6 --bias-budget 0.05 --explain",
)
@options.scenario
@setting_options
@click.option("--certify", is_flag=True, help="Also solve the linear programme in cvxpy and use its dual.")
@click.option(
    "--equal-bias",
    type=options.Number(),
    default=None,
    help="Compare at this bias, where a scheme can have it.",
)
@click.option(
    "--equal-bits",
    type=options.Number("bit"),
    default=None,
    help="Compare at this many bits a token, where a scheme can.",
)
@click.option(
    "--scheme",
    "scheme_name",
    type=click.Choice(list(SCHEMES)),
    default=None,
    help="Evaluate only this scheme.",
)
@click.option("--num-drafts", type=options.WHOLE, default=None, help="Drafts a round [default: the best].")
@click.option(
    "--num-candidates", type=options.WHOLE, default=None, help="K of TK-SLT, TSLT [default: 30], K-SQS [16]."
)
@click.option("--explain", is_flag=True, help="Say in words what binds and what one more unit would buy.")
@click.option("--joint", is_flag=True, help="Optimise scheme, b_prob, codec and draft count too.")
@click.option("--headline", is_flag=True, help="Show where the published speed-ups hold.")
@click.option(
    "--all", "everything", is_flag=True, help="Also print CU-HLM's operating point, rounds and certificate."
)
@output.reports(_render)
@options.saves_scenario
def command(
    *,
    certify: bool,
    equal_bias: float | None,
    equal_bits: float | None,
    scheme_name: str | None,
    explain: bool,
    joint: bool,
    headline: bool,
    everything: bool,  # read by what renders the result
    **values: Any,
) -> output.Result:
    """Say which scheme to run over a link, at what threshold, how fast and with what bias."""
    question, inputs = build_setting(values)
    options.within_vocabulary(values, question.system.codec.vocab_size, "num_candidates")
    found = question.answer()
    lined_up = found if equal_bias is None else _at_bias(question, equal_bias)
    names = tuple(SCHEMES) if scheme_name is None else (scheme_name,)
    numbers = {key: values[key] for key in ("num_drafts", "num_candidates") if values[key] is not None}
    if (scheme_name, equal_bias, equal_bits, numbers) == (None, None, None, {}):
        rows, missing = found.rows, found.missing
    else:
        beside, missing = lined_up.beside(names, equal_bias=equal_bias, equal_bits=equal_bits, **numbers)
        rows = [lined_up.row(*one) for one in beside]
    result = {
        "recommendation": found.to_dict() if scheme_name is None else None,
        "inputs": inputs | {"equal_bias": equal_bias, "equal_bits": equal_bits},
        "thresholds": found.thresholds(),
        "operating_point": found.operating_row(),
        "schemes": rows,
        "missing": missing,
        "lacks_text": "" if question.texts is None else question.texts.lacks,
        "verify_on_sync": found.verify_on_sync() if scheme_name is None else None,
        "certificate": found.certificate(solver=certify),
    }
    if joint:
        result["joint"] = _joint(question)
    if headline:
        result["headline"] = _headline(question)
    if explain:
        gained = explanation.gains(found)
        result["truncation"] = found.truncation_orders()
        result["gains"] = [asdict(gain) for gain in gained]
        result["explanation"] = explanation.explain(found, gained)
    return result


def _at_bias(question: Question, bias: float) -> Recommendation:
    """Find the operating point of another budget, so that the schemes split the bias they are brought to."""
    as_probability("equal_bias", bias)
    wanted = replace(question, budget=replace(question.budget, bias=bias))
    try:
        return wanted.answer(bound=False)
    except InfeasibleError as error:
        raise InfeasibleError(f"equal_bias {bias:g} is out of reach: {error}") from None


def _joint(question: Question) -> list[dict[str, Any]]:
    from cuhlm_theory.optimisation import joint_optimum

    found = joint_optimum(
        question.tokens,
        question.system,
        question.budget,
        charge_quantisation=question.charge_quantisation,
    )
    return [
        asdict(candidate.outcome)
        | {
            "prob_bits": candidate.codec.prob_bits,
            "codec": candidate.codec.kind,
            "settings": {name: candidate.scheme.numbers[name] for name in candidate.chosen},
        }
        for candidate in found.candidates
    ]


def _headline(question: Question) -> dict[str, Any]:
    from cuhlm_theory.headline import headline_consistency, headline_region

    pairs = [(0.01, 0.1), (0.05, 0.5), (question.system.latency.slm_s, question.system.latency.llm_s)]
    region = [
        *headline_region(206.0, [0.252, 0.1], [30, 832], pairs),
        *headline_region(2.54, [1 - 0.4593, 0.39], [32_000], pairs),
    ]
    return {
        "consistency": [asdict(row) | {"statement": row.statement} for row in headline_consistency()],
        "region": [asdict(row) for row in region],
    }
