r"""Shares to keep, estimated from recorded drafts: what they buy, what estimating costs, what is promised.

A device that keeps a share s of its draft skips with s and has bias :math:`(s - y_d/x_d)_+`. The best share,
given what the device knows, is a quantile of :math:`y_d/x_d`; here it is fitted on some prompts and judged on
others, beside the threshold on the uncertainty, which keeps all of a draft or nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import promises
from calibration.rejection_models import whole_folds
from cuhlm_theory import bootstrap
from cuhlm_theory._checks import as_count, as_probability
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.law import NEVER_SKIP
from cuhlm_theory.schemes.shares import ShareFamily, best_shares, drafts_to_fit
from cuhlm_theory.schemes.skip import Below, KeepShare

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None

_LEVELS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)
"""Prices at which boosted trees are fitted; shares between two of them are mixed."""
_NUM_THRESHOLDS = 300
_NUM_PRICES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class GainRow:
    """What one kind of knowledge buys at one bias, on prompts that it was not fitted on."""

    name: str
    """What the device looks at."""
    bias: float
    """Bias on the held-out prompts, the same for all rows that are compared [-]."""
    skip_rate: float
    """Skip rate there [-]."""
    skip_rate_ci95: Interval
    """Its interval, by prompts."""
    gain: float
    """Skip rate above that of a threshold on the uncertainty [-]."""
    gain_ci95: Interval
    """Its interval, paired over prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """What a rule promised on the prompts that it was fitted on, and what it had on others."""

    rule: str
    """`threshold` (randomised) or `quantile`."""
    budget: float
    """Bias budget, which the rule meets on the prompts that it was fitted on [-]."""
    bias_had: float
    """Bias on held-out prompts [-]."""
    bias_had_ci95: Interval
    """Its interval, by prompts."""
    violation_rate: float
    """Share of held-out folds with more bias than the budget [-]; near 1/2 for an unbiased fit."""
    skip_rate_promised: float
    """Skip rate on the prompts that it was fitted on [-]."""
    skip_rate_had: float
    """Skip rate on held-out prompts [-]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteedShares:
    """Shares that keep to a bias budget, and the sense in which they do."""

    rule: KeepShare
    """What the device keeps; nothing where nothing can be promised."""
    budget: float
    """Bias budget [-]."""
    failure_probability: float
    """Chance that the promise is broken [-]."""
    level: float | None
    """Price of a skip in bias that was chosen [-]; None where nothing can be promised."""
    bias: float
    """Bias on the prompts that the promise was tested on [-]."""
    skip_rate: float
    """Skip rate on them [-]."""
    statement: str
    """The promise and its assumptions, in words."""


def gains(
    tokens: Tokens,
    features: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    *,
    budgets: Sequence[float] = (0.01, 0.02, 0.05, 0.1),
    num_folds: int = 5,
    seed: int = 0,
    num_resamples: int = 1000,
) -> list[GainRow]:
    r"""Measure the skip rate at equal bias of shares that know more and more, on held-out prompts.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    features : mapping of str to mapping of str to array_like, shape [N], optional
        Sets of columns that boosted trees may look at, beside the shares by uncertainty; a column named
        ``uncertainty`` may only lower the share. By default none.
    budgets : sequence of float
        Biases at which skip rates are compared [-].
    num_folds : int, default 5
        Folds of whole prompts; every share is that of a fit on the other folds.
    seed : int, default 0
        Seed of folds, trees and bootstrap.
    num_resamples : int, default 1000
        Bootstrap resamples of the prompts, the fits kept.

    Returns
    -------
    list of GainRow
        ``threshold``, ``uncertainty`` and the sets of features, at each bias.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or there are fewer prompts than folds.

    Notes
    -----
    Each row is a family of shares that rises with the price of bias; at each bias the neighbours that enclose
    it are mixed, charged with the mean of their biases, which is never too little. Judged on recorded drafts.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=2000)
    >>> beta = np.where(rng.random(2000) < u, 0.6, 0.0)
    >>> rows = gains(Tokens(uncertainty=u, rejection=beta, prompt=np.arange(2000) // 40), budgets=[0.05])
    >>> [row.name for row in rows], rows[1].gain > 0.05
    (['threshold', 'uncertainty'], True)
    """
    prompt = _prompt(tokens)
    u, ratio = tokens.uncertainty, 1.0 - tokens.rejection
    cuts = np.unique(np.quantile(u, np.linspace(0.0, 1.0, _NUM_THRESHOLDS), method="inverted_cdf"))
    families = {
        "threshold": (u <= cuts[:, None]).astype(np.float64),
        "uncertainty": _cross_fitted(tokens, _by_uncertainty(tokens), num_folds, seed),
    }
    for name, columns in (features or {}).items():
        families[name] = _cross_fitted(tokens, _by_trees(columns, ratio, seed), num_folds, seed)
    index, num_prompts = bootstrap.cluster_index(prompt)
    counts = bootstrap.cluster_counts(num_prompts, num_resamples, np.random.default_rng(seed))
    weights = np.concatenate([np.ones((1, num_prompts)), counts])  # the sample itself first
    limits = [float(limit) for limit in as_probability("budgets", budgets)]
    rates = {name: _skip_rates(shares, ratio, index, weights, limits) for name, shares in families.items()}
    rows = []
    for place, limit in enumerate(limits):
        base = rates["threshold"][:, place]
        for name, rate in rates.items():
            skip, more = rate[:, place], rate[:, place] - base
            rows.append(
                GainRow(
                    name=name,
                    bias=limit,
                    skip_rate=float(skip[0]),
                    skip_rate_ci95=_interval(skip[1:]),
                    gain=float(more[0]),
                    gain_ci95=_interval(more[1:]),
                )
            )
    return rows


def price_of_estimating(
    tokens: Tokens,
    *,
    budgets: Sequence[float] = (0.01, 0.02, 0.05, 0.1),
    num_folds: int = 5,
    num_repeats: int = 5,
    seed: int = 0,
    num_resamples: int = 1000,
) -> list[PriceRow]:
    """Compare the bias that a rule promises where it is fitted with the bias it has on other prompts.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    budgets : sequence of float
        Bias budgets [-].
    num_folds : int, default 5
        Folds of whole prompts.
    num_repeats : int, default 5
        Random splits into folds.
    seed : int, default 0
        Seed of splits and bootstrap.
    num_resamples : int, default 1000
        Bootstrap resamples of the prompts, the fits kept.

    Returns
    -------
    list of PriceRow
        The randomised threshold and the shares by uncertainty, at each budget.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or there are fewer prompts than folds.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 400)
    >>> tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(400) % 20)
    >>> rows = price_of_estimating(tokens, budgets=[0.05], num_repeats=1, num_resamples=50)
    >>> [(row.rule, round(row.bias_had, 2)) for row in rows]
    [('threshold', 0.05), ('quantile', 0.05)]
    """
    prompt, rng = _prompt(tokens), np.random.default_rng(seed)
    fitters: dict[str, Callable[[Tokens, float], Below | KeepShare]] = {
        "threshold": _randomised_threshold,
        "quantile": lambda part, budget: best_shares(part, budget).rule,
    }
    cells = [(name, float(budget)) for budget in budgets for name in fitters]
    excess = {cell: np.zeros(len(tokens)) for cell in cells}
    folds: dict[tuple[str, float], list[tuple[float, float, float]]] = {cell: [] for cell in cells}
    for _ in range(int(as_count("num_repeats", num_repeats))):
        for test in whole_folds(prompt, num_folds, rng):
            fitted_on, used_on = tokens.only(~test), tokens.only(test)
            for name, budget in cells:
                rule = fitters[name](fitted_on, budget)
                had, promised = used_on.keeping(rule.steps), fitted_on.keeping(rule.steps)
                excess[name, budget][test] += had.excess / num_repeats
                skips = (1.0 - float(promised.transmit.mean()), 1.0 - float(had.transmit.mean()))
                folds[name, budget].append((float(had.excess.mean()), *skips))
    means = bootstrap.of_sums(
        lambda sums: sums[..., :-1] / sums[..., -1:],
        np.column_stack([*(excess[cell] for cell in cells), np.ones(len(tokens))]),
        prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )
    rows = []
    for place, (name, budget) in enumerate(cells):
        had, promised_skip, had_skip = np.array(folds[name, budget]).T
        rows.append(
            PriceRow(
                rule=name,
                budget=budget,
                bias_had=float(means.estimate[place]),
                bias_had_ci95=means.interval(place),
                violation_rate=float(np.mean(had > budget)),
                skip_rate_promised=float(promised_skip.mean()),
                skip_rate_had=float(had_skip.mean()),
            )
        )
    return rows


def guaranteed_shares(
    tokens: Tokens,
    budget: float,
    *,
    failure_probability: float = 0.1,
    fitting_share: float = 0.1,
    max_tokens: int | None = None,
    seed: int = 0,
) -> GuaranteedShares:
    r"""Boldest shares whose bias keeps to the budget with probability :math:`1 - \delta` over prompts.

    Some of the prompts fit a family of shares that rises with the price of bias. On the others each is
    tested, from the safest on, by the betting bound of `promises.guaranteed_threshold`; the first that fails
    ends the search. The order is fixed before those prompts are looked at, so the tests need no correction.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    budget : float
        :math:`\varepsilon` [-], in (0, 1).
    failure_probability : float, default 0.1
        :math:`\delta` [-], in (0, 1).
    fitting_share : float, default 0.1
        Share of the prompts that the family is fitted on [-]; the shape of the shares needs few, and every
        prompt that fits it is lost to the test.
    max_tokens : int, optional
        Cap on the tokens of a prompt, set before looking; None takes the largest recorded.
    seed : int, default 0
        Seed of the split, and of the order in which prompts are met.

    Returns
    -------
    GuaranteedShares
        Shares, what they achieve on the tested prompts, and the promise in words.

    Raises
    ------
    ValueError
        If an argument is out of range, ``prompt`` is missing, or a prompt exceeds ``max_tokens``.

    Notes
    -----
    As there, the promise is for contexts like those recorded: text that is not corrected now and then.

    References
    ----------
    .. [WSR] Waudby-Smith, Ramdas, Estimating means of bounded random variables by betting, arXiv:2010.09686.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=8000)
    >>> beta = np.where(rng.random(8000) < u, 0.6, 0.0)
    >>> found = guaranteed_shares(Tokens(uncertainty=u, rejection=beta, prompt=np.arange(8000) // 40), 0.05)
    >>> 0.0 < found.bias < 0.05, found.skip_rate > 0.3
    (True, True)
    """
    prompt = _prompt(tokens)
    for name, value in (("budget", budget), ("failure_probability", failure_probability)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1); got {value:g}")
    part = float(as_probability("fitting_share", fitting_share))
    index, num_prompts = bootstrap.cluster_index(prompt)
    order = np.random.default_rng(seed).permutation(num_prompts)
    num_fit = round(part * num_prompts)
    if not 1 <= num_fit < num_prompts:
        raise ValueError(f"fitting_share must leave prompts on both sides; got {part:g} of {num_prompts}")
    fit_on, test_on = (tokens.only(chosen) for chosen in _split(index, order, num_fit))
    place = order.argsort()[index[~np.isin(index, order[:num_fit])]] - num_fit  # met in the drawn order
    lengths = np.bincount(place)
    cap = int(lengths.max()) if max_tokens is None else int(as_count("max_tokens", max_tokens))
    if lengths.max() > cap:
        raise ValueError(f"max_tokens must be at least {lengths.max()}, the longest prompt's; got {cap}")
    spare = budget * (1.0 - lengths / cap)  # what a prompt's unused tokens contribute
    family = ShareFamily(*drafts_to_fit(fit_on))
    rule, level = KeepShare(), None
    for price in np.linspace(0.0, 1.0, _NUM_PRICES + 1)[1:]:
        bolder = family.at_level(float(price))
        lost = np.bincount(place, test_on.keeping(bolder).excess, len(lengths))
        if not promises.within_budget(lost / cap + spare, budget, failure_probability):
            break
        rule, level = bolder, float(price)
    had = test_on.keeping(rule)
    return GuaranteedShares(
        rule=rule,
        budget=float(budget),
        failure_probability=float(failure_probability),
        level=level,
        bias=float(had.excess.mean()),
        skip_rate=1.0 - float(had.transmit.mean()),
        statement=(
            f"with probability at least {1.0 - failure_probability:g} over the prompts, the mean bias a "
            f"token with these shares is at most {budget:g}, if the {len(lengths)} prompts that they were "
            f"tested on and those served later are independent draws from one law, at most {cap} tokens each"
        ),
    )


def _split(
    index: NDArray[np.int64], order: NDArray[np.int64], num_fit: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = np.isin(index, order[:num_fit])
    return first, ~first


def _prompt(tokens: Tokens) -> NDArray[np.int64]:
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    return tokens.prompt


Fitter = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]
"""Fits shares on some tokens and applies them to others: masks [N], [N] to shares [K, M]."""


def _cross_fitted(tokens: Tokens, fitter: Fitter, num_folds: int, seed: int) -> Floats:
    """Shares of every token at every price, from fits on other prompts, rising with the price, [K, N]."""
    parts = [
        (test, fitter(~test, test))
        for test in whole_folds(_prompt(tokens), num_folds, np.random.default_rng(seed))
    ]
    shares = np.empty((len(parts[0][1]), len(tokens)))
    for test, part in parts:
        shares[:, test] = part
    return np.maximum.accumulate(shares, axis=0)


def _by_uncertainty(tokens: Tokens) -> Fitter:
    def fit(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        family = ShareFamily(*drafts_to_fit(tokens.only(train)))
        prices = np.linspace(0.0, 1.0, _NUM_PRICES + 1)[1:]
        return np.stack([family.at_level(float(p)).share(tokens.uncertainty[test]) for p in prices])

    return fit


def _by_trees(columns: Mapping[str, ArrayLike], ratio: Floats, seed: int) -> Fitter:
    from sklearn.ensemble import HistGradientBoostingRegressor

    table = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    signs = [-1 if name == "uncertainty" else 0 for name in columns]

    def fit(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        shares = [
            HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=80,
                max_leaf_nodes=15,
                min_samples_leaf=40,
                learning_rate=0.08,
                monotonic_cst=signs,
                random_state=seed,
            )
            .fit(table[train], ratio[train])
            .predict(table[test])
            for level in _LEVELS
        ]
        return np.clip(shares, 0.0, 1.0)

    return fit


def _skip_rates(
    shares: Floats, ratio: Floats, index: NDArray[np.int64], weights: Floats, limits: Sequence[float]
) -> Floats:
    """Skip rate at each bias on each weighting of the prompts, shape [B, budgets]."""
    num = weights.shape[1]
    shares = np.concatenate([np.zeros((1, shares.shape[1])), shares, np.ones((1, shares.shape[1]))])
    skipped = np.stack([np.bincount(index, row, num) for row in shares])  # [K, P]
    spent = np.stack([np.bincount(index, np.maximum(row - ratio, 0.0), num) for row in shares])
    total = weights @ np.bincount(index, minlength=num).astype(np.float64)  # [B]
    skip, bias = (weights @ skipped.T) / total[:, None], (weights @ spent.T) / total[:, None]
    return np.stack([np.interp(limits, b, s) for b, s in zip(bias, skip, strict=True)])


def _interval(replicates: Floats) -> Interval:
    low, high = bootstrap.percentile_interval(replicates)
    return float(low), float(high)


def _randomised_threshold(tokens: Tokens, budget: float) -> Below:
    """Threshold on the uncertainty that meets the budget on these tokens, randomised between two."""
    order = np.argsort(tokens.uncertainty, kind="stable")
    values, first = np.unique(tokens.uncertainty[order], return_index=True)
    spent = np.cumsum(np.add.reduceat(tokens.rejection[order], first)) / len(tokens)
    fits = int(np.sum(spent <= budget))
    low = float(values[fits - 1]) if fits else NEVER_SKIP
    if fits == len(values):
        return Below(threshold=low)
    before = float(spent[fits - 1]) if fits else 0.0
    mix = (budget - before) / (float(spent[fits]) - before)
    return Below(threshold=low, upper_threshold=float(values[fits]), mix=mix)
