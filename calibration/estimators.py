r"""Uncertainty measures side by side on the same tokens, and what sampling noise does to the best of them.

A measure is good if sorting tokens by it puts the rejections last. It is judged by its Pearson and Spearman
correlation with :math:`\beta`, by the :math:`R^2` of the least-squares line and by the area under the
risk-coverage curve; the genie, which sorts by :math:`\beta` itself, is the floor of that area.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import bootstrap
from cuhlm_theory import uncertainty as theory
from cuhlm_theory._checks import as_count, as_probability
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.law import tie_groups

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None

SAMPLE_COLUMNS = {
    1: "sampled_uncertainty_1",
    5: "sampled_uncertainty_5",
    20: "sampled_uncertainty",
    100: "sampled_uncertainty_100",
}
"""Trace column of the sampled u at each M."""

_NUM_SIMULATIONS = 200  # of the binomial draws, for the noise that theory itself predicts
_CHUNK_FLOATS = 2_000_000

GENIE = "genie"
"""Name of the measure that knows the rejection probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorRow:
    """How well one measure of uncertainty tells the rejections; intervals are 95 %, by prompts."""

    name: str
    """Which measure."""
    pearson: float
    """Pearson correlation with beta [-]."""
    pearson_ci95: Interval
    """Its interval."""
    spearman: float
    """Spearman rank correlation with beta, ties at their mean rank [-]."""
    spearman_ci95: Interval
    """Its interval."""
    r_squared: float
    """Share of the variance of beta that the least-squares line explains [-]."""
    r_squared_ci95: Interval
    """Its interval."""
    risk_coverage_area: float
    """Area under mean beta of the skipped tokens against the skip rate [-]; small is good."""
    risk_coverage_area_ci95: Interval
    """Its interval."""
    excess_area: float
    """That area over the genie's [-]."""
    excess_area_ci95: Interval
    """Its interval, from the same resamples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttenuationRow:
    """Predicted against measured line and correlation of the u sampled with M draws."""

    num_samples: int
    """M."""
    factor: float
    """Predicted attenuation lambda of the slope [-]."""
    slope_predicted: float
    """lambda a, a from u-bar [-]."""
    slope_measured: float
    """Slope of beta on the sampled u [-]."""
    slope_gap_ci95: Interval
    """Interval of measured minus predicted, from the same resamples."""
    intercept_predicted: float
    """E beta - lambda a E u [-]."""
    intercept_measured: float
    """Intercept of beta on the sampled u [-]."""
    intercept_gap_ci95: Interval
    """Interval of measured minus predicted."""
    correlation_predicted: float
    """rho sqrt(lambda) [-]."""
    correlation_measured: float
    """Correlation of beta and the sampled u [-]."""
    correlation_gap_ci95: Interval
    """Interval of measured minus predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one token of a measure costs on the device, besides the softmax that drafts the token."""

    softmax_evaluations: float
    """Further softmax evaluations over the vocabulary, mean [1/token]."""
    seconds: float
    """Measured on this machine, with this package's numpy implementation [s/token]."""


