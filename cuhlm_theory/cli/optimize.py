"""`cuhlm optimize`: thresholds, truncation and operating point for one channel, beside every scheme."""

from dataclasses import asdict, replace
from typing import Any

import click

from cuhlm_theory import summary
from cuhlm_theory.cli import options, output
from cuhlm_theory.cli._setting import build_setting, setting_options
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
    "bias": "bias",
    "skip_rate": "skip",
    "uplink_bit_per_token": "bit/token",
    "llm_calls_per_token": "calls",
    "throughput_token_per_s": "token/s",
    "speedup_over_hlm": "speed-up",
}


def _render(result: output.Result) -> None:
    inputs, point = result["inputs"], result["operating_point"]
    known = inputs["assumed"]
    output.table(
        f"Operating point at {inputs['snr_db']:g} dB, {inputs['bandwidth_hz']:g} Hz, {inputs['fading']}; "
        f"{inputs['calibration']}, V = {inputs['vocab_size']}",
        ["quantity", "value"],
        [(text, point[key]) for key, text in _POINT.items()],
        note=f"Binding budget: {point['binds']}." + (f" Assumed: {', '.join(known)}." if known else ""),
    )
    names = ("risk_averse", "risk_prone", "risk_budget", "cost_optimal")
    output.table(
        "Thresholds on the uncertainty",
        [name.replace("_", "-") for name in names],
        [[result["thresholds"][name] for name in names]],
    )
    _render_schemes(result)
    sync = result.get("verify_on_sync")
    if sync:
        winner = "verify-on-sync" if sync["exact_wins"] else "CU-HLM"
        click.echo(
            f"At the same trigger: verify-on-sync {sync['latency_s']:.4g} s a token and exact "
            f"({sync['latency_with_bonus_s']:.4g} s with the LLM's bonus token), CU-HLM "
            f"{sync['cu_hlm_latency_s']:.4g} s; {winner} is faster. Break-even risk for i.i.d. tokens: "
            f"{sync['break_even_risk']:.4g}; the risk here is {sync['risk']:.4g}."
        )
    proof = result["certificate"]
    if proof:
        click.echo(
            f"Certificate ({proof['solver']}): knowing the risk of every context, the best randomised policy "
            f"takes {proof['primal']:.9g} s; none takes less than {proof['dual']:.9g} s; relative gap "
            f"{proof['relative_gap']:.1e}."
        )
    _render_more(result)


def _render_schemes(result: output.Result) -> None:
    if len(result["schemes"]) == 1:
        row = result["schemes"][0]
        output.table(row["name"], ["quantity", "value"], list(row.items())[1:])
        return
    rows = []
    for row in result["schemes"]:
        bits = row["uplink_bit_per_token"]
        cells = [row[key] for key in _COLUMNS]
        cells[3] = round(bits) if bits >= 1000.0 else bits
        if row["bias"] is not None and row["bias_is_bound"]:
            cells[1] = f"≤\u202f{row['bias']:.4g}"
        rows.append(cells)
    reasons: dict[str, list[str]] = {}
    for name, why in result["missing"].items():
        reasons.setdefault(why, []).append(name)
    missing = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    output.table("Schemes", list(_COLUMNS.values()), rows, note=missing)


def _render_more(result: output.Result) -> None:
    if "joint" in result:
        output.table(
            "Joint optimum over scheme, threshold, k, b_prob, codec and draft count",
            ["scheme", "bias", "latency [s]", "token/s", "b_prob", "settings"],
            [
                (
                    row["name"],
                    row["bias"],
                    row["latency_s"],
                    row["throughput_token_per_s"],
                    row["prob_bits"],
                    row["settings"],
                )
                for row in result["joint"]
            ],
        )
    if "headline" in result:
        output.table(
            "Printed figures against the printed latency model",
            ["abstract", "speed-up", "ceiling", "fits", "p_tx needed", "B(k)/B(V) needed", "E[1/D] ratio"],
            [
                [
                    row[key]
                    for key in (
                        "name",
                        "speedup",
                        "ceiling",
                        "fits",
                        "max_transmit_probability",
                        "max_payload_ratio",
                        "mean_rate_latency_ratio",
                    )
                ]
                for row in result["headline"]["consistency"]
            ],
        )
        output.table(
            "Where a speed-up over HLM is reached: the link may be no faster than",
            [
                "speed-up",
                "p_tx",
                "k",
                "tau_SLM [s]",
                "tau_LLM [s]",
                "ceiling",
                "rate [bit/s]",
                "SNR [dB] at 180 kHz, 1 MHz, 10 MHz",
            ],
            [
                [
                    row[key]
                    for key in (
                        "speedup",
                        "transmit_probability",
                        "k",
                        "slm_s",
                        "llm_s",
                        "ceiling",
                        "max_rate_bit_per_s",
                        "max_snr_db",
                    )
                ]
                for row in result["headline"]["region"]
            ],
        )
    for sentence in result.get("explanation", ()):
        click.echo(sentence)


