r"""Models of E[beta | u], compared on prompts that they have not seen.

The papers' model is a clipped line. Its rivals are a weighted line, a line fitted through the clip, a line
fitted on the sampled u and corrected for its noise, a quadratic, a logistic and an isotonic curve. They are
compared on prompts that they have not seen: Brier score, and whether a threshold chosen for a risk budget
keeps to it. All sort tokens alike wherever they increase, so they differ in what they *promise*, not in which
token goes first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import estimators, fit
from cuhlm_theory import bootstrap
from cuhlm_theory import uncertainty as theory
from cuhlm_theory._checks import as_count, as_probability
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.law import Recorded
from cuhlm_theory.rejection import Line

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None

_LEAST_VARIANCE = 0.01  # floor of the working variance m (1 - m): keeps weights within a factor of 25
_BINS = 20  # quantile bins of the test of monotonicity


@dataclass(frozen=True, slots=True)
class RejectionModel:
    """A fitted E[beta | u]."""

    name: str
    """Which model."""
    parameters: dict[str, float]
    """Fitted numbers; empty for the isotonic curve."""
    predict: Callable[[ArrayLike], Floats]
    """Map u, shape [...], to the expected rejection in [0, 1], shape [...]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One rejection model on prompts that it has not seen; intervals are 95 %, by prompts."""

    name: str
    """Which model."""
    brier: float
    """Mean of beta (1 - m)^2 + (1 - beta) m^2, the Brier score of the rejection coin [-]."""
    brier_ci95: Interval
    """Its interval."""
    brier_over_line: float
    """Brier score minus the clipped line's on the same tokens [-]; negative is better."""
    brier_over_line_ci95: Interval
    """Its interval."""
    budget: float
    """Risk budget that the threshold was chosen for [-]."""
    threshold: float
    """Mean threshold over the folds [-]."""
    risk: float
    """Mean risk on held-out prompts [-]."""
    violation_rate: float
    """Share of held-out folds whose risk exceeds the budget [-]; near 1/2 for an unbiased model."""
    skip_rate: float
    """Mean skip rate on held-out prompts [-]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualRiskRow:
    """Skip rates at one risk: of a threshold on u, as any increasing line gives, and on the isotonic fit."""

    risk: float
    """Risk that both have [-]."""
    skip_rate_line: float
    """Largest skip rate of thresholds on u [-]."""
    skip_rate_isotonic: float
    """Largest skip rate of thresholds on the held-out isotonic fit, its flat parts split at random [-]."""
    lost: float
    """Isotonic minus line: what the line costs [-]."""
    lost_ci95: Interval
    """Its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monotonicity:
    """Whether E[beta | u] increases, from the means in quantile bins of u."""

    uncertainty: Floats
    """Mean u of each bin, shape [G] [-]."""
    rejection: Floats
    """Mean beta of each bin, shape [G] [-]."""
    isotonic: Floats
    """Isotonic fit to these means, shape [G] [-]."""
    distance: float
    """Weighted mean squared distance of the means from the isotonic fit [-]."""
    p_value: float
    """Chance of a distance as large if the isotonic fit were true (bootstrap over prompts)."""