def measures(columns: Mapping[str, ArrayLike], vocab_size: int) -> dict[str, Floats]:
    """Collect the measures that a trace holds, each oriented so that larger means less certain.

    Parameters
    ----------
    columns : mapping of str to array_like, shape [N]
        Columns of a trace, and ``dropout_uncertainty`` and ``paraphrase_uncertainty`` of
        `calibration.perturbations`.
    vocab_size : int
        V, which scales the entropy to [0, 1].

    Returns
    -------
    dict of str to ndarray of float64, shape [N]
        ``mean_uncertainty``, ``sampled_uncertainty_M``, those of dropout and paraphrases, ``entropy``,
        ``one_minus_max_prob``, ``one_minus_draft_prob``, ``one_minus_margin`` and ``genie``, as far as
        their columns are there [-].

    Raises
    ------
    MissingInputError
        If ``uncertainty`` or ``rejection`` is missing.
    ValueError
        If V < 2.

    Examples
    --------
    >>> sorted(measures({"uncertainty": [0.1], "rejection": [0.2], "max_prob": [0.7]}, 10))
    ['genie', 'mean_uncertainty', 'one_minus_max_prob']
    """
    size = int(as_count("vocab_size", vocab_size, at_least=2))
    for name in ("uncertainty", "rejection"):
        if name not in columns:
            raise MissingInputError(f"the trace must hold the column {name} to compare estimators")
    found = {key: np.asarray(value, dtype=np.float64) for key, value in columns.items()}
    result = {"mean_uncertainty": found["uncertainty"]}
    for num_samples, name in SAMPLE_COLUMNS.items():
        if name in found:
            result[f"sampled_uncertainty_{num_samples}"] = found[name]
    for name in ("dropout_uncertainty", "paraphrase_uncertainty"):
        if name in found:
            result[name] = found[name]
    if "entropy" in found:
        result["entropy"] = found["entropy"] / math.log(size)
    for name, source in (("max_prob", "max_prob"), ("draft_prob", "draft_prob"), ("margin", "margin")):
        if source in found:
            result[f"one_minus_{name}"] = 1.0 - found[source]
    result[GENIE] = found["rejection"]
    return result


