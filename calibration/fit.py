"""From recorded tokens to a `Calibration`: the fitted line, what it implies, and how sure that is."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.calibration import ESTIMATES, Calibration
from calibration.finding import CALIBRATION_FILE, texts_in
from cuhlm_theory import bootstrap
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.rejection import SAME, Line

if TYPE_CHECKING:
    from calibration.trace import Trace

Floats = NDArray[np.float64]

_NUM_QUANTILES = 101


def line_statistics(sums: Floats) -> Floats:
    r"""Least-squares line and its companions from sums over tokens.

    .. math:: a = \frac{\mathrm{Cov}(\bar u, \beta)}{\mathrm{Var}(\bar u)}, \quad b = E\beta - a E\bar u,
        \quad \rho = \frac{\mathrm{Cov}(\bar u, \beta)}{\sqrt{\mathrm{Var}(\bar u)\,\mathrm{Var}(\beta)}}

    Derivation: ``derivations.rejection.least_squares``.

    Parameters
    ----------
    sums : ndarray of float64, shape [..., 7]
        Sums of 1, u, beta, u^2, u beta, beta^2 and 1[beta > 0].

    Returns
    -------
    ndarray of float64, shape [..., 7]
        Slope, intercept, delta, correlation, acceptance, -b/a and (delta - b)/a [-], as in `ESTIMATES`; NaN
        or infinite where the uncertainty does not vary.

    Examples
    --------
    >>> u = np.array([0.0, 1.0])
    >>> line_statistics(line_columns(u, 0.5 * u).sum(axis=0))[:4]
    array([0.5, 0. , 0.5, 1. ])
    """
    count = sums[..., 0]
    mean_u, mean_b, uu, ub, bb, delta = (sums[..., i] / count for i in range(1, 7))
    var_u = np.maximum(uu - mean_u**2, 0.0)
    var_b = np.maximum(bb - mean_b**2, 0.0)
    cov = ub - mean_u * mean_b
    slope = cov / var_u
    intercept = mean_b - slope * mean_u
    correlation = cov / np.sqrt(var_u * var_b)
    thresholds = (-intercept / slope, (delta - intercept) / slope)
    return np.stack([slope, intercept, delta, correlation, 1.0 - mean_b, *thresholds], axis=-1)


def line_columns(uncertainty: Floats, rejection: Floats) -> Floats:
    """Stack the columns whose sums `line_statistics` takes.

    Parameters
    ----------
    uncertainty : ndarray of float64, shape [N]
        u of each token [-].
    rejection : ndarray of float64, shape [N]
        beta of each token [-].

    Returns
    -------
    ndarray of float64, shape [N, 7]
        1, u, beta, u^2, u beta, beta^2, 1[beta >= `cuhlm_theory.rejection.SAME`].

    Examples
    --------
    >>> line_columns(np.array([0.5]), np.array([0.25]))[0]
    array([1.    , 0.5   , 0.25  , 0.25  , 0.125 , 0.0625, 1.    ])
    """
    u, b = uncertainty, rejection
    return np.column_stack([np.ones_like(u), u, b, u * u, u * b, b * b, (b >= SAME).astype(np.float64)])


def fit_line(uncertainty: Floats, rejection: Floats, weight: Floats | None = None) -> Line:
    """Least-squares line of the rejection on the uncertainty, with the share that can be rejected at all.

    Parameters
    ----------
    uncertainty : ndarray of float64, shape [N]
        u of each token [-].
    rejection : ndarray of float64, shape [N]
        beta of each token [-].
    weight : ndarray of float64, shape [N], optional
        Weights, any positive scale [-]; None weighs the tokens alike.

    Returns
    -------
    Line
        Slope, intercept and delta.

    Raises
    ------
    CuhlmError
        If u does not vary.

    Examples
    --------
    >>> fit_line(np.array([0.0, 1.0]), np.array([0.0, 0.5]))
    Line(slope=0.5, intercept=0.0, delta=0.5)
    """
    if np.ptp(uncertainty) < 1e-9:
        raise CuhlmError(
            f"the line has no slope: all {len(uncertainty)} tokens have uncertainty {uncertainty[0]:g}; "
            "record more prompts or raise the temperature"
        )
    columns = line_columns(uncertainty, rejection)
    sums = columns.sum(axis=0) if weight is None else weight @ columns
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat line has no correlation, no zero
        slope, intercept, delta = line_statistics(sums)[:3].tolist()
    return Line(slope, intercept, min(delta, 1.0))


def fit(tokens: Tokens, *, name: str, seed: int = 0, num_resamples: int = 2000) -> Calibration:
    r"""Fit the rejection line and everything around it, with BCa intervals from a bootstrap over prompts.

    Ordinary least squares of :math:`\beta` on :math:`\bar u` over **all** tokens, those with :math:`\bar u =
    0` included (dropping them biases b and Delta). :math:`\bar u` is the conditional mean of the sampled u,
    so this slope carries no attenuation; see `calibration.estimators.attenuation` for the line a given M has.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens; ``prompt`` says which belong together, and without it there are no intervals.
    name : str
        What to call the result.
    seed : int, default 0
        Seed of the bootstrap.
    num_resamples : int, default 2000
        Bootstrap resamples.

    Returns
    -------
    Calibration
        Estimates and intervals, the tokens with them.

    Raises
    ------
    CuhlmError
        If the uncertainty is the same on every token, so that no line is determined.

    References
    ----------
    .. [U] U-HLM, arXiv:2412.12687, the linear rejection model.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> u = rng.uniform(size=400)
    >>> tokens = Tokens(uncertainty=u, rejection=0.8 * u, prompt=np.arange(400) // 10)
    >>> found = fit(tokens, name="example")
    >>> round(found.line.slope, 6), found.num_prompts
    (0.8, 40)
    """
    u = np.asarray(tokens.uncertainty, dtype=np.float64)
    beta = np.asarray(tokens.rejection, dtype=np.float64)
    line = fit_line(u, beta)
    cluster = np.zeros(len(u), dtype=np.int64) if tokens.prompt is None else tokens.prompt
    result = bootstrap.of_sums(
        line_statistics,
        line_columns(u, beta),
        cluster,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )
    estimates = dict(zip(ESTIMATES, result.estimate.tolist(), strict=True))
    ends = {
        key: result.interval(place)
        for place, (key, value) in enumerate(estimates.items())
        if math.isfinite(value) and (line.slope > 0.0 or not key.startswith("risk_"))
    }
    correlation = estimates["correlation"]
    return Calibration(
        name=name,
        line=line,
        correlation=correlation if math.isfinite(correlation) else None,
        acceptance=estimates["acceptance"],
        ci95={key: pair for key, pair in ends.items() if pair is not None},
        num_tokens=len(u),
        num_prompts=bootstrap.cluster_index(cluster)[1],
        uncertainty_quantile=tuple(np.quantile(u, np.linspace(0.0, 1.0, _NUM_QUANTILES)).tolist()),
        source={"intervals": f"95 % BCa, bootstrap over prompts, {num_resamples} resamples, seed {seed}"},
        _tokens=tokens,
    )


def fit_trace(recorded: "Trace", *, name: str, seed: int = 0, num_resamples: int = 2000) -> Calibration:
    """Fit a recorded trace; its header supplies what the tokens do not say.

    Parameters
    ----------
    recorded : Trace
        What `calibration.trace.read` returns.
    name : str
        What to call the result.
    seed : int, default 0
        Seed of the bootstrap.
    num_resamples : int, default 2000
        Bootstrap resamples.

    Returns
    -------
    Calibration
        The fit, with mean latencies (the trace times each prompt by a median), the header as its source, and
        the trace.
    """
    header = asdict(recorded.header)
    latencies = {
        column: float(np.mean(recorded.columns[column], dtype=np.float64))
        for column in ("slm_latency_s", "llm_latency_s")
        if column in recorded.columns
    }
    fitted = fit(recorded.tokens(), name=name, seed=seed, num_resamples=num_resamples)
    told = {key: value for key, value in header.items() if isinstance(value, str | int | float | dict | None)}
    if recorded.sha256:
        told["trace_sha256"] = recorded.sha256
    return replace(
        fitted,
        vocab_size=header.get("vocab_size"),
        temperature=header.get("temperature"),
        source={**told, **fitted.source},
        _traces={recorded.header.text: recorded},
        **latencies,
    )


def fit_folder(folder: Path, *, name: str, seed: int = 0) -> Calibration:
    """Fit the texts in a folder and write what is found beside them, ``calibration.json``.

    Parameters
    ----------
    folder : Path
        Holds a folder for each text, with its trace.
    name : str
        What to call the result.
    seed : int, default 0
        Seed of bootstrap and promises.

    Returns
    -------
    Calibration
        The line of the small model's text, or of the first there is, with what can be promised of every
        hybrid text.

    Raises
    ------
    ValueError
        If there is no text.
    """
    from calibration import promises, trace

    texts = texts_in(folder)
    if not texts:
        raise ValueError(f"calibration folder {folder} must hold a text; record slm or llm text first")
    recorded = {text: trace.read(file) for text, file in texts.items()}
    first = next(iter(recorded.values()))
    tried = [promises.trial(one, seed=seed) for one in recorded.values() if one.header.threshold is not None]
    fitted = fit_trace(first, name=name, seed=seed)
    hashes = {text: one.sha256 for text, one in recorded.items()}
    found = replace(
        fitted,
        source={**fitted.source, "texts_sha256": hashes},
        folder=folder,
        texts=texts,
        promises=tuple(tried),
        _traces=recorded,
    )
    file = folder / CALIBRATION_FILE
    if file.is_file():
        found = _with_what_is_the_pairs(found, Calibration.from_json(file.read_text(encoding="utf-8")))
    found.save(file)
    return found


def _with_what_is_the_pairs(found: Calibration, before: Calibration) -> Calibration:
    """Keep of an earlier fit what is no matter of the texts, if it was the same pair."""
    if any(found.source[key] != before.source.get(key) for key in ("slm_sha256", "llm_sha256")):
        return found
    timed = ("slm_latency_s", "llm_latency_s", "slm_pass", "llm_pass") if before.llm_pass else ()
    return replace(
        found,
        source={**before.source, **found.source},
        **{name: getattr(before, name) for name in timed},
    )