@click.command(
    "optimize",
    epilog="\b\nExample: cuhlm optimize --snr-db 10 --bandwidth-hz 1e6 --bias-budget 0.05 --explain",
)
@options.scenario
@setting_options
@click.option("--certify", is_flag=True, help="Also solve the linear programme in cvxpy and use its dual.")
@click.option("--equal-bias", type=float, default=None, help="Bring every scheme to this bias where it can.")
@click.option("--equal-bits", type=float, default=None, help="Bring every scheme to this many bits a token.")
@click.option(
    "--scheme", "scheme_name", type=click.Choice(list(SCHEMES)), default=None, help="Only this scheme."
)
@click.option("--num-drafts", type=int, default=None, help="Drafts a round [default: the best].")
@click.option("--num-candidates", type=int, default=30, show_default=True, help="K of TK-SLT, TSLT, K-SQS.")
@click.option("--explain", is_flag=True, help="Say in words what binds and what one more unit would buy.")
@click.option("--joint", is_flag=True, help="Optimise scheme, b_prob, codec and draft count too.")
@click.option("--headline", is_flag=True, help="Show where the published speed-ups hold.")
@output.reports(_render)
def command(
    *,
    certify: bool,
    equal_bias: float | None,
    equal_bits: float | None,
    scheme_name: str | None,
    num_drafts: int | None,
    num_candidates: int,
    explain: bool,
    joint: bool,
    headline: bool,
    **setting_values: Any,
) -> output.Result:
    """Thresholds, truncation and operating point for one channel, beside every scheme."""
    setting, inputs = build_setting(**setting_values)
    found = summary.answer(setting)
    policy = replace(found.policy, num_drafts=num_drafts, num_candidates=num_candidates)
    names = tuple(SCHEMES) if scheme_name is None else (scheme_name,)
    rows, missing = summary.scheme_rows(
        setting, found, names, equal_bias=equal_bias, equal_bits=equal_bits, policy=policy
    )
    result = {
        "inputs": inputs | {"equal_bias": equal_bias, "equal_bits": equal_bits},
        "thresholds": summary.thresholds(setting, found),
        "operating_point": summary.operating_point_row(setting, found),
        "schemes": rows,
        "missing": missing,
        "verify_on_sync": summary.verify_on_sync(setting, found) if scheme_name is None else None,
        "certificate": summary.certificate(setting, found, solver=certify),
    }
    if joint:
        result["joint"] = _joint(setting)
    if headline:
        result["headline"] = _headline(setting)
    if explain:
        result["truncation"] = summary.truncation_orders(setting)
        result["explanation"] = summary.explain(setting, found)
    return result


def _joint(setting: summary.Setting) -> list[dict[str, Any]]:
    from cuhlm_theory.optimise import joint_optimum

    found = joint_optimum(setting.tokens, setting.system, setting.budget)
    rows = []
    for candidate in found.candidates:
        policy, row = candidate.policy, asdict(candidate.outcome)
        names = {
            "cu-hlm-exact": ("threshold", "truncation_price_s"),
            "verify-on-sync": ("threshold", "bonus"),
            "confidence-stop": ("confidence", "max_drafts"),
            "k-sqs": ("num_candidates", "num_drafts", "lattice_levels"),
            "tk-slt": ("num_candidates", "num_drafts"),
            "tslt": ("num_candidates", "num_drafts"),
            "dsd": ("num_drafts",),
            "dssd": ("num_drafts",),
        }.get(row["name"], ())
        settings = ", ".join(f"{name} {getattr(policy, name):.4g}" for name in names)
        rows.append(
            row
            | {"prob_bits": candidate.codec.prob_bits, "codec": candidate.codec.kind, "settings": settings}
        )
    return rows


def _headline(setting: summary.Setting) -> dict[str, Any]:
    from cuhlm_theory.headline import headline_consistency, headline_region

    pairs = [(0.01, 0.1), (0.05, 0.5), (setting.system.latency.slm_s, setting.system.latency.llm_s)]
    region = [
        *headline_region(206.0, [0.252, 0.1], [30, 832], pairs),
        *headline_region(2.54, [1 - 0.4593, 0.39], [32_000], pairs),
    ]
    return {
        "consistency": [asdict(row) for row in headline_consistency()],
        "region": [asdict(row) for row in region],
    }