def fit_line(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Ordinary least-squares line, clipped to [0, 1]: the papers' model.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``slope`` and ``intercept``.

    Raises
    ------
    CuhlmError
        If u does not vary.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1, the linear rejection model.

    Examples
    --------
    >>> model = fit_line([0.0, 0.5, 1.0], [0.0, 0.4, 0.8])
    >>> model.predict([0.25]).round(9)
    array([0.2])
    """
    u, beta = _pair(uncertainty, rejection)
    return _line("line", fit.fit_line(u, beta))


def fit_weighted_line(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Least-squares line with quasi-binomial weights, iterated.

    Weights :math:`1/\max(m (1 - m), 0.01)` with m the clipped line: a rejection near 0 or 1 varies less, so
    it counts for more. Five rounds of reweighting, which settles the line to about 1e-3.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``slope`` and ``intercept``.

    Raises
    ------
    CuhlmError
        If u does not vary.

    Examples
    --------
    >>> model = fit_weighted_line([0.0, 0.5, 1.0], [0.0, 0.4, 0.8])
    >>> round(model.parameters["slope"], 9)
    0.8
    """
    u, beta = _pair(uncertainty, rejection)
    line = fit.fit_line(u, beta)
    for _ in range(5):
        mean = line(u)
        line = fit.fit_line(u, beta, 1.0 / np.maximum(mean * (1.0 - mean), _LEAST_VARIANCE))
    return _line("weighted_line", line)


def fit_clipped_line(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Line whose *clipped* value has the least squared error, :math:`\min \sum (\beta - [au + b]_0^1)^2`.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``slope`` and ``intercept``.

    Raises
    ------
    CuhlmError
        If u does not vary.

    Notes
    -----
    The squared error is not convex in (a, b) once the clip bites; the search starts at the ordinary line and
    never returns anything worse.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 101)
    >>> model = fit_clipped_line(u, np.clip(1.5 * u - 0.4, 0.0, 1.0))
    >>> round(model.parameters["slope"], 4), round(model.parameters["intercept"], 4)
    (1.5, -0.4)
    """
    from scipy.optimize import least_squares

    u, beta = _pair(uncertainty, rejection)
    line = fit.fit_line(u, beta)
    start = np.array([line.slope, line.intercept])

    def residual(line: Floats) -> Floats:
        return np.clip(line[0] * u + line[1], 0.0, 1.0) - beta

    def jacobian(line: Floats) -> Floats:
        raw = line[0] * u + line[1]
        inside = ((raw > 0.0) & (raw < 1.0)).astype(np.float64)
        return np.column_stack([inside * u, inside])

    found = least_squares(residual, start, jac=jacobian).x  # type: ignore[arg-type]
    if np.sum(residual(found) ** 2) > np.sum(residual(start) ** 2):
        found = start
    return _line("clipped_line", Line(float(found[0]), float(found[1])))


def fit_corrected_line(sampled: ArrayLike, num_samples: int, rejection: ArrayLike) -> RejectionModel:
    r"""Line on :math:`\bar u` from the sampled u alone: least squares, then undone attenuation.

    Parameters
    ----------
    sampled : array_like, shape [N]
        u at M draws [-].
    num_samples : int
        M, at least 2.
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``slope`` and ``intercept`` of the line on :math:`\bar u`, and the ``factor`` used.

    Raises
    ------
    CuhlmError
        If u does not vary more than its sampling noise.

    References
    ----------
    New here: `cuhlm_theory.uncertainty.restored_line`, `calibration.estimators.reliability`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=20_000)
    >>> model = fit_corrected_line(rng.binomial(5, u) / 5, 5, 0.8 * u)
    >>> round(model.parameters["slope"], 1)
    0.8
    """
    u, beta = _pair(sampled, rejection)
    factor = estimators.reliability(u, num_samples)
    if factor <= 0.0:
        raise CuhlmError(f"u at {num_samples} draws is all sampling noise; record more draws or tokens")
    noisy = fit.fit_line(u, beta)
    restored = theory.restored_line(noisy.slope, noisy.intercept, factor, float(u.mean()))
    return _line("corrected_line", Line(*map(float, restored)), factor=factor)


def fit_quadratic(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Least-squares parabola, clipped to [0, 1].

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``c0``, ``c1``, ``c2``: the curve is c0 + c1 u + c2 u^2.

    Raises
    ------
    CuhlmError
        If u takes fewer than 3 values.

    Examples
    --------
    >>> model = fit_quadratic([0.0, 0.5, 1.0], [0.0, 0.25, 1.0])
    >>> round(model.parameters["c2"], 9)
    1.0
    """
    u, beta = _pair(uncertainty, rejection)
    if np.unique(u).size < 3:
        raise CuhlmError(f"a quadratic needs 3 values of u; got {np.unique(u).size}; record more tokens")
    c = np.polynomial.polynomial.polyfit(u, beta, 2)

    def predict(x: ArrayLike) -> Floats:
        raw = np.polynomial.polynomial.polyval(np.asarray(x, dtype=np.float64), c)
        return np.clip(np.asarray(raw, dtype=np.float64), 0.0, 1.0)

    return RejectionModel("quadratic", {f"c{power}": float(c[power]) for power in range(3)}, predict)


