"""Commands of this room: running models, recording them, and setting theory beside them."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuhlm_theory.cli import options

if TYPE_CHECKING:
    from calibration.pairs import Pair
    from calibration.prompts import Prompt

models = options.group(
    click.option("--pair", default=None, help="Built-in pair [default: smollm2]."),
    click.option(
        "--slm",
        default=None,
        help="Small model: hub id, folder, .gguf file, or http://HOST:PORT of llama.cpp's server.",
    ),
    click.option(
        "--llm", default=None, help="Large model, likewise; for calibrate vLLM's server will do [with --slm]."
    ),
    click.option(
        "--tokenizer",
        default=None,
        help="Hub id, folder or .gguf file with the tokenizer, where both models are served.",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16."),
    click.option(
        "--vocabulary",
        type=click.Choice(["same", "common"]),
        default="same",
        show_default=True,
        help="Ask for one tokenizer, or take the first tokens, where the two agree.",
    ),
    click.option(
        "--template-option",
        multiple=True,
        metavar="KEY=VALUE",
        help="Variable of the chat template, such as enable_thinking=false; may be repeated.",
    ),
)
"""Options that choose the two models and how they are asked; `pair_of` loads them."""
CHOICE = ("pair", "slm", "llm", "tokenizer", "device", "dtype", "vocabulary", "template_option")
"""Their names."""


def pair_of(values: Mapping[str, Any]) -> "Pair":
    """Load the pair that the options of `models` choose."""
    from calibration.pairs import load_pair

    options = {}
    for given in values["template_option"]:
        key, equals, value = given.partition("=")
        if not (key and equals):
            raise ValueError(f"template_option must be KEY=VALUE; got {given!r}")
        with contextlib.suppress(ValueError):  # a word that is no JSON is a text
            value = json.loads(value)
        options[key] = value
    named = {name: values[name] for name in CHOICE[1:-1]}
    return load_pair(values["pair"], template_options=options, **named)


def kept_pair_of(values: Mapping[str, Any]) -> Callable[[], "Pair"]:
    """Return what loads that pair once in each process that asks for it."""
    return partial(_loaded, tuple((name, values[name]) for name in CHOICE))


@cache
def _loaded(choice: tuple[tuple[str, Any], ...]) -> "Pair":
    return pair_of(dict(choice))


def prompts_of(
    file: Path | None, num_prompts: int | None, *, built_in: int | None = None, first: int = 0
) -> "list[Prompt]":
    """Return prompts of a file or the built-in ones, from ``first`` on; by default all, or ``built_in``."""
    from calibration.prompts import built_in_prompts, read_prompts

    told = partial(click.echo, err=True)
    found = (built_in_prompts() if file is None else read_prompts(file, tell=told))[first:]
    wanted = num_prompts
    if wanted is None:
        wanted = len(found) if file is not None or built_in is None else built_in
    if not 1 <= wanted <= len(found):
        raise ValueError(f"num_prompts must lie in [1, {len(found)}], the prompts there are; got {wanted}")
    return found[:wanted]


def reach(interval: Sequence[float | None]) -> str:
    """Return a prediction's interval in words; a bound has one end."""
    low, high = interval
    if low is None:
        return f"at most {high:.3g}"
    return f"at least {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"


__all__ = ["CHOICE", "kept_pair_of", "models", "pair_of", "prompts_of", "reach"]
