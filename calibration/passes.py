r"""Time the passes of a model and fit what one costs: a fixed part, and parts a token and a context token.

.. math:: \tau(n, c) = t_0 + t_1 n + t_2 c

for n tokens fed at once onto a cache of c. Skipping saves the server the fixed part only
(`passes.skipping_saves_the_fixed_part`), so one number a model, as printed in the literature, cannot tell
what skipping is worth.

``cuhlm passes`` times a pair on this machine; nothing else should run meanwhile, and the load that it met is
told with the rest.
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
from cuhlm_theory.errors import MissingInputError

__all__ = ["CONTEXTS", "WIDTHS", "fit", "known_passes", "put_into", "time_pair", "time_passes"]

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
        As of `time_pair`: ``passes`` of each model, and what they were timed with.
    context : float
        Tokens in the cache before a pass, mean over the recorded texts [token].

    Returns
    -------
    dict of str to object
        ``slm_pass`` and ``llm_pass``, the fits; ``slm_latency_s`` and ``llm_latency_s``, a pass of one token
        onto ``context`` tokens, by the passes of one token alone, of which most of a text is made.

    Raises
    ------
    ValueError
        If a model's passes are not there, or fix no plane.

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
        try:
            rows = [[cell[key] for key in ("width", "context", "seconds")] for cell in found[side]["passes"]]
            n, c, t = np.array(rows, dtype=np.float64).T
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"timed must hold width, context and seconds of the passes of {side}") from None
        known[f"{side}_pass"] = fit(n, c, t)
        known[f"{side}_latency_s"] = float(np.polyval(np.polyfit(c[n == 1], t[n == 1], 1), context))
    return known


def put_into(folder: Path, found: Mapping[str, Any], context: float) -> list[Path]:
    """Put what was timed into every calibration of a folder: each text is of the same pair.

    Parameters
    ----------
    folder : Path
        Folder that holds calibrations.
    found : mapping
        As of `time_pair`.
    context : float
        Tokens in the cache before a pass, mean over the recorded texts [token].

    Returns
    -------
    list of Path
        Files that took it over.

    Raises
    ------
    MissingInputError
        If there is no calibration.
    """
    from calibration.calibration import Calibration
    from calibration.finding import CALIBRATION_FILE

    told = {key: value for key, value in found.items() if key not in ("slm", "llm")}
    paths = sorted(folder.rglob(CALIBRATION_FILE))
    if not paths:
        raise MissingInputError(f"{folder} holds no {CALIBRATION_FILE}; give a folder of `cuhlm calibrate`")
    for path in paths:
        fitted = Calibration.from_json(path.read_text(encoding="utf-8"), origin=f"calibration {path}")
        source = {**fitted.source, "latencies": {**told, "mean_context": context}}
        dataclasses.replace(fitted, **known_passes(found, context), source=source).save(path)
    return paths


def time_pair(pair: Any, *, num_repeats: int = 5, contexts: Sequence[int] = CONTEXTS) -> dict[str, Any]:
    """Time both models of a pair, and say with what.

    Parameters
    ----------
    pair : Pair
        Models of `calibration.pairs.load_pair`.
    num_repeats : int, default 5
        Passes a median is taken over.
    contexts : sequence of int
        Tokens in the cache before [token].

    Returns
    -------
    dict of str to object
        ``slm`` and ``llm``, each the fit and its ``passes``; the load before and after, threads and versions.
    """
    import os
    import platform

    import torch

    before = os.getloadavg()
    return {
        "slm": {"model": pair.slm_id, **_measured(pair.slm, num_repeats, contexts)},
        "llm": {"model": pair.llm_id, **_measured(pair.llm, num_repeats, contexts)},
        "dtype": pair.dtype,
        "device": pair.device,
        "num_threads": torch.get_num_threads(),
        "num_repeats": num_repeats,
        "load_before": before,
        "load_after": os.getloadavg(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _measured(model: Any, num_repeats: int, contexts: Sequence[int]) -> dict[str, Any]:
    width, context, seconds = time_passes(model, num_repeats=num_repeats, contexts=contexts)
    cells = [
        {"width": int(n), "context": int(c), "seconds": t}
        for n, c, t in zip(width, context, seconds.tolist(), strict=True)
    ]
    return {**dataclasses.asdict(fit(width, context, seconds)), "passes": cells}
