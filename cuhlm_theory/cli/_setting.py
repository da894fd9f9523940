"""Options that make a setting, and the setting they make: calibration, system, budgets."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cuhlm_theory import presets
from cuhlm_theory.cli import options
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.law import parse_law
from cuhlm_theory.parameters import Budget, Codec, Latency, System
from cuhlm_theory.recommendation import Question

if TYPE_CHECKING:
    from calibration import Calibration

setting_options = options.group(
    click.option(
        "--calibration",
        default="smollm2",
        show_default=True,
        help="FILE, DIR, smollm2, smollm2-llm-text, or the published line cu-hlm or u-hlm.",
    ),
    click.option(
        "--uncertainty",
        default=None,
        help="Law of u: uniform, beta:P,Q, a trace, or .npy of u [N] or of u and beta [N, 2] "
        "[default: the calibration's].",
    ),
    options.link,
    options.codec,
    click.option(
        "--codec",
        type=click.Choice(["printed", "dense", "enumerative", "best"]),
        default="printed",
        show_default=True,
        help="Payload formula.",
    ),
    options.latency,
    click.option(
        "--downlink-bit-per-s", type=float, default=np.inf, show_default=True, help="Downlink rate [bit/s]."
    ),
    click.option(
        "--llm-prefill-s",
        type=float,
        default=0.0,
        show_default=True,
        help="LLM time a skipped token costs [s].",
    ),
    click.option("--charge-resync", is_flag=True, help="Charge the indices of skipped tokens to the uplink."),
    click.option(
        "--tx-power-w", type=float, default=0.2, show_default=True, help="Transmit power [W] (assumed)."
    ),
    click.option(
        "--slm-energy-j", type=float, default=0.0, show_default=True, help="Energy of a draft [J] (assumed)."
    ),
    click.option(
        "--bias-budget", type=float, default=0.05, show_default=True, help="Mean per-token bias allowed."
    ),
    click.option("--risk-budget", type=float, default=None, help="Part for skipping [default: optimised]."),
    click.option(
        "--truncation-budget", type=float, default=None, help="Part for truncation [default: optimised]."
    ),
    click.option(
        "--bias-price-s", type=float, default=None, help="lambda, seconds a token may cost per unit of bias."
    ),
    click.option(
        "--quantisation",
        type=click.Choice(["drafted", "charged"]),
        default="drafted",
        show_default=True,
        help="Draft from the quantised law (no bias), or charge its TV to the bias.",
    ),
    click.option(
        "--offline-k", type=int, default=None, help="k of cu-hlm-offline [default: its rule, or 30]."
    ),
)


def build_setting(
    *,
    calibration: str,
    uncertainty: str | None,
    bandwidth_hz: float,
    snr_db: float,
    fading: str,
    outage: float,
    block_error: float,
    vocab_size: int | None,
    prob_bits: int,
    index_bits: int | None,
    codec: str,
    slm_latency_s: float | None,
    llm_latency_s: float | None,
    round_trip_s: float,
    downlink_bit_per_s: float,
    llm_prefill_s: float,
    charge_resync: bool,
    tx_power_w: float,
    slm_energy_j: float,
    bias_budget: float,
    risk_budget: float | None,
    truncation_budget: float | None,
    bias_price_s: float | None,
    quantisation: str,
    offline_k: int | None,
) -> tuple[Question, dict[str, Any]]:
    """Return the setting and the inputs as they were understood, for the record."""
    from calibration import load

    found = load(calibration)
    law = found.law if uncertainty is None else parse_law(uncertainty, options.recorded_law)
    if law is None:
        raise MissingInputError(
            f"the line of {calibration} has no law of u; give --uncertainty uniform, beta:P,Q or FILE"
        )
    recorded = found.tokens if uncertainty is None else None
    tokens = Tokens.of(law, found.line) if recorded is None else recorded
    size = vocab_size or found.vocab_size
    if size is None:
        raise MissingInputError(f"calibration {calibration} has no vocabulary size; give --vocab-size")
    _same_vocabulary(size, tokens)
    slm_s, slm_from = _latency("slm", slm_latency_s, found)
    llm_s, llm_from = _latency("llm", llm_latency_s, found)
    link = options.build_link(
        bandwidth_hz=bandwidth_hz, snr_db=snr_db, fading=fading, outage=outage, block_error=block_error
    )
    setting = Question(
        line=found.line,
        tokens=tokens,
        system=System(
            link=link,
            codec=Codec(
                vocab_size=size,
                prob_bits=prob_bits,
                index_bits=index_bits,
                kind=codec,  # type: ignore[arg-type]
            ),
            latency=Latency(
                slm_s=slm_s,
                llm_s=llm_s,
                round_trip_s=round_trip_s,
                downlink_bit_per_s=downlink_bit_per_s,
                llm_prefill_s=llm_prefill_s,
                charge_resync=charge_resync,
            ),
            tx_power_w=tx_power_w,
            slm_energy_j=slm_energy_j,
        ),
        budget=Budget(bias=bias_budget, risk=risk_budget, truncation=truncation_budget),
        bias_price_s=bias_price_s,
        charge_quantisation=quantisation == "charged",
        offline_k=offline_k,
    )
    inputs = {
        "calibration": found.name,
        "slope": found.line.slope,
        "intercept": found.line.intercept,
        "delta": found.line.delta,
        "num_tokens": found.num_tokens,
        "num_prompts": found.num_prompts,
        "uncertainty": uncertainty or ("recorded" if found.num_tokens else None),
        "writer": found.source.get("writer", "slm") if found.num_tokens and not uncertainty else None,
        "temperature": found.temperature,
        "bandwidth_hz": bandwidth_hz,
        "snr_db": snr_db,
        "fading": fading,
        "outage": outage,
        "block_error": block_error,
        "vocab_size": size,
        "prob_bits": prob_bits,
        "index_bits": setting.system.codec.bits_per_index,
        "codec": codec,
        "slm_latency_s": slm_s,
        "llm_latency_s": llm_s,
        "slm_latency_from": slm_from,
        "llm_latency_from": llm_from,
        "round_trip_s": round_trip_s,
        "downlink_bit_per_s": downlink_bit_per_s,
        "llm_prefill_s": llm_prefill_s,
        "charge_resync": charge_resync,
        "tx_power_w": tx_power_w,
        "slm_energy_j": slm_energy_j,
        "bias_budget": bias_budget,
        "risk_budget": risk_budget,
        "truncation_budget": truncation_budget,
        "bias_price_s": bias_price_s,
        "quantisation": quantisation,
        "assumed": [
            name.replace("_", "-") for name in options.left_to_default("bandwidth_hz", "snr_db", "fading")
        ]
        + [
            f"{name}-latency-s"
            for name, source in (("slm", slm_from), ("llm", llm_from))
            if source == "assumed"
        ],
    }
    return replace(setting, inputs=inputs), inputs


def _latency(model: str, given: float | None, found: "Calibration") -> tuple[float, str]:
    if given is not None:
        return given, "option"
    measured = getattr(found, f"{model}_latency_s")
    if measured is not None:
        return measured, "calibration"
    return presets.SETTINGS[f"{model}_latency_s"].value, "assumed"


def _same_vocabulary(size: int, tokens: Tokens) -> None:
    if tokens.k_grid is not None and int(tokens.k_grid[-1]) != size:
        raise ValueError(
            f"vocab_size must be that of the recorded tokens, {int(tokens.k_grid[-1])}; got {size}"
        )
