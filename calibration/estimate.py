"""From recorded tokens to a `Calibration`: the fitted rejection line, what it implies, and how sure that is.

A `Calibration` is what the theory takes: small, frozen, a JSON file. `load` finds one by name (``smollm2``,
``smollm2-llm-text``, ``cu-hlm``, ``u-hlm``) or by path and brings the recorded tokens along where there are
any.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory import bootstrap
from cuhlm_theory import presets
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, MissingInputError

if TYPE_CHECKING:
    from calibration.trace import Trace

Interval = tuple[float, float]

DATA = Path(__file__).parent / "data"
"""Where the built-in calibrations live, a folder each."""
TRACE_FILE = "trace.parquet"
"""Name of the trace inside a calibration folder."""
CALIBRATION_FILE = "calibration.json"
"""Name of the calibration inside a calibration folder."""
VERIFIED_FOLDER = "llm-text"
"""Folder inside a calibration folder of the same pair's calibration on text that the large model wrote."""
BUILT_IN = {"smollm2": DATA / "smollm2", "smollm2-llm-text": DATA / "smollm2" / VERIFIED_FOLDER}
"""Built-in calibrations by name."""

_FORMAT = "cuhlm-calibration/1"
_STATISTICS = ("slope", "intercept", "delta", "correlation", "acceptance", "risk_averse", "risk_prone")
_NUM_QUANTILES = 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A rejection line and what is known around it; a published line knows little beyond the line itself.

    Each ``_ci95`` is a 95 % interval, (low, high), or None where nothing was resampled.
    """

    name: str
    """Which pair or paper this is."""
    slope: float
    """a of beta(u) = clip(a u + b, 0, 1) [-]."""
    intercept: float
    """b [-]."""
    slope_ci95: Interval | None = None
    """Interval of the slope."""
    intercept_ci95: Interval | None = None
    """Interval of the intercept."""
    delta: float | None = None
    """Delta = P(y_d < x_d) [-]."""
    delta_ci95: Interval | None = None
    """Interval of delta."""
    correlation: float | None = None
    """Pearson correlation of u-bar and beta over tokens [-]."""
    correlation_ci95: Interval | None = None
    """Interval of the correlation."""
    acceptance: float | None = None
    """Mean of 1 - beta [-], an estimate of 1 - E TV(x, y)."""
    acceptance_ci95: Interval | None = None
    """Interval of the acceptance."""
    risk_averse: float | None = None
    """Threshold -b/a [-], None unless the slope is positive."""
    risk_averse_ci95: Interval | None = None
    """Interval of the risk-averse threshold."""
    risk_prone: float | None = None
    """Threshold (delta - b)/a [-], None unless the slope is positive."""
    risk_prone_ci95: Interval | None = None
    """Interval of the risk-prone threshold."""
    num_tokens: int = 0
    """Recorded tokens; 0 for a published line."""
    num_prompts: int = 0
    """Prompts they came from."""
    vocab_size: int | None = None
    """V."""
    temperature: float | None = None
    """Sampling temperature T of both models [-]."""
    slm_latency_s: float | None = None
    """tau_SLM, mean over tokens: what renewal-reward needs [s]."""
    llm_latency_s: float | None = None
    """tau_LLM, mean over tokens [s]."""
    uncertainty_quantile: tuple[float, ...] = ()
    """Quantiles 0, 1/100, ..., 1 of u-bar over tokens [-]; empty for a published line."""
    source: dict[str, Any] = field(default_factory=dict)
    """Where this comes from: models, seed, dtype, versions; or the paper and each number's provenance."""

    def __post_init__(self) -> None:
        for name in ("slope", "intercept"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"calibration {name} must be finite; got {getattr(self, name)}")

    def law(self) -> Tokens:
        """Return the law of the uncertainty as weighted nodes, with the line's rejection at each.

        Returns
        -------
        Tokens
            One node a quantile step (its midpoint), shape [100]; what is left when the trace itself is not
            at hand.

        Raises
        ------
        MissingInputError
            If the calibration has no recorded law, as a published line has not.

        Examples
        --------
        >>> line = Calibration(name="x", slope=1.0, intercept=0.0, uncertainty_quantile=(0.0, 0.5, 1.0))
        >>> line.law().rejection
        array([0.25, 0.75])
        """
        if len(self.uncertainty_quantile) < 2:
            raise MissingInputError(
                f"calibration {self.name} is a line without a law of the uncertainty; give --uncertainty "
                "or a calibration made by `cuhlm calibrate`"
            )
        ends = np.asarray(self.uncertainty_quantile)
        nodes = 0.5 * (ends[:-1] + ends[1:])
        return Tokens(uncertainty=nodes, rejection=np.clip(self.slope * nodes + self.intercept, 0.0, 1.0))

    def to_json(self) -> str:
        """Return the calibration as indented JSON, one key a field and ``format``.

        Returns
        -------
        str
            Text that `from_json` turns back into an equal object.

        Examples
        --------
        >>> line = Calibration(name="x", slope=1.0, intercept=0.0)
        >>> Calibration.from_json(line.to_json()) == line
        True
        """
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, origin: str = "calibration") -> "Calibration":
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            JSON.
        origin : str
            What to call the text in an error, such as its file.

        Returns
        -------
        Calibration
            The calibration.

        Raises
        ------
        ValueError
            If the text is not JSON, not a calibration, or has an unknown, missing or ill-typed key.

        Examples
        --------
        >>> Calibration.from_json("{}")
        Traceback (most recent call last):
        ...
        ValueError: calibration must have format 'cuhlm-calibration/1'; got None
        """
        try:
            entries = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{origin} is not JSON: {error}") from None
        if not isinstance(entries, dict) or entries.get("format") != _FORMAT:
            got = entries.get("format") if isinstance(entries, dict) else type(entries).__name__
            raise ValueError(f"{origin} must have format {_FORMAT!r}; got {got!r}")
        del entries["format"]
        known = {entry.name: entry for entry in fields(cls)}
        for name, value in entries.items():
            if name not in known:
                raise ValueError(f"{origin} has an unknown key {name!r}")
            entries[name] = _typed(origin, name, value)
        for name in ("name", "slope", "intercept"):
            if name not in entries:
                raise ValueError(f"{origin} lacks the key {name!r}")
        return cls(**entries)


def _typed(origin: str, name: str, value: Any) -> Any:
    """Return a JSON value as the type its field has, or say that it is not."""

    def number(item: Any) -> bool:
        return isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item)

    required = name in ("name", "slope", "intercept", "num_tokens", "num_prompts", "source")
    if name == "name":
        good, what = isinstance(value, str), "a text"
    elif name == "source":
        good, what = isinstance(value, dict), "an object"
    elif name == "uncertainty_quantile":
        good, what = isinstance(value, list) and all(map(number, value)), "a list of numbers"
        value = tuple(value) if good else value
    elif name.endswith("_ci95"):
        good = value is None or (isinstance(value, list) and len(value) == 2 and all(map(number, value)))
        what = "null or [low, high]"
        value = tuple(value) if good and value is not None else value
    elif name in ("num_tokens", "num_prompts", "vocab_size"):
        good = (value is None and not required) or (
            isinstance(value, int) and not isinstance(value, bool) and value >= 0
        )
        what = "a count"
    else:
        good, what = (value is None and not required) or number(value), "a finite number"
    if not good:
        raise ValueError(f"{origin}: {name} must be {what}; got {value!r}")
    return value


def line_statistics(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Least-squares line and its companions from sums over tokens.

    .. math:: a = \frac{\mathrm{Cov}(\bar u, \beta)}{\mathrm{Var}(\bar u)}, \quad b = E\beta - a E\bar u,
        \quad \rho = \frac{\mathrm{Cov}(\bar u, \beta)}{\sqrt{\mathrm{Var}(\bar u)\,\mathrm{Var}(\beta)}}

    Parameters
    ----------
    sums : ndarray of float64, shape [..., 7]
        Sums of 1, u, beta, u^2, u beta, beta^2 and 1[beta > 0].

    Returns
    -------
    ndarray of float64, shape [..., 7]
        Slope, intercept, delta, correlation, acceptance, -b/a and (delta - b)/a [-]; NaN or infinite where
        the uncertainty does not vary.

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
    columns = (
        slope,
        intercept,
        delta,
        correlation,
        1.0 - mean_b,
        -intercept / slope,
        (delta - intercept) / slope,
    )
    return np.stack(columns, axis=-1)


def line_columns(uncertainty: NDArray[np.float64], rejection: NDArray[np.float64]) -> NDArray[np.float64]:
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
        1, u, beta, u^2, u beta, beta^2, 1[beta > 0].

    Examples
    --------
    >>> line_columns(np.array([0.5]), np.array([0.25]))[0]
    array([1.    , 0.5   , 0.25  , 0.25  , 0.125 , 0.0625, 1.    ])
    """
    u, b = uncertainty, rejection
    return np.column_stack([np.ones_like(u), u, b, u * u, u * b, b * b, (b > 0.0).astype(np.float64)])


