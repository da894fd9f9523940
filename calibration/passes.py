r"""Time the passes of a model and fit what one costs: a fixed part, and parts a token and a context token.

.. math:: \tau(n, c) = t_0 + t_1 n + t_2 c

for n tokens fed at once onto a cache of c. Skipping saves the server the fixed part only
(`passes.skipping_saves_the_fixed_part`), so one number a model, as printed in the literature, cannot tell
what skipping is worth.

``python -m calibration.passes --pair smollm2`` times a pair on this machine and prints JSON; nothing else
should run meanwhile, and the load that it met is printed with the rest. ``--into FOLDER --context TOKENS``
puts what was timed, or is read from ``--timed FILE``, into the calibrations of a folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from calibration.answers import admit, needs_attention
from calibration.calibration import PassTime
from cuhlm_theory._checks import as_count

__all__ = ["CONTEXTS", "WIDTHS", "fit", "known_passes", "time_passes"]

Floats = NDArray[np.float64]

WIDTHS = (1, 2, 4, 8, 16)
"""Tokens of a timed pass."""
CONTEXTS = (32, 64, 128, 256, 512, 1024)
"""Tokens in the cache before it."""

_TERMS = ("fixed_s", "per_token_s", "per_context_token_s")


def fit(width: Sequence[float] | Floats, context: Sequence[float] | Floats, seconds: Floats) -> PassTime:
    r"""Fit the time of a pass by least squares of the relative error.

    Passes differ tenfold in length and their noise grows with them: a plain fit would let the longest
    decide, and the fixed part is what the shortest tell. The intervals take the scatter about the plane for
    the error, so they widen where the plane does not hold.

    Parameters
    ----------
    width : array_like, shape [N]
        n of each pass [token].
    context : array_like, shape [N]
        c of each pass [token].
    seconds : ndarray of float64, shape [N]
        Its time, such as a median over repeats [s].

    Returns
    -------
    PassTime
        Estimates, standard errors and Student intervals with N - 3 degrees of freedom.

    Raises
    ------
    ValueError
        If there are fewer than 4 passes, a time is not positive, or width or context does not vary.

    Examples
    --------
    >>> width, context = np.meshgrid([1.0, 4.0], [32.0, 512.0])
    >>> time = 0.1 + 0.02 * width + 1e-5 * context
    >>> found = fit(width.ravel(), context.ravel(), time.ravel())
    >>> round(found.fixed_s, 9), round(found.per_token_s, 9), round(found.per_context_token_s, 12)
    (0.1, 0.02, 1e-05)
    """
    n, c, t = (np.asarray(column, dtype=np.float64) for column in (width, context, seconds))
    if not n.ndim == c.ndim == t.ndim == 1 or not len(n) == len(c) == len(t) >= 4:
        raise ValueError(
            f"width, context and seconds must have one shape [N], N >= 4; got {n.shape}, {t.shape}"
        )
    if not (np.all(np.isfinite(t)) and np.all(t > 0.0)):
        raise ValueError(f"seconds must be positive; got {t.min()}")
    design = np.column_stack([np.ones_like(n), n, c]) / t[:, None]  # fits 1 = (t0 + t1 n + t2 c) / t
    if np.linalg.matrix_rank(design * t[:, None]) < 3:
        raise ValueError("width and context must both vary, and not together")
    scale = np.linalg.norm(design, axis=0)
    values, *_ = np.linalg.lstsq(design / scale, np.ones_like(t), rcond=None)
    residual = 1.0 - (design / scale) @ values
    free = len(t) - 3
    covariance = np.linalg.inv((design / scale).T @ (design / scale)) * (residual @ residual) / free
    values = values / scale
    errors = np.sqrt(np.diag(covariance)) / scale
    reach = float(stats.t.ppf(0.975, free))
    found: dict[str, Any] = {}
    for name, value, error in zip(_TERMS, values.tolist(), errors.tolist(), strict=True):
        found |= {name: value, f"{name}_error": error}
        found[f"{name}_ci95"] = (value - reach * error, value + reach * error)
    return PassTime(**found, relative_residual=float(np.sqrt(np.mean(residual**2))), num_passes=len(t))


def time_passes(
    model: Any,
    *,
    widths: Sequence[int] = WIDTHS,
    contexts: Sequence[int] = CONTEXTS,
    num_repeats: int = 5,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Time passes of a model at batch 1: the median over repeats of every width onto every context.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model of transformers.
    widths : sequence of int
        Tokens fed at once [token].
    contexts : sequence of int
        Tokens in the cache before; those that do not fit the model are left out [token].
    num_repeats : int, default 5
        Passes a median is taken over; the widths take turns, so that a disturbance meets them all.
    seed : int, default 0
        Seed of the tokens, which decide no more than which rows of the embedding are read.

    Returns
    -------
    tuple of ndarray of float64, shape [N] each
        Width [token], context [token] and time [s].

    Raises
    ------
    ValueError
        If a width, a context or the number of repeats is not a positive count, or no context fits.
    CuhlmError
        If a logit is not finite, or the model keeps a recurrent state.
    """
    import torch
    from transformers import DynamicCache

    from calibration.pairs import context_length

    needs_attention(model, "timed")
    for name, given in (("widths", widths), ("contexts", contexts), ("num_repeats", [num_repeats])):
        as_count(name, list(given), at_least=1)
    room = context_length(model) - max(widths)
    fitting = [context for context in contexts if context <= room]
    if not fitting:
        raise ValueError(f"contexts must be at most {room} for this model; got {min(contexts)}")
    generator = torch.Generator().manual_seed(seed)
    length = max(fitting) + max(widths)
    vocab_size = model.get_output_embeddings().out_features
    ids = torch.randint(vocab_size, (1, length), generator=generator).to(model.device)
    medians = {}
    with torch.inference_mode():
        for context in fitting:
            cache = DynamicCache()
            given = model(input_ids=ids[:, :context], past_key_values=cache, use_cache=True, logits_to_keep=1)
            admit(given.logits, None, type(model).__name__, ids[:, :context].tolist())
            times: dict[int, list[float]] = {width: [] for width in widths}
            for repeat, width in itertools.product(range(-1, num_repeats), widths):  # the first is a warm-up
                spent = _pass_s(model, ids[:, context : context + width], cache)
                cache.crop(-width)  # that many tokens less
                if repeat >= 0:
                    times[width].append(spent)
            medians |= {(width, context): float(np.median(spent)) for width, spent in times.items()}
    width, context = np.array(list(medians), dtype=np.float64).T
    return width, context, np.array(list(medians.values()))


