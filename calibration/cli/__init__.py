"""Commands of this room: running models, recording them, and setting theory beside them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuhlm_theory.cli import options

if TYPE_CHECKING:
    from calibration.prompts import Prompt

models = options.group(
    click.option("--pair", default=None, help="Built-in pair [default: smollm2]."),
    click.option("--slm", default=None, help="Small model: hub id, folder or .gguf file; with --llm."),
    click.option("--llm", default=None, help="Large model, likewise."),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16."),
)
"""Options that choose the two models."""


def prompts_of(
    file: Path | None, num_prompts: int | None, *, built_in: int | None = None, first: int = 0
) -> "list[Prompt]":
    """Return prompts of a file or the built-in ones, from ``first`` on; by default all, or ``built_in``."""
    from calibration.prompts import built_in_prompts, read_prompts

    found = (built_in_prompts() if file is None else read_prompts(file))[first:]
    wanted = num_prompts
    if wanted is None:
        wanted = len(found) if file is not None or built_in is None else built_in
    if not 1 <= wanted <= len(found):
        raise ValueError(f"num_prompts must lie in [1, {len(found)}], the prompts there are; got {wanted}")
    return found[:wanted]


__all__ = ["models", "prompts_of"]