def fit(
    tokens: Tokens,
    *,
    name: str,
    seed: int = 0,
    num_resamples: int = 2000,
    vocab_size: int | None = None,
    temperature: float | None = None,
    slm_latency_s: float | None = None,
    llm_latency_s: float | None = None,
    source: Mapping[str, Any] | None = None,
) -> Calibration:
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
    vocab_size : int, optional
        V, copied into the result.
    temperature : float, optional
        T, copied into the result [-].
    slm_latency_s, llm_latency_s : float, optional
        Latencies, copied into the result [s].
    source : mapping, optional
        Provenance, copied into the result; the bootstrap's settings are added.

    Returns
    -------
    Calibration
        Estimates and intervals.

    Raises
    ------
    CuhlmError
        If the uncertainty is the same on every token, so that no line is determined.

    References
    ----------
    .. [U] U-HLM, arXiv:2412.12687, the linear rejection model; THEORY section 5.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> u = rng.uniform(size=400)
    >>> tokens = Tokens(uncertainty=u, rejection=0.8 * u, prompt=np.arange(400) // 10)
    >>> line = fit(tokens, name="example")
    >>> round(line.slope, 6), line.num_prompts
    (0.8, 40)
    """
    u = np.asarray(tokens.uncertainty, dtype=np.float64)
    beta = np.asarray(tokens.rejection, dtype=np.float64)
    if np.ptp(u) < 1e-9:
        raise CuhlmError(
            f"the line has no slope: all {len(u)} tokens have uncertainty {u[0]:g}; "
            "record more prompts or raise the temperature"
        )
    cluster = np.zeros(len(u), dtype=np.int64) if tokens.prompt is None else tokens.prompt
    result = bootstrap.of_sums(
        line_statistics,
        line_columns(u, beta),
        cluster,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )
    estimates: dict[str, Any] = {}
    for index, statistic in enumerate(_STATISTICS):
        value = float(result.estimate[index])
        usable = math.isfinite(value) and not (statistic.startswith("risk_") and result.estimate[0] <= 0.0)
        estimates[statistic] = value if usable else None
        estimates[f"{statistic}_ci95"] = result.interval(index) if usable else None
    return Calibration(
        name=name,
        **estimates,
        num_tokens=len(u),
        num_prompts=bootstrap.cluster_index(cluster)[1],
        vocab_size=vocab_size,
        temperature=temperature,
        slm_latency_s=slm_latency_s,
        llm_latency_s=llm_latency_s,
        uncertainty_quantile=tuple(np.quantile(u, np.linspace(0.0, 1.0, _NUM_QUANTILES)).tolist()),
        source={
            **(source or {}),
            "intervals": f"95 % BCa, bootstrap over prompts, {num_resamples} resamples, seed {seed}",
        },
    )


def published(name: str) -> Calibration:
    """Return a published rejection line as a calibration.

    Parameters
    ----------
    name : str
        ``cu-hlm`` or ``u-hlm``.

    Returns
    -------
    Calibration
        The line and delta; no intervals, no law of the uncertainty, no latencies: none were published.

    Raises
    ------
    ValueError
        If no such line was published.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1: a = 0.815, b = -0.066 (printed), Delta = 0.5955 (reconstructed).
    .. [U] U-HLM, arXiv:2412.12687: a = 0.82, b = -0.06 (printed), Delta = 0.2926 (reconstructed).

    Examples
    --------
    >>> line = published("cu-hlm")
    >>> line.slope, line.intercept, round(line.risk_averse, 4)
    (0.815, -0.066, 0.081)
    """
    if name not in presets.PUBLISHED_LINES:
        raise ValueError(f"calibration must be one of {', '.join(presets.PUBLISHED_LINES)}; got {name!r}")
    line = presets.PUBLISHED_LINES[name]
    a, b, delta = line.slope.value, line.intercept.value, line.delta.value
    provenance = {
        key: f"{getattr(line, key).provenance}: {getattr(line, key).source}"
        for key in ("slope", "intercept", "delta")
    }
    return Calibration(
        name=name,
        slope=a,
        intercept=b,
        delta=delta,
        risk_averse=-b / a,
        risk_prone=(delta - b) / a,
        vocab_size=int(presets.SETTINGS["vocab_size"].value),
        source=provenance,
    )


def save(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration as JSON, whole or not at all.

    Parameters
    ----------
    calibration : Calibration
        What to write.
    path : str or Path
        File to (re)place.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(published("u-hlm"), Path(folder) / "u.json")
    ...     load(Path(folder) / "u.json")[0].slope
    0.82
    """
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_text(calibration.to_json(), encoding="utf-8")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def load(name_or_path: str | Path) -> tuple[Calibration, Tokens | None]:
    """Find a calibration by name or path, with its recorded tokens where there are any.

    Parameters
    ----------
    name_or_path : str or Path
        ``smollm2``, ``smollm2-llm-text`` (built in), ``cu-hlm``, ``u-hlm`` (published lines), a folder
        written by ``cuhlm calibrate``, its ``calibration.json``, or a trace (``.parquet``), which is then
        fitted.

    Returns
    -------
    calibration : Calibration
        The fit.
    tokens : Tokens or None
        The recorded tokens; None for a published line and for a JSON file that has no trace beside it.

    Raises
    ------
    ValueError
        If there is no such name or file, a file is damaged, or a trace is not the one its calibration was
        fitted on.

    Examples
    --------
    >>> load("u-hlm")[0].intercept
    -0.06
    >>> load("no-such-pair")
    Traceback (most recent call last):
    ...
    ValueError: calibration must be smollm2, smollm2-llm-text, cu-hlm, u-hlm, or an existing file or ...
    """
    text = str(name_or_path)
    if text in presets.PUBLISHED_LINES:
        return published(text), None
    path = BUILT_IN.get(text) or Path(name_or_path)
    if path.is_dir():
        if not (path / CALIBRATION_FILE).is_file():
            raise ValueError(f"calibration folder {path} must hold {CALIBRATION_FILE}; it does not")
        path = path / CALIBRATION_FILE
    if not path.is_file():
        names = ", ".join((*BUILT_IN, *presets.PUBLISHED_LINES))
        raise ValueError(f"calibration must be {names}, or an existing file or folder; got {text!r}")
    if path.suffix == ".parquet":
        from calibration import trace

        recorded = trace.read(path)
        return fit_trace(recorded, name=path.stem), recorded.tokens()
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"calibration {path} is neither JSON text nor a .parquet trace") from None
    calibration = Calibration.from_json(content, origin=f"calibration {path}")
    beside = path.parent / TRACE_FILE
    if path.name != CALIBRATION_FILE or not beside.is_file():
        return calibration, None
    from calibration import trace

    tokens = trace.read(beside).tokens()
    if len(tokens) != calibration.num_tokens:
        raise ValueError(
            f"calibration {path} was fitted on {calibration.num_tokens} tokens; {beside} holds {len(tokens)}"
        )
    return calibration, tokens