def risk_coverage_area(
    score: ArrayLike, rejection: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Area under the risk-coverage curve: mean :math:`\beta` of the skipped tokens over all skip rates.

    .. math:: A = \int_0^1 \frac{1}{c} \int_0^c \beta(s)\, ds\, dc, \qquad
              \beta(s) \text{ in increasing order of the score}

    Parameters
    ----------
    score : array_like, shape [N]
        Measure of uncertainty; tokens with small values are skipped first.
    rejection : array_like, shape [N]
        :math:`\beta` [-].
    weight : array_like, shape [..., N], optional
        Token weights, any positive scale; None weighs tokens alike.

    Returns
    -------
    ndarray of float64, shape [...]
        A [-]; a constant score gives the mean of :math:`\beta`.

    Notes
    -----
    New here as a closed form: tokens with one score are split evenly (a randomised threshold), so the inner
    integral is linear on :math:`[c_0, c_1]`, and :math:`\int R(c)/c\,dc = m (c_1 - c_0) + (R_0 - m c_0)
    \ln(c_1/c_0)` with R_0 the risk before the tie and m its mean :math:`\beta`.

    References
    ----------
    .. [GeEl] Geifman, El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017.

    Examples
    --------
    >>> risk_coverage_area([1.0, 1.0], [0.0, 1.0])
    np.float64(0.5)
    >>> risk_coverage_area([0.0, 1.0], [0.0, 1.0]).round(4)  # (1 - ln 2) / 2
    np.float64(0.1534)
    """
    beta = as_probability("rejection", rejection)
    order, starts = tie_groups(np.asarray(score, dtype=np.float64))
    weights = np.ones(beta.size) if weight is None else np.asarray(weight, dtype=np.float64)
    mass = np.add.reduceat(weights[..., order], starts, axis=-1)  # [..., G]
    loss = np.add.reduceat((weights * beta)[..., order], starts, axis=-1)
    total = mass.sum(axis=-1, keepdims=True)
    coverage = np.cumsum(mass, axis=-1) / total
    risk = np.cumsum(loss, axis=-1) / total
    before = np.concatenate([np.zeros_like(coverage[..., :1]), coverage[..., :-1]], axis=-1)
    risk_before = np.concatenate([np.zeros_like(risk[..., :1]), risk[..., :-1]], axis=-1)
    mean = np.divide(loss, mass, out=np.zeros_like(loss), where=mass > 0.0)
    ratio = np.divide(coverage, before, out=np.ones_like(coverage), where=before > 0.0)
    area = mean * mass / total + (risk_before - mean * before) * np.log(ratio)
    return area.sum(axis=-1)


def spearman_correlation(
    first: ArrayLike, second: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Spearman rank correlation, ties at their mean rank, for integer or other token weights.

    Parameters
    ----------
    first, second : array_like, shape [N]
        What is ranked.
    weight : array_like, shape [..., N], optional
        Token weights; a weight of n counts the token n times.

    Returns
    -------
    ndarray of float64, shape [...]
        Correlation of the ranks [-]; NaN where one side is constant.

    Notes
    -----
    As ``scipy.stats.spearmanr``, which takes no weights and would have to be called once a resample.

    Examples
    --------
    >>> spearman_correlation([1.0, 2.0, 3.0], [1.0, 8.0, 9.0])
    array(1.)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    weights = np.ones(a.size) if weight is None else np.asarray(weight, dtype=np.float64)
    return _correlation(_ranks(a, weights), _ranks(b, weights), weights)


def _ranks(values: Floats, weights: Floats) -> Floats:
    order, starts = tie_groups(values)
    mass = np.add.reduceat(weights[..., order], starts, axis=-1)
    middle = np.cumsum(mass, axis=-1) - 0.5 * mass  # [..., G]
    group = np.empty(values.size, dtype=np.int64)
    group[order] = np.repeat(np.arange(starts.size), np.diff(np.append(starts, values.size)))
    return middle[..., group]


def _correlation(a: Floats, b: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=-1, keepdims=True)
    a = a - (weights * a).sum(axis=-1, keepdims=True) / total
    b = b - (weights * b).sum(axis=-1, keepdims=True) / total
    cross = (weights * a * b).sum(axis=-1)
    scale = np.sqrt((weights * a * a).sum(axis=-1) * (weights * b * b).sum(axis=-1))
    return np.divide(cross, scale, out=np.full_like(cross, np.nan), where=scale > 0.0)


def side_by_side(
    scores: Mapping[str, ArrayLike],
    rejection: ArrayLike,
    prompt: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = 1000,
) -> list[EstimatorRow]:
    r"""Judge measures of uncertainty on the same tokens, with BCa intervals over prompts.

    Parameters
    ----------
    scores : mapping of str to array_like, shape [N]
        What `measures` returns.
    rejection : array_like, shape [N]
        :math:`\beta` [-].
    prompt : array_like, shape [N]
        Prompt of each token.
    seed : int, default 0
        Seed of the bootstrap; every measure sees the same resamples.
    num_resamples : int, default 1000
        Resamples.

    Returns
    -------
    list of EstimatorRow
        One a measure, in the order given.

    Raises
    ------
    ValueError
        If a rejection is outside [0, 1].

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 50)
    >>> row = side_by_side({"u": u}, 0.5 * u, np.arange(50) // 5, num_resamples=50)[0]
    >>> round(row.pearson, 9), round(row.excess_area, 9)
    (1.0, 0.0)
    """
    beta = as_probability("rejection", rejection)
    rows = []
    for name, values in scores.items():
        score = np.asarray(values, dtype=np.float64)
        result = bootstrap.of_weights(
            _judge(score, beta), prompt, num_resamples=num_resamples, rng=np.random.default_rng(seed)
        )
        entries: dict[str, float | Interval] = {}
        for index, key in enumerate(
            ("pearson", "spearman", "r_squared", "risk_coverage_area", "excess_area")
        ):
            entries[key] = float(result.estimate[index])
            entries[f"{key}_ci95"] = result.interval(index)
        rows.append(EstimatorRow(name=name, **entries))  # type: ignore[arg-type]
    return rows


def _judge(score: Floats, beta: Floats) -> Callable[[Floats], Floats]:
    def statistic(weights: Floats) -> Floats:
        pearson = _correlation(
            np.broadcast_to(score, weights.shape), np.broadcast_to(beta, weights.shape), weights
        )
        area = risk_coverage_area(score, beta, weights)
        columns = (
            pearson,
            spearman_correlation(score, beta, weights),
            pearson**2,
            area,
            area - risk_coverage_area(beta, beta, weights),
        )
        return np.stack(columns, axis=-1)

    return statistic


def reliability(sampled: ArrayLike, num_samples: int) -> float:
    r"""Attenuation factor from the sampled u alone, for a device that never computes :math:`\bar u`.

    .. math:: \hat\lambda = 1 - \frac{E[u (1 - u)] / (M - 1)}{\operatorname{Var} u}

    New here: :math:`E[u(1 - u)] = (1 - 1/M) E[\bar u (1 - \bar u)]` under the binomial law, and
    :math:`\operatorname{Var} u = \operatorname{Var} \bar u + E[\bar u(1 - \bar u)]/M`.

    Parameters
    ----------
    sampled : array_like, shape [N]
        u of each token [-].
    num_samples : int
        M, at least 2.

    Returns
    -------
    float
        Estimate of `cuhlm_theory.uncertainty.attenuation_factor` [-]; sampling error can make it negative.

    Raises
    ------
    ValueError
        If M < 2, u is outside [0, 1], or u does not vary.

    Examples
    --------
    >>> reliability([0.0, 1.0, 0.0, 1.0], 20)
    1.0
    """
    u = as_probability("sampled", sampled)
    count = int(as_count("num_samples", num_samples, at_least=2))
    variance = float(np.var(u))
    if variance <= 0.0:
        raise ValueError(f"sampled must vary between tokens; got a variance of {variance:g}")
    return 1.0 - float(np.mean(u * (1.0 - u))) / (count - 1) / variance


def attenuation(
    mean_uncertainty: ArrayLike,
    sampled: ArrayLike,
    num_samples: int,
    rejection: ArrayLike,
    prompt: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> AttenuationRow:
    r"""Compare the predicted attenuation of slope, intercept and correlation with the measured one.

    The prediction uses :math:`\bar u` and :math:`\beta` only; the measurement regresses :math:`\beta` on the
    sampled u of the same tokens. The interval is that of their difference, so noise that both share cancels;
    it is at least as wide as the binomial draws alone make it, which a bootstrap over few prompts
    understates.

    Parameters
    ----------
    mean_uncertainty : array_like, shape [N]
        :math:`\bar u` [-].
    sampled : array_like, shape [N]
        u at M draws [-].
    num_samples : int
        M.
    rejection : array_like, shape [N]
        :math:`\beta` [-].
    prompt : array_like, shape [N]
        Prompt of each token.
    seed : int, default 0
        Seed of the bootstrap.
    num_resamples : int, default 2000
        Resamples.

    Returns
    -------
    AttenuationRow
        Predicted, measured, and the interval of their difference.

    Raises
    ------
    ValueError
        If an argument is outside [0, 1] or M < 1.

    Notes
    -----
    `uncertainty.attenuated_correlation` is the statement behind it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=4000)
    >>> row = attenuation(u, rng.binomial(20, u) / 20, 20, 0.8 * u, np.arange(4000) // 40)
    >>> row.slope_gap_ci95[0] < 0.0 < row.slope_gap_ci95[1], round(row.factor, 2)
    (True, 0.91)
    """
    mean = as_probability("mean_uncertainty", mean_uncertainty)
    u = as_probability("sampled", sampled)
    beta = as_probability("rejection", rejection)
    count = int(as_count("num_samples", num_samples))
    one = np.ones_like(mean)
    columns = np.column_stack([one, mean, mean**2, beta, beta**2, mean * beta, u, u**2, u * beta])  # [N, 9]

    def statistic(sums: Floats) -> Floats:
        m, mm, b, bb, mb, s, ss, sb = (sums[..., i] / sums[..., 0] for i in range(1, 9))
        var_m, var_b, var_s = mm - m**2, bb - b**2, ss - s**2
        factor = var_m / (var_m + (m - mm) / count)
        cov = mb - m * b
        predicted = (
            factor * cov / var_m,
            b - factor * cov / var_m * m,
            cov / np.sqrt(var_m * var_b) * np.sqrt(factor),
        )
        slope = (sb - s * b) / var_s
        measured = (slope, b - slope * s, (sb - s * b) / np.sqrt(var_s * var_b))
        gaps = (after - before for before, after in zip(predicted, measured, strict=True))
        return np.stack([factor, *predicted, *measured, *gaps], axis=-1)

    result = bootstrap.of_sums(
        statistic, columns, prompt, num_resamples=num_resamples, rng=np.random.default_rng(seed)
    )
    value = [float(item) for item in result.estimate]
    noise = _sampling_noise(mean, beta, count, np.random.default_rng([seed, count]))

    def widened(index: int) -> Interval:
        gap = result.interval(7 + index)
        centre, half = value[4 + index] - value[1 + index], 1.96 * float(noise[index])
        low, high = gap or (centre, centre)
        return min(low, centre - half), max(high, centre + half)

    return AttenuationRow(
        num_samples=count,
        factor=value[0],
        slope_predicted=value[1],
        intercept_predicted=value[2],
        correlation_predicted=value[3],
        slope_measured=value[4],
        intercept_measured=value[5],
        correlation_measured=value[6],
        slope_gap_ci95=widened(0),
        intercept_gap_ci95=widened(1),
        correlation_gap_ci95=widened(2),
    )


def _sampling_noise(mean: Floats, beta: Floats, num_samples: int, rng: np.random.Generator) -> Floats:
    """Simulate how the binomial draws alone move slope, intercept and correlation, standard errors [3]."""
    rows = max(1, _CHUNK_FLOATS // mean.size)
    found = []
    for start in range(0, _NUM_SIMULATIONS, rows):
        shape = (min(rows, _NUM_SIMULATIONS - start), mean.size)
        u = rng.binomial(num_samples, np.broadcast_to(mean, shape)) / num_samples
        centred = u - u.mean(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = centred @ beta / np.sum(centred**2, axis=1)
            correlation = slope * u.std(axis=1) / beta.std()
        found.append(np.column_stack([slope, beta.mean() - slope * u.mean(axis=1), correlation]))
    return np.nan_to_num(np.concatenate(found).std(axis=0))


def costs(
    vocab_size: int, *, rng: np.random.Generator, num_logits: int = 8, scale: float = 3.0
) -> dict[str, Cost]:
    """Count and time what each measure costs a token, on random normal logits.

    Parameters
    ----------
    vocab_size : int
        V.
    rng : numpy.random.Generator
        Source of the logits.
    num_logits : int, default 8
        Contexts that are timed.
    scale : float, default 3.0
        Standard deviation of the logits [nat].

    Returns
    -------
    dict of str to Cost
        By the names of `measures`; those read off the draft's own softmax need no further evaluation.

    Raises
    ------
    ValueError
        If a count is out of range.

    Examples
    --------
    >>> table = costs(50, rng=np.random.default_rng(0), num_logits=2)
    >>> table["sampled_uncertainty_20"].softmax_evaluations, table["entropy"].softmax_evaluations
    (20.0, 0.0)
    """
    size = int(as_count("vocab_size", vocab_size, at_least=2))
    number = int(as_count("num_logits", num_logits))
    logits = scale * rng.standard_normal((number, size))
    law = np.exp(logits - logits.max(axis=-1, keepdims=True))
    law /= law.sum(axis=-1, keepdims=True)
    draft = law.argmax(axis=-1)

    def timed(evaluations: float, action: Callable[[], object]) -> Cost:
        action()  # warm caches
        start = time.perf_counter()
        action()
        return Cost(softmax_evaluations=evaluations, seconds=(time.perf_counter() - start) / number)

    nodes = float(np.mean(theory.num_nodes(logits)))
    result = {"mean_uncertainty": timed(nodes, lambda: theory.mean_uncertainty(logits, draft))}
    for count in SAMPLE_COLUMNS:
        result[f"sampled_uncertainty_{count}"] = timed(
            float(count),
            lambda count=count: theory.sampled_uncertainty(logits, draft, num_samples=count, rng=rng),
        )
    rows = np.arange(number)
    result["entropy"] = timed(0.0, lambda: -(law * np.log(np.maximum(law, 1e-300))).sum(axis=-1))
    result["one_minus_max_prob"] = timed(0.0, lambda: 1.0 - law.max(axis=-1))
    result["one_minus_draft_prob"] = timed(0.0, lambda: 1.0 - law[rows, draft])
    result["one_minus_margin"] = timed(0.0, lambda: np.diff(np.partition(law, -2, axis=-1)[:, -2:]))
    return result