def fit_logistic(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Logistic curve with fractional response: :math:`m(u) = 1/(1 + e^{-(b + a u)})`.

    Maximum of :math:`\sum \beta \ln m + (1 - \beta) \ln(1 - m)`, the mean log-likelihood of the rejection
    coin.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        With ``slope`` and ``intercept`` of the log-odds.

    Raises
    ------
    CuhlmError
        If u does not vary or the optimiser fails.

    References
    ----------
    .. [PaWo] Papke, Wooldridge, Econometric methods for fractional response variables, 1996.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 50)
    >>> model = fit_logistic(u, 1.0 / (1.0 + np.exp(2.0 - 3.0 * u)))
    >>> round(model.parameters["slope"], 3), round(model.parameters["intercept"], 3)
    (3.0, -2.0)
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    u, beta = _pair(uncertainty, rejection)

    def loss(line: Floats) -> tuple[float, Floats]:
        score = line[0] * u + line[1]
        gap = expit(score) - beta
        return float(np.mean(np.logaddexp(0.0, score) - beta * score)), np.array(
            [np.mean(gap * u), np.mean(gap)]
        )

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8})
    if np.max(np.abs(found.jac)) > 1e-5:
        raise CuhlmError(f"the logistic fit did not converge ({found.message}); record more tokens")
    slope, intercept = float(found.x[0]), float(found.x[1])
    return RejectionModel(
        "logistic",
        {"slope": slope, "intercept": intercept},
        lambda x: np.asarray(expit(slope * np.asarray(x, dtype=np.float64) + intercept), dtype=np.float64),
    )


def fit_isotonic(uncertainty: ArrayLike, rejection: ArrayLike) -> RejectionModel:
    r"""Non-decreasing curve with the least squared error (pool adjacent violators), linear in between.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        u [-].
    rejection : array_like, shape [N]
        :math:`\beta` [-].

    Returns
    -------
    RejectionModel
        Constant beyond the smallest and largest u seen.

    Examples
    --------
    >>> fit_isotonic([0.0, 0.5, 1.0], [0.2, 0.0, 0.9]).predict([0.0, 0.5, 0.75]).round(9)
    array([0.1, 0.1, 0.5])
    """
    from scipy.optimize import isotonic_regression

    u, beta = _pair(uncertainty, rejection)
    nodes, group = np.unique(u, return_inverse=True)
    number = np.bincount(group).astype(np.float64)
    curve = isotonic_regression(np.bincount(group, weights=beta) / number, weights=number).x
    return RejectionModel("isotonic", {}, lambda x: np.interp(np.asarray(x, dtype=np.float64), nodes, curve))


def _pair(uncertainty: ArrayLike, rejection: ArrayLike) -> tuple[Floats, Floats]:
    u, beta = as_probability("uncertainty", uncertainty), as_probability("rejection", rejection)
    if u.ndim != 1 or u.shape != beta.shape or u.size == 0:
        raise ValueError(
            f"uncertainty and rejection must have one shape [N], N at least 1; got {u.shape} and {beta.shape}"
        )
    return u, beta


def _line(name: str, line: Line, **more: float) -> RejectionModel:
    return RejectionModel(name, {"slope": line.slope, "intercept": line.intercept, **more}, line)


MODELS: dict[str, Callable[[ArrayLike, ArrayLike], RejectionModel]] = {
    "line": fit_line,
    "weighted_line": fit_weighted_line,
    "clipped_line": fit_clipped_line,
    "quadratic": fit_quadratic,
    "logistic": fit_logistic,
    "isotonic": fit_isotonic,
}
"""Models of E[beta | u-bar] by name; `fit_corrected_line` takes the sampled u instead."""


