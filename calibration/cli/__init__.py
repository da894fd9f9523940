"""Commands of this room: running models, recording them, and setting theory beside them."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuhlm_theory.cli import options

if TYPE_CHECKING:
    from calibration.pairs import Pair
    from calibration.prompts import Prompt
    from calibration.serving.client import RemoteModel

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
server = options.group(
    click.option(
        "--server", default=None, metavar="HOST:PORT", help="Where `cuhlm serve` has the large model."
    ),
    click.option(
        "--tls-ca",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        help="Certificate that signs the server's [default: public ones; none for this machine].",
    ),
    click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        help="File with the token that the server asks for [default: CUHLM_TOKEN].",
    ),
    click.option(
        "--deadline-s",
        type=options.Number("s"),
        default=60.0,
        show_default=True,
        help="How long an answer of the server may take [s].",
    ),
)
"""Options that say where the large model is served."""
SERVER = ("server", "tls_ca", "token_file", "deadline_s")
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
    if values.get("server") is not None:
        if named["llm"] is not None:
            raise ValueError(f"llm must not be given beside --server; got {named['llm']!r}")
        named["llm"] = _remote(values)
    return load_pair(values["pair"], template_options=options, **named)


def kept_pair_of(values: Mapping[str, Any]) -> Callable[[], "Pair"]:
    """Return what loads that pair once in each process that asks for it."""
    return partial(_loaded, tuple((name, values[name]) for name in (*CHOICE, *SERVER) if name in values))


@cache
def _loaded(choice: tuple[tuple[str, Any], ...]) -> "Pair":
    return pair_of(dict(choice))


def _remote(values: Mapping[str, Any]) -> "RemoteModel":
    from calibration.serving.client import RemoteModel
    from calibration.serving.protocol import read_token

    if not 0.0 < (deadline_s := values["deadline_s"]) < threading.TIMEOUT_MAX:
        raise ValueError(f"deadline_s must lie in (0, {threading.TIMEOUT_MAX:g}); got {deadline_s:g}")
    token = read_token(values["token_file"])
    return RemoteModel(values["server"], tls_ca=values["tls_ca"], token=token, deadline_s=deadline_s)


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


__all__ = ["CHOICE", "SERVER", "kept_pair_of", "models", "pair_of", "prompts_of", "reach", "server"]