def _pass_s(model: Any, ids: Any, cache: Any) -> float:
    """Seconds that a model takes to read tokens and give the logits after each."""
    import torch

    def finish() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    finish()
    start = time.perf_counter()
    model(input_ids=ids, past_key_values=cache, use_cache=True)
    finish()
    return time.perf_counter() - start


def known_passes(found: Mapping[str, Any], context: float) -> dict[str, Any]:
    """Return what a calibration takes over of timed passes.

    Parameters
    ----------
    found : mapping
        What the command wrote: ``passes`` of each model, and what they were timed with.
    context : float
        Tokens in the cache before a pass, mean over the recorded texts [token].

    Returns
    -------
    dict of str to object
        ``slm_pass`` and ``llm_pass``, the fits; ``slm_latency_s`` and ``llm_latency_s``, a pass of one token
        onto ``context`` tokens, by the passes of one token alone, of which most of a text is made.

    Examples
    --------
    >>> cells = [
    ...     {"width": n, "context": c, "seconds": 0.3 + 0.01 * n + 1e-4 * c} for n in (1, 4) for c in (32, 64)
    ... ]
    >>> known = known_passes({"slm": {"passes": cells}, "llm": {"passes": cells}}, context=50)
    >>> round(known["llm_latency_s"], 9), round(known["llm_pass"].per_token_s, 9)
    (0.315, 0.01)
    """
    known: dict[str, Any] = {}
    for side in ("slm", "llm"):
        cells = found[side]["passes"]
        n, c, t = (
            np.array([cell[key] for cell in cells], dtype=np.float64)
            for key in ("width", "context", "seconds")
        )
        known[f"{side}_pass"] = fit(n, c, t)
        known[f"{side}_latency_s"] = float(np.polyval(np.polyfit(c[n == 1], t[n == 1], 1), context))
    return known


def _put_into(folder: Path, found: Mapping[str, Any], context: float) -> None:
    """Put what was timed into every calibration of a folder: each text is of the same pair."""
    from calibration.calibration import Calibration
    from calibration.finding import CALIBRATION_FILE

    told = {key: value for key, value in found.items() if key not in ("slm", "llm")}
    for path in sorted(folder.rglob(CALIBRATION_FILE)):
        fitted = Calibration.from_json(path.read_text(encoding="utf-8"), origin=f"calibration {path}")
        source = {**fitted.source, "latencies": {**told, "mean_context": context}}
        dataclasses.replace(fitted, **known_passes(found, context), source=source).save(path)


def _measured(model: Any, num_repeats: int, contexts: Sequence[int]) -> dict[str, Any]:
    width, context, seconds = time_passes(model, num_repeats=num_repeats, contexts=contexts)
    cells = [
        {"width": int(n), "context": int(c), "seconds": t}
        for n, c, t in zip(width, context, seconds.tolist(), strict=True)
    ]
    return {**dataclasses.asdict(fit(width, context, seconds)), "passes": cells}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time a pair and print or write what was found.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; the process's own by default.
    """
    import argparse
    import json

    from calibration.pairs import load_pair

    parser = argparse.ArgumentParser(description="Time passes of a pair and fit what one costs.")
    parser.add_argument("--pair", help="built-in pair")
    parser.add_argument("--slm", help="small model: folder or .gguf file")
    parser.add_argument("--llm", help="large model, likewise")
    parser.add_argument("--num-repeats", type=int, default=5)
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS)
    parser.add_argument("--out", type=Path, help="file to write instead of printing")
    parser.add_argument("--timed", type=Path, help="file that was written before, instead of timing")
    parser.add_argument("--into", type=Path, help="folder whose calibrations take over what was timed")
    parser.add_argument("--context", type=float, help="with --into: mean tokens before a pass in its texts")
    given = parser.parse_args(arguments)
    if (given.into is None) != (given.context is None):
        parser.error("--into and --context go together; got one")
    if given.timed is not None:
        found = json.loads(given.timed.read_text(encoding="utf-8"))
    else:
        found = _timed_pair(load_pair(given.pair, slm=given.slm, llm=given.llm), given)
    if given.into is not None:
        _put_into(given.into, found, given.context)
        return
    text = json.dumps(found, indent=2) + "\n"
    if given.out is None:
        print(text, end="")
    else:
        given.out.write_text(text)


def _timed_pair(pair: Any, given: Any) -> dict[str, Any]:
    """Time both models, and say with what."""
    import os
    import platform

    import torch

    before = os.getloadavg()
    return {
        "slm": {"model": pair.slm_id, **_measured(pair.slm, given.num_repeats, given.contexts)},
        "llm": {"model": pair.llm_id, **_measured(pair.llm, given.num_repeats, given.contexts)},
        "dtype": pair.dtype,
        "device": pair.device,
        "num_threads": torch.get_num_threads(),
        "num_repeats": given.num_repeats,
        "load_before": before,
        "load_after": os.getloadavg(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    main()
