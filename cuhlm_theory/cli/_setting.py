"""Options that make a setting, and the setting they make: calibration, system, budgets."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import click

from cuhlm_theory import load, presets
from cuhlm_theory._fields import quantities
from cuhlm_theory.cli import options
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.law import parse_law
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, System
from cuhlm_theory.recommendation import Question

_SYSTEM = (Link, FixedRate, Codec, Latency, System)
KEYS = tuple(key for kind in (*_SYSTEM, Budget) for key in quantities(kind))
"""Keys of the numbers and names that make a setting."""

setting_options = options.group(
    options.calibration,
    click.option(
        "--uncertainty",
        default=None,
        help="Law of u: uniform, beta:P,Q, a trace, or .npy of u [N] or of u and beta [N, 2] "
        "[default: the calibration's].",
    ),
    options.preset,
    options.rate_trace,
    options.of(*_SYSTEM, Budget),
    options.frame_bit,
    click.option(
        "--bias-price-s",
        type=options.Number("s"),
        default=None,
        help="lambda, seconds a token may cost per unit of bias.",
    ),
    click.option(
        "--quantisation",
        type=click.Choice(["drafted", "charged"]),
        default="drafted",
        show_default=True,
        help="Draft from the quantised law (no bias), or charge its TV to the bias.",
    ),
    click.option(
        "--offline-k",
        type=options.WHOLE,
        default=None,
        help="k of cu-hlm-offline [default: its rule, or 30].",
    ),
)


def build_setting(
    values: dict[str, Any], scenario: Collection[str] | None = None, calibration: Any = None
) -> tuple[Question, dict[str, Any]]:
    """Return the setting and the inputs as they were understood, for the record.

    ``scenario`` names what a file said, where no command is running; ``calibration`` is one that was loaded.
    """
    found, uncertainty = (
        calibration or load(values["calibration"], text=values["text"]),
        values["uncertainty"],
    )
    law = found.law if uncertainty is None else parse_law(uncertainty, options.recorded_law)
    if law is None:
        raise MissingInputError(
            f"the line of {values['calibration']} has no law of u; give --uncertainty uniform, beta:P,Q "
            "or FILE"
        )
    recorded = found.tokens if uncertainty is None else None
    tokens = Tokens.of(law, found.line) if recorded is None else recorded
    ladder = options.ladder(values, {"calibration": found}, scenario=scenario)
    setting = Question(
        line=found.line,
        tokens=tokens,
        texts=found.contexts if uncertainty is None else None,
        trials=found.promises if uncertainty is None else (),
        system=ladder.system(),
        budget=ladder.build(Budget),
        bias_price_s=values["bias_price_s"],
        charge_quantisation=values["quantisation"] == "charged",
        offline_k=values["offline_k"],
    )
    size = setting.system.codec.vocab_size
    if tokens.k_grid is not None and int(tokens.k_grid[-1]) != size:
        raise ValueError(
            f"vocab_size must be that of the recorded tokens, {int(tokens.k_grid[-1])}; got {size}"
        )
    options.within_vocabulary(values, size, "offline_k")
    rungs = {key: ladder.provenance[key] for key in ("slm_latency_s", "llm_latency_s")}
    inputs = {
        "calibration": found.name,
        "slope": found.line.slope,
        "intercept": found.line.intercept,
        "delta": found.line.delta,
        "num_tokens": found.num_tokens,
        "num_prompts": found.num_prompts,
        "uncertainty": uncertainty or ("recorded" if found.num_tokens else None),
        "writer": found.writer if found.num_tokens and not uncertainty else None,
        "texts": list(found.texts) if uncertainty is None else [],
        "temperature": found.temperature,
        **dict.fromkeys(("rate_trace", *(key for kind in _SYSTEM for key in quantities(kind)))),
        **ladder.told,
        "index_bits": options.index_bits(setting.system.codec),
        # a scenario is options in a file
        **{f"{key[:-2]}_from": "option" if rung == "scenario" else rung for key, rung in rungs.items()},
        "bias_price_s": values["bias_price_s"],
        "quantisation": values["quantisation"],
        "preset": values["preset"],
        "assumed": [key.replace("_", "-") for key in [*ladder.assumed, *_assumed_by_preset(values, ladder)]],
    }
    return replace(setting, inputs=inputs), inputs


def _assumed_by_preset(values: dict[str, Any], ladder: options.Ladder) -> list[str]:
    """Numbers in use that the preset itself assumes."""
    numbers = presets.SCENARIOS.get(values["preset"], {})
    used = {key for key, rung in ladder.provenance.items() if rung == "preset"}
    return [key for key, one in numbers.items() if key in used and one.provenance == "assumed"]
