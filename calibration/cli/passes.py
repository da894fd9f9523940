"""`cuhlm passes`: how long passes of a pair take on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from calibration.cli import models, pair_of
from cuhlm_theory._files import read_json, whole
from cuhlm_theory.cli import options, output

_TERMS = {
    "fixed_s": "fixed [s]",
    "per_token_s": "a token [s]",
    "per_context_token_s": "a token of context [s]",
}


def _render(result: output.Result) -> None:
    rows = [
        (side, *(f"{fit[term]:.3g}" for term in _TERMS), fit["relative_residual"])
        for side, fit in result["fits"].items()
    ]
    note = f"Wrote {', '.join(result['files'])}." if result["files"] else ""
    output.table("A pass", ["model", *_TERMS.values(), "residual"], rows, note=note)


@click.command(
    "passes",
    epilog="\b\nExample: cuhlm passes --slm small.gguf --llm large.gguf --into runs/mine --context 136",
)
@models
@click.option("--num-repeats", type=options.WHOLE, default=5, show_default=True, help="Passes a median.")
@click.option("--timed", type=click.Path(path_type=Path), default=None, help="Read what --out wrote before.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="File to write.")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder whose calibrations take over what was timed; with --context.",
)
@click.option(
    "--context", type=options.Number(), default=None, help="Mean tokens before a pass in its texts."
)
@output.reports(_render)
def command(
    *,
    num_repeats: int,
    timed: Path | None,
    out: Path | None,
    into: Path | None,
    context: float | None,
    **choice: Any,
) -> output.Result:
    """Time passes of a pair on this machine, which should do nothing else, and fit what one costs."""
    from calibration import passes

    if (into is None) != (context is None):
        raise ValueError(f"context must be given with --into, and only then; got {context} and {into}")
    if context is not None and not 0.0 <= context < float("inf"):
        raise ValueError(f"context must be at least 0; got {context}")
    if timed is None:
        found = passes.time_pair(pair_of(choice), num_repeats=num_repeats)
    else:
        found = read_json(timed.read_bytes(), f"timed {timed}")
    known = passes.known_passes(found, context or 0.0)
    files = []
    if out is not None:
        with whole(out) as part:
            part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        files.append(str(out))
    if into is not None and context is not None:
        files += [str(path) for path in passes.put_into(into, found, context)]
    fits = {side: asdict(known[f"{side}_pass"]) for side in ("slm", "llm")}
    return {**found, "fits": fits, "files": files}