def cross_validate(
    tokens: Tokens,
    *,
    budgets: Sequence[float] = (0.02, 0.05, 0.1),
    sampled: tuple[ArrayLike, int] | None = None,
    num_folds: int = 5,
    num_repeats: int = 4,
    seed: int = 0,
    num_resamples: int = 1000,
) -> list[ModelRow]:
    """Judge the rejection models on held-out prompts.

    Folds are made of whole prompts, and the split is repeated; every model, and the model-free ``empirical``
    threshold, sees the same folds.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    budgets : sequence of float
        Risk budgets [-].
    sampled : tuple of array_like [N] and int, optional
        Sampled u and its M; adds ``corrected_line``, fitted on it and used on u-bar.
    num_folds : int, default 5
        Folds a repeat.
    num_repeats : int, default 4
        Random splits.
    seed : int, default 0
        Seed of splits and bootstrap.
    num_resamples : int, default 1000
        Bootstrap resamples.

    Returns
    -------
    list of ModelRow
        A row a model and budget. ``empirical`` has no Brier score (NaN).

    Raises
    ------
    ValueError
        If there are fewer prompts than folds.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=600)
    >>> rows = cross_validate(
    ...     Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(600) // 20),
    ...     budgets=[0.05],
    ...     num_repeats=1,
    ... )
    >>> [row.name for row in rows][:3]
    ['line', 'weighted_line', 'clipped_line']
    """
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    rng = np.random.default_rng(seed)
    fitters: dict[str, Callable[[NDArray[np.bool_]], RejectionModel]] = {
        name: (lambda train, model=model: model(u[train], beta[train])) for name, model in MODELS.items()
    }
    if sampled is not None:
        noisy, count = np.asarray(sampled[0], dtype=np.float64), sampled[1]
        fitters["corrected_line"] = lambda train: fit_corrected_line(noisy[train], count, beta[train])
    predicted = {name: np.zeros(u.size) for name in fitters}
    outcome: dict[tuple[str, float], list[tuple[float, float, float]]] = {}
    for _ in range(int(as_count("num_repeats", num_repeats))):
        for test in whole_folds(tokens.prompt, num_folds, rng):
            train = ~test
            promised = {"empirical": beta[train]}
            for name, fitter in fitters.items():
                model = fitter(train)
                predicted[name][test] += model.predict(u[test]) / num_repeats
                promised[name] = model.predict(u[train])
            held = Recorded(u[test], beta[test])
            for name, expected in promised.items():
                law = Recorded(u[train], expected)
                for budget in budgets:
                    at = law.within(budget, split_ties=False).threshold
                    result = (at, float(held.risk(at)), float(held.skip_rate(at)))
                    outcome.setdefault((name, budget), []).append(result)
    names = list(fitters)
    brier = _brier(list(predicted.values()), beta, tokens.prompt, num_resamples, seed)
    rows = []
    for place, name in enumerate([*names, "empirical"]):
        scored = name != "empirical"
        for budget in budgets:
            threshold, risk, skip = np.array(outcome[name, budget]).T
            rows.append(
                ModelRow(
                    name=name,
                    brier=float(brier.estimate[place]) if scored else float("nan"),
                    brier_ci95=brier.interval(place) if scored else None,
                    brier_over_line=float(brier.estimate[len(names) + place]) if scored else float("nan"),
                    brier_over_line_ci95=brier.interval(len(names) + place) if scored else None,
                    budget=float(budget),
                    threshold=float(threshold.mean()),
                    risk=float(risk.mean()),
                    violation_rate=float(np.mean(risk > budget)),
                    skip_rate=float(skip.mean()),
                )
            )
    return rows


def _brier(
    predicted: Sequence[Floats], beta: Floats, prompt: NDArray[np.int64], num_resamples: int, seed: int
) -> bootstrap.Bootstrap:
    """Brier score of every model, then each score minus the first model's."""
    score = np.column_stack([beta * (1.0 - mean) ** 2 + (1.0 - beta) * mean**2 for mean in predicted])
    return bootstrap.of_sums(
        lambda sums: sums[..., :-1] / sums[..., -1:],
        np.column_stack([score, score - score[:, [0]], np.ones(beta.size)]),
        prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )


def line_against_isotonic(
    tokens: Tokens,
    *,
    risks: Sequence[float] = (0.02, 0.05, 0.1),
    num_folds: int = 5,
    seed: int = 0,
    num_resamples: int = 1000,
) -> list[EqualRiskRow]:
    """Measure what the line costs against the isotonic fit in skip rate at equal risk.

    Every increasing line sorts tokens by u, so at equal risk all lines skip the same tokens; the isotonic fit
    sorts alike but for its flat parts. Each prompt's isotonic curve is fitted on the other folds.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    risks : sequence of float
        Risks at which skip rates are compared [-].
    num_folds : int, default 5
        Folds of whole prompts.
    seed : int, default 0
        Seed of the folds and of the bootstrap.
    num_resamples : int, default 1000
        Bootstrap resamples of the prompts, the curves kept.

    Returns
    -------
    list of EqualRiskRow
        One a risk.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or there are fewer prompts than folds.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 200)
    >>> tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(200) % 20)
    >>> row = line_against_isotonic(tokens, risks=[0.05], num_resamples=50)[0]
    >>> abs(row.lost) < 0.01
    True
    """
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    score = np.empty(u.size)
    for test in whole_folds(tokens.prompt, num_folds, np.random.default_rng(seed)):
        score[test] = fit_isotonic(u[~test], beta[~test]).predict(u[test])

    def statistic(weights: Floats) -> Floats:
        by_line, by_curve = (Recorded(one, beta, weights) for one in (u, score))
        line = [np.asarray(by_line.within(risk).skip_rate) for risk in risks]
        curve = [np.asarray(by_curve.within(risk).skip_rate) for risk in risks]
        return np.stack([*line, *curve, *(b - a for a, b in zip(line, curve, strict=True))], axis=-1)

    result = bootstrap.of_weights(
        statistic, tokens.prompt, num_resamples=num_resamples, rng=np.random.default_rng(seed)
    )
    num = len(risks)
    return [
        EqualRiskRow(
            risk=float(risk),
            skip_rate_line=float(result.estimate[i]),
            skip_rate_isotonic=float(result.estimate[num + i]),
            lost=float(result.estimate[2 * num + i]),
            lost_ci95=result.interval(2 * num + i),
        )
        for i, risk in enumerate(risks)
    ]


