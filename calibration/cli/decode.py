"""`cuhlm decode`: hybrid decoding, live, over a simulated link."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from calibration.cli import models, pair_of, server
from cuhlm_theory import load
from cuhlm_theory.cli import options, output, terminal
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Budget, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, resolved

if TYPE_CHECKING:
    from calibration import Calibration
    from calibration.decoding import Decoded, Row, Settings
    from calibration.pairs import Pair
    from cuhlm_theory.contexts import Tokens

_STYLES = {
    "skipped": "",
    "accepted": "green underline",
    "resampled": "bold red reverse",
    "sampled": "magenta italic",
}
_MARKS = {"skipped": ("", ""), "accepted": ("[", "]"), "resampled": ("{", "}"), "sampled": ("<", ">")}
_MEANING = {
    "skipped": "kept by the device, nothing sent",
    "accepted": "draft that the server kept",
    "resampled": "draft that was replaced",
    "sampled": "drawn by the server itself",
}
_ACTIONS = tuple(_STYLES)
_UNUSED_S = 1e-9  # stands for a nominal latency where the measured one is charged
_TEMPERATURE = 0.7
_KNOBS = (
    "threshold",
    "offline_k",
    "truncation_budget",
    "skip_rate",
    "num_drafts",
    "num_candidates",
    "confidence",
)


class _Painter:
    """Prints tokens as they are committed; actions differ by style on a terminal, by brackets elsewhere."""

    def __init__(self, tokenizer: Any) -> None:
        from rich.console import Console

        self.tokenizer = tokenizer
        self.console = Console(highlight=False, soft_wrap=True)
        self.tokens: list[int] = []
        self.shown = ""

    def legend(self) -> None:
        """Print what the styles or brackets mean."""
        for action, meaning in _MEANING.items():
            self._write(action, action)
            self.console.print(f"  {meaning}", markup=False)
        self.console.print()

    def show(self, rows: "list[Row]") -> None:
        """Print the tokens of a round; an unfinished UTF-8 character waits for its next token."""
        for row in rows:
            self.tokens.append(row["token"])
            text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
            if not text.endswith("\ufffd"):
                self._write(text[len(self.shown) :], _ACTIONS[row["action"]])
                self.shown = text

    def _write(self, text: str, action: str) -> None:
        if not text:
            return
        left, right = ("", "") if self.console.is_terminal else _MARKS[action]
        text = terminal.printable(text)
        self.console.print(left + text + right, style=_STYLES[action], markup=False, end="")
        self.console.file.flush()


_APART = ("text", "tokens", "settings", "inputs", "connection")


def _render(result: output.Result) -> None:
    rows = [(key, value) for key, value in result.items() if key not in _APART]
    output.table(result["settings"]["scheme"], ["quantity", "value"], rows)
    if (connection := result["connection"]) is not None:
        rows = [(key, value) for key, value in connection.items() if key != "rounds"]
        output.table("Connection", ["quantity", "mean or sum"], rows)
    compute = "measured" if result["inputs"]["measured_compute"] else "nominal"
    output.say(f"Latency: simulated link and {compute} compute. Seed {result['inputs']['seed']}.")


@click.command(
    "decode",
    epilog="\b\nExample: cuhlm decode --scheme cu-hlm-exact --prompt 'Why is the sky blue?' --seed 1",
)
@options.scenario
@click.option(
    "--scheme",
    type=click.Choice(list(SCHEMES)),
    default="cu-hlm-exact",
    show_default=True,
    help="How to decode.",
)
@click.option("--prompt", required=True, help="User turn to answer.")
@models
@server
@click.option(
    "--calibration",
    default=None,
    help="Where latencies, line and operating point come from: FILE, DIR, smollm2, qwen2.5-coder, cu-hlm, "
    "u-hlm [default: smollm2 for the built-in pair].",
)
@click.option(
    "--bias-budget",
    type=options.Number(),
    default=0.05,
    show_default=True,
    help="Bias of the operating point [-].",
)
@click.option(
    "--threshold", type=options.Number(), default=None, help="u_th [-] [default: the operating point's]."
)
@click.option("--k", "offline_k", type=options.WHOLE, default=None, help="k of cu-hlm-offline [token].")
@click.option(
    "--truncation-budget",
    type=options.Number(),
    default=None,
    help="TV (exact rule) or U (printed rule) allowed [-].",
)
@click.option("--slope", type=options.Number(), default=None, help="a of the rejection line [-].")
@click.option("--intercept", type=options.Number(), default=None, help="b of the rejection line [-].")
@click.option("--skip-rate", type=options.Number(), default=None, help="Skip rate of rand-hlm [-].")
@click.option(
    "--num-drafts",
    type=options.WHOLE,
    default=None,
    help="Drafts a round [default: the best at the calibration].",
)
@click.option("--num-candidates", type=options.WHOLE, default=None, help="K of tk-slt, tslt, k-sqs [token].")
@click.option(
    "--confidence", type=options.Number(), default=None, help="Top probability at which drafting stops [-]."
)
@click.option("--bonus/--no-bonus", default=None, help="Server adds its own token after accepting.")
@click.option("--temperature", type=options.Number(), default=None, help="T of both models; 0 is greedy.")
@click.option(
    "--max-new-tokens", type=options.WHOLE, default=96, show_default=True, help="Longest answer [token]."
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Same seed, same text.")
@click.option(
    "--convention",
    type=click.Choice(["quadrature", "printed", "linspace", "baseline", "testbed"]),
    default="quadrature",
    show_default=True,
    help="Set of conventions of a public implementation.",
)
@click.option(
    "--perturbed",
    type=click.Choice(["mean", "draws", "linspace"]),
    default=None,
    help="How temperatures are perturbed.",
)
@click.option("--num-samples", type=options.WHOLE, default=None, help="M, perturbed draws a token.")
@click.option(
    "--draft", type=click.Choice(["sampled", "argmax"]), default=None, help="How a draft is chosen."
)
@click.option(
    "--transmit-at-threshold/--transmit-above-threshold",
    default=None,
    help="Ask where u >= u_th, or u > u_th.",
)
@click.option(
    "--accept-with",
    type=click.Choice(["sent", "draft"]),
    default=None,
    help="Verify with x-hat_d as sent, or x_d.",
)
@click.option("--measured-compute", is_flag=True, help="Charge the time that the passes really take.")
@click.option("--bias", "measure", is_flag=True, help="Also compute the exact bias of every token.")
@options.system
@output.reports(_render)
def command(
    *, scheme: str, prompt: str, seed: int, measured_compute: bool, measure: bool, **given: Any
) -> output.Result:
    """Decode one prompt with a hybrid scheme and show what happened to each token."""
    if not prompt.strip():
        raise ValueError(f"prompt must not be empty; got {prompt!r}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0; got {seed}")
    calibration = _calibration(given)
    tokens = None if calibration is None else calibration.tokens
    pair = pair_of(given) if given["vocab_size"] is None and tokens is None else None
    system = _system(given, {"pair": pair, "calibration": calibration}, measured_compute)
    options.within_vocabulary(given, system.codec.vocab_size, "offline_k", "num_candidates")
    settings = _settings(scheme, given, calibration, tokens, system)  # refused before models are loaded
    if pair is None:
        pair = pair_of(given)
    from calibration.decoding import LostServerError

    try:
        decoded, lost = _run(pair, prompt, settings, system, seed, measured_compute, measure), None
    except LostServerError as error:
        if error.decoded is None or not error.decoded.tokens:
            raise
        decoded, lost = error.decoded, error
    told = _told(pair, decoded, settings, calibration, system)
    told["inputs"] |= {"seed": seed, "measured_compute": measured_compute}
    if lost is not None:
        output.leave(told, _render)
        raise lost
    return told


def _told(
    pair: "Pair", decoded: "Decoded", settings: "Settings", calibration: "Calibration | None", system: System
) -> output.Result:
    """Return what is printed of a text."""
    from calibration.decoding.link import connection

    return {
        "text": pair.tokenizer.decode(decoded.tokens, skip_special_tokens=True),
        **decoded.summary(),
        "settings": settings.described(),
        "inputs": {
            "slm": pair.slm_id,
            "llm": pair.llm_id,
            "calibration": None if calibration is None else calibration.name,
            **asdict(system),
        },
        "connection": connection(decoded.exchanges) if decoded.exchanges else None,
        "tokens": [
            {"text": pair.tokenizer.decode([token]), "action": _ACTIONS[action]}
            for token, action in zip(decoded.tokens, decoded.columns["action"], strict=True)
        ],
    }


def _run(
    pair: "Pair",
    prompt: str,
    settings: "Settings",
    system: System,
    seed: int,
    measured_compute: bool,
    measure: bool,
) -> "Decoded":
    import numpy as np

    from calibration.decoding import Clock, decode
    from calibration.prompts import Prompt

    if settings.max_new_tokens >= pair.context_length:
        raise ValueError(
            f"max_new_tokens must be at most {pair.context_length - 1}; got {settings.max_new_tokens}"
        )
    if (size := system.codec.vocab_size) > pair.vocab_size:
        raise ValueError(f"vocab_size must be at most {pair.vocab_size}, what both models know; got {size}")
    painter = _Painter(pair.tokenizer) if output.live() else None
    context = pair.context(Prompt("given", prompt), settings.max_new_tokens)
    if painter is not None:
        painter.legend()
    decoded = decode(
        (pair.slm, pair.llm),
        context,
        settings,
        Clock(system=system, measured=measured_compute),
        rng=np.random.default_rng(seed),
        stop_tokens=pair.stop_tokens,
        measure=measure,
        on_rows=None if painter is None else painter.show,
    )
    if painter is not None:
        click.echo("\n")
    return decoded


def _calibration(given: dict[str, Any]) -> "Calibration | None":
    """Calibration that was asked for; the built-in pair has one of its own."""
    name = given["calibration"]
    return None if name is None and given["slm"] is not None else load(name or "smollm2")


def _system(given: dict[str, Any], known: dict[str, Any], measured_compute: bool) -> System:
    if measured_compute:
        known["nominal"] = SimpleNamespace(slm_latency_s=_UNUSED_S, llm_latency_s=_UNUSED_S)
    try:
        return options.ladder(given, known, assume=False).system()
    except MissingInputError as error:
        raise MissingInputError(f"{error}, or --measured-compute") from None


def _settings(
    scheme: str,
    given: dict[str, Any],
    calibration: "Calibration | None",
    tokens: "Tokens | None",
    system: System,
) -> "Settings":
    """Put together the operating point of the calibration, what was given instead, and the conventions."""
    from calibration.decoding import CONVENTIONS, Settings
    from calibration.decoding.plan import own_threshold, recommended, sizes

    chosen = {name: given[name] for name in _KNOBS if given[name] is not None}
    if given["bonus"] is not None:
        chosen |= {"bonus": given["bonus"], "adds_bonus": given["bonus"]}
    knob, numbers = SCHEMES[scheme].skip.knob, {}
    if knob is not None and (tokens is not None or knob not in chosen):
        if calibration is None:
            raise MissingInputError(f"{knob} is not known; give --{knob.replace('_', '-')} or --calibration")
        numbers = recommended(tokens, system, Budget(bias=given["bias_budget"]))
    if "truncation_budget" in chosen:
        numbers["truncation_price_s"] = None
    fitted = (None, None) if calibration is None else (calibration.line.slope, calibration.line.intercept)
    slope, intercept = (
        value if given[name] is None else given[name]
        for name, value in zip(("slope", "intercept"), fitted, strict=True)
    )
    if slope is not None and intercept is not None:
        numbers["line"] = Line(slope, intercept)
    rules = SCHEMES[scheme].given(numbers | chosen)
    if tokens is not None:
        if "threshold" not in chosen:
            rules = own_threshold(rules, tokens, system, given["bias_budget"])
        rules = resolved(rules, tokens, system)
    convention = CONVENTIONS[given["convention"]]
    overrides = {
        "temperatures": given["perturbed"],
        "num_samples": given["num_samples"],
        "draft": given["draft"],
        "transmit_at_threshold": given["transmit_at_threshold"],
        "accept_with": given["accept_with"],
        "bonus": given["bonus"],
    }
    known = None if calibration is None else calibration.temperature
    temperature = next(t for t in (given["temperature"], known, _TEMPERATURE) if t is not None)
    return Settings(
        scheme=rules,
        k_grid=sizes(tokens),
        temperature=temperature,
        max_new_tokens=given["max_new_tokens"],
        convention=replace(
            convention, **{key: value for key, value in overrides.items() if value is not None}
        ),
    )