def find_trace(name_or_path: str | Path) -> Path:
    """Find the trace of a calibration.

    Parameters
    ----------
    name_or_path : str or Path
        As `load`.

    Returns
    -------
    Path
        Its trace file.

    Raises
    ------
    MissingInputError
        If the calibration has none: a published line, or a JSON file on its own.

    Examples
    --------
    >>> find_trace("cu-hlm")
    Traceback (most recent call last):
    ...
    cuhlm_theory.errors.MissingInputError: calibration cu-hlm has no recorded tokens; ...
    """
    text = str(name_or_path)
    path = BUILT_IN.get(text) or Path(name_or_path)
    if path.suffix != ".parquet":
        path = (path if path.is_dir() else path.parent) / TRACE_FILE
    if text in presets.PUBLISHED_LINES or not path.is_file():
        raise MissingInputError(
            f"calibration {text} has no recorded tokens; give a folder written by `cuhlm calibrate`"
        )
    return path


def find_verified_trace(trace_file: Path) -> Path | None:
    """Find the trace of the large model's text that belongs to a trace of the small model's.

    Parameters
    ----------
    trace_file : Path
        Trace of a calibration.

    Returns
    -------
    Path or None
        The trace in the folder ``llm-text`` beside it, where ``cuhlm calibrate --writer llm`` may write it.
    """
    beside = trace_file.parent / VERIFIED_FOLDER / TRACE_FILE
    return beside if beside.is_file() else None


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
        The fit, with mean latencies (the trace times each prompt by a median) and the header as its source.
    """
    header = asdict(recorded.header)
    latencies: dict[str, float | None] = {}
    for column in ("slm_latency_s", "llm_latency_s"):
        values = recorded.columns.get(column)
        latencies[column] = None if values is None else float(np.mean(values, dtype=np.float64))
    return fit(
        recorded.tokens(),
        name=name,
        seed=seed,
        num_resamples=num_resamples,
        vocab_size=header.get("vocab_size"),
        temperature=header.get("temperature"),
        source={key: value for key, value in header.items() if isinstance(value, str | int | float | dict)},
        **latencies,
    )