def whole_folds(prompt: ArrayLike, num_folds: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Split whole prompts at random.

    Parameters
    ----------
    prompt : array_like, shape [N]
        Prompt of each token.
    num_folds : int
        Folds, at most the number of prompts.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of ndarray
        The held-out tokens of each fold, shape [N].

    Raises
    ------
    ValueError
        If there are fewer prompts than folds.

    Examples
    --------
    >>> [fold.tolist() for fold in whole_folds([5, 5, 8], 2, np.random.default_rng(0))]
    [[True, True, False], [False, False, True]]
    """
    index, num_prompts = bootstrap.cluster_index(prompt)
    wanted = int(as_count("num_folds", num_folds, at_least=2))
    if num_prompts < wanted:
        raise ValueError(f"num_folds must be at most the number of prompts, {num_prompts}; got {num_folds}")
    fold = np.empty(num_prompts, dtype=np.int64)
    fold[rng.permutation(num_prompts)] = np.arange(num_prompts) % wanted
    return [fold[index] == held for held in range(wanted)]


def monotonicity(
    tokens: Tokens, *, num_bins: int = _BINS, num_resamples: int = 2000, seed: int = 0
) -> Monotonicity:
    r"""Test whether :math:`E[\beta | u]` is non-decreasing, which makes a threshold on u optimal.

    Bin means :math:`m_g` are compared with their isotonic fit :math:`\tilde m_g`; the law of the distance
    under :math:`\tilde m` comes from resampled prompts, recentred: :math:`m^*_g - m_g + \tilde m_g`.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    num_bins : int, default 20
        Quantile bins of u; equal values share a bin.
    num_resamples : int, default 2000
        Bootstrap resamples.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    Monotonicity
        Bin means, isotonic fit, distance and p-value.

    Raises
    ------
    ValueError
        If ``prompt`` is missing.

    References
    ----------
    Neyman and Pearson: the best policy that knows u alone thresholds E[beta | u].

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 400)
    >>> test = monotonicity(Tokens(uncertainty=u, rejection=u, prompt=np.arange(400) % 40))
    >>> test.distance, test.p_value
    (0.0, 1.0)
    """
    from scipy.optimize import isotonic_regression

    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    edges = np.unique(np.quantile(u, np.linspace(0.0, 1.0, int(as_count("num_bins", num_bins)) + 1)[1:-1]))
    labels = np.searchsorted(edges, u, side="left")
    _, group = np.unique(labels, return_inverse=True)
    num_groups = int(group.max()) + 1
    member = (group[:, None] == np.arange(num_groups)).astype(np.float64)  # [N, G]
    columns = np.concatenate([member, member * beta[:, None], member * u[:, None]], axis=1)

    def statistic(sums: Floats) -> Floats:
        mass, loss, level = np.split(sums, 3, axis=-1)
        return np.concatenate([loss / mass, level / mass, mass], axis=-1)

    result = bootstrap.of_sums(
        statistic,
        columns,
        tokens.prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
        method="percentile",
    )
    mean, level, mass = np.split(result.estimate, 3)
    fit = isotonic_regression(mean, weights=mass).x

    def distance(means: Floats) -> float:
        return float(np.average((means - isotonic_regression(means, weights=mass).x) ** 2, weights=mass))

    observed = distance(mean)
    drawn = result.replicates[:, :num_groups] - mean + fit  # [B, G]
    drawn = drawn[np.isfinite(drawn).all(axis=1)]  # a resample may miss a bin that one prompt fills
    exceeding = sum(distance(row) >= observed - 1e-15 for row in drawn)
    return Monotonicity(
        uncertainty=level,
        rejection=mean,
        isotonic=fit,
        distance=observed,
        p_value=(1 + exceeding) / (1 + len(drawn)),
    )
