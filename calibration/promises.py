r"""Thresholds chosen from recorded tokens, how sure they are, and which of them keep a promise.

`trial` says what can be promised of the kept law on a text that it wrote itself. `threshold_intervals` gives
every threshold its interval, `guaranteed_threshold` keeps to a risk budget with a stated probability over
the prompts, `transfer` uses thresholds elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.fit import fit_line, line_columns, line_statistics
from cuhlm_theory import bootstrap
from cuhlm_theory._checks import as_count, as_nonnegative, as_probability
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.law import NEVER_SKIP, Recorded, tie_groups
from cuhlm_theory.texts import Trial

if TYPE_CHECKING:
    from calibration.trace import Trace

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None
Method = Literal["betting", "hoeffding", "conformal"]

_HALVINGS, _RESAMPLES = 20, 4000
_BOLDEST = 0.99  # share of the capital that a bet may lose at worst


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRow:
    """A threshold and its 95 % interval over prompts."""

    name: str
    """Which rule, with its budget or cost."""
    threshold: float
    """Threshold on u-bar [-]."""
    threshold_ci95: Interval
    """Its interval: BCa for rules from the line, percentile for empirical ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """A threshold that keeps to a risk budget, and the sense in which it does."""

    threshold: float
    """u_th [-]; `NEVER_SKIP` when nothing can be promised."""
    budget: float
    """Risk budget epsilon [-]."""
    failure_probability: float | None
    """delta of the promise; None for the promise in the mean."""
    method: str
    """`betting`, `hoeffding` or `conformal`."""
    risk: float
    """Risk on the calibration prompts at this threshold [-]."""
    skip_rate: float
    """Skip rate on the calibration prompts [-]."""
    statement: str
    """The promise and its assumptions, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRow:
    """A threshold fitted on one trace and used on another."""

    rule: str
    """How the threshold was chosen."""
    budget: float | None
    """Risk budget, None for the risk-averse rule [-]."""
    threshold: float
    """u_th [-]."""
    risk_promised: float
    """What the rule says the risk is, from the first trace [-]."""
    risk_had: float
    """Risk on the second trace [-]."""
    risk_had_ci95: Interval
    """Its interval, by prompts."""
    skip_rate_promised: float
    """Skip rate on the first trace [-]."""
    skip_rate_had: float
    """Skip rate on the second trace [-]."""
    kept: bool
    """Whether the risk had is within the budget (within the risk promised, if there is no budget)."""


def threshold_intervals(
    tokens: Tokens,
    *,
    budgets: Sequence[float] = (0.01, 0.02, 0.05, 0.1),
    cost_ratios: Sequence[float] = (),
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[ThresholdRow]:
    r"""Every threshold with its interval over prompts.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    budgets : sequence of float
        Risk budgets of the empirical rule [-].
    cost_ratios : sequence of float
        :math:`(\tau_{up} + \tau_{LLM})/\lambda` of the cost-optimal rule [-].
    num_resamples : int, default 2000
        Bootstrap resamples.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    list of ThresholdRow
        ``risk_averse``, ``risk_prone`` and ``cost_optimal`` (clipped to [0, 1]) if the line rises, then
        ``risk_budget`` rows.

    Raises
    ------
    ValueError
        If ``prompt`` is missing, a budget is outside [0, 1] or a ratio negative.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=600)
    >>> beta = np.clip(0.8 * u - 0.08, 0, 1)
    >>> rows = threshold_intervals(
    ...     Tokens(uncertainty=u, rejection=beta, prompt=np.arange(600) // 20), budgets=[0.05]
    ... )
    >>> [row.name for row in rows]
    ['risk_averse', 'risk_prone', 'risk_budget 0.05']
    """
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    limits = as_probability("budgets", budgets)
    ratios = as_nonnegative("cost_ratios", cost_ratios)

    def from_line(sums: Floats) -> Floats:
        line = line_statistics(sums)
        optimal = np.clip((ratios - line[..., 1:2]) / line[..., 0:1], 0.0, 1.0)
        return np.concatenate([line[..., 5:7], optimal], axis=-1)

    def empirical(weights: Floats) -> Floats:
        law = Recorded(u, beta, weights)
        found = [law.within(limit, split_ties=False).threshold for limit in limits]
        return np.stack(found, axis=-1) if found else np.empty((*weights.shape[:-1], 0))

    columns = line_columns(u, beta)
    rises = line_statistics(columns.sum(axis=0))[0] > 0.0
    lines = bootstrap.of_sums(
        from_line,
        columns,
        tokens.prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )
    steps = bootstrap.of_weights(  # the jackknife, and so BCa, is inconsistent for quantiles
        empirical,
        tokens.prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
        method="percentile",
    )
    names = ["risk_averse", "risk_prone", *(f"cost_optimal {ratio:g}" for ratio in ratios)]
    rows = [
        ThresholdRow(name=name, threshold=float(lines.estimate[i]), threshold_ci95=lines.interval(i))
        for i, name in enumerate(names if rises else [])
    ]
    for i, limit in enumerate(limits):
        rows.append(
            ThresholdRow(
                name=f"risk_budget {limit:g}",
                threshold=float(steps.estimate[i]),
                threshold_ci95=steps.interval(i),
            )
        )
    return rows


def guaranteed_threshold(
    tokens: Tokens,
    budget: float,
    *,
    failure_probability: float = 0.1,
    method: Method = "betting",
    max_tokens: int | None = None,
    seed: int = 0,
) -> Guarantee:
    r"""Largest threshold whose risk keeps to the budget with probability :math:`1 - \delta` over prompts.

    Write :math:`z_i(t) = \frac{n_i}{n_{\max}} (\bar\ell_i(t) - \varepsilon) + \varepsilon \in [0, 1]`, with
    :math:`\bar\ell_i(t)` the mean of :math:`\beta 1[u \le t]` over the :math:`n_i` tokens of prompt i. The
    per-token risk is :math:`R(t) = E \sum_j \beta_{ij} 1[u_{ij} \le t] / E n_i`, and :math:`R(t) \le
    \varepsilon` exactly if :math:`E z(t) \le \varepsilon`. R increases in t, so it is enough to reject
    :math:`E z(t) > \varepsilon` at each t on its own, from skipping nothing upwards, and to stop at the first
    t where that fails: whoever goes too far has passed the test at the one t where R crosses the budget.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``, in any order.
    budget : float
        :math:`\varepsilon` [-], in (0, 1).
    failure_probability : float, default 0.1
        :math:`\delta` [-], in (0, 1); not used by ``conformal``.
    method : {"betting", "hoeffding", "conformal"}, default "betting"
        ``betting`` is the capital process of [WSR] at confidence :math:`1 - \delta`; ``hoeffding`` the
        Chernoff bound :math:`e^{-P\,\mathrm{kl}(\bar z, \varepsilon)} \le \delta`; ``conformal`` promises
        the mean, :math:`E R(\hat t) \le \varepsilon`, from :math:`(P \bar z + 1)/(P + 1) \le \varepsilon`.
    max_tokens : int, optional
        :math:`n_{\max}`, the cap on tokens a prompt, set before looking; None takes the largest recorded,
        which is exact when generation is cut at a cap that some prompt reaches.
    seed : int, default 0
        Seed of the order in which ``betting`` meets the prompts.

    Returns
    -------
    Guarantee
        Threshold, what it achieves on the recorded prompts, and the promise in words.

    Raises
    ------
    ValueError
        If an argument is out of range, ``prompt`` is missing, or a prompt exceeds ``max_tokens``.

    Notes
    -----
    Assumes that the prompts are independent draws from one law (exchangeable, for ``conformal``) and that the
    prompts served later, their contexts included, come from that same law. ``betting`` looks at one prompt
    after another and would believe the easy ones if a file that is sorted by topic put them first, so it
    shuffles them: a shuffled sample is a sample. Contexts recorded from the small
    model's own text are not those of a hybrid run that is corrected now and then: `calibration.compare` sets
    the risk there beside it. ``conformal`` bounds the mean of z over calibration sets, and so that of R,
    which is linear in it once the calibration set is given.

    References
    ----------
    .. [RCPS] Bates et al., Distribution-free, risk-controlling prediction sets, arXiv:2101.02703, Thm 1,
    s. 3.1.
    .. [WSR] Waudby-Smith, Ramdas, Estimating means of bounded random variables by betting, arXiv:2010.09686.
    .. [CRC] Angelopoulos et al., Conformal risk control, arXiv:2208.02814, Thm 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> u = rng.uniform(size=4000)
    >>> tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(4000) // 40)
    >>> promise = guaranteed_threshold(tokens, 0.05)
    >>> 0.3 < promise.threshold < 0.447, promise.risk <= 0.05  # 0.447: where the risk itself is 0.05
    (True, True)
    """
    epsilon, delta = float(budget), float(failure_probability)
    for name, value in (("budget", epsilon), ("failure_probability", delta)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1); got {value:g}")
    if method not in ("betting", "hoeffding", "conformal"):
        raise ValueError(f"method must be betting, hoeffding or conformal; got {method!r}")
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    u, beta = np.asarray(tokens.uncertainty), np.asarray(tokens.rejection)
    index, num_prompts = bootstrap.cluster_index(tokens.prompt)
    index = np.random.default_rng(seed).permutation(num_prompts)[index]
    lengths = np.bincount(index)
    cap = int(lengths.max()) if max_tokens is None else int(as_count("max_tokens", max_tokens))
    if lengths.max() > cap:
        raise ValueError(f"max_tokens must be at least {lengths.max()}, the longest prompt's; got {cap}")
    order, starts = tie_groups(u)
    values = u[order][starts]  # [G], candidates, increasing
    cost = np.zeros(num_prompts)  # sum of beta over the skipped tokens of each prompt
    level = epsilon * (1.0 - lengths / cap)  # what a prompt's unused tokens contribute to z
    passed = 0
    for group in (order[:0], *np.split(order, starts[1:])):  # skip nothing, then each u as well
        np.add.at(cost, index[group], beta[group])
        if not within_budget(cost / cap + level, epsilon, delta, method):
            break
        passed += 1
    threshold = float(values[passed - 2]) if passed > 1 else NEVER_SKIP
    skipped = u <= threshold
    chance = "" if method == "conformal" else f"with probability at least {1.0 - delta:g} over the prompts, "
    what = "expected risk over calibration sets" if method == "conformal" else "mean risk a token"
    return Guarantee(
        threshold=threshold,
        budget=epsilon,
        failure_probability=None if method == "conformal" else delta,
        method=method,
        risk=float(np.mean(beta * skipped)),
        skip_rate=float(np.mean(skipped)),
        statement=(
            f"{chance}the {what} at threshold {threshold:.4g} is at most {epsilon:g}, if the {num_prompts} "
            f"prompts and those served later are independent draws from one law, at most {cap} tokens each"
        ),
    )


def trial(recorded: "Trace", *, failure_probability: float = 0.05, seed: int = 0) -> Trial:
    r"""Judge the kept law on hybrid text that it wrote itself, a prompt a sample.

    In every context its bias is known exactly, :math:`e = \sum_w (s_w x_w - y_w)_+`
    (``derivations.kept_law.achievability``), so the mean over the text is that of a run at this threshold.
    The limit is the least :math:`\varepsilon` above the mean that the betting test of `within_budget` claims
    with :math:`z_i = \frac{n_i}{n_{\max}} (\bar e_i - \varepsilon) + \varepsilon`.

    Parameters
    ----------
    recorded : Trace
        Hybrid text with its threshold.
    failure_probability : float, default 0.05
        :math:`\delta`, chance that the limit is wrong [-], in (0, 1).
    seed : int, default 0
        Seed of the order in which the prompts are met.

    Returns
    -------
    Trial
        Threshold, mean bias and its limit.

    Raises
    ------
    ValueError
        If the text is no hybrid text.

    Notes
    -----
    Assumes that prompts are independent draws from one law and answers are cut at the same length. Whatever
    the texts, P prompts cannot promise less than about :math:`\ln(1/\delta)/P`: one in P may be all wrong.
    The limit from resampled prompts is lower, and right for many prompts only.
    """
    header = recorded.header
    if header.threshold is None:
        raise ValueError(f"recorded must be hybrid text; got text of {header.writer}")
    tokens = recorded.tokens()
    bias = tokens.below(header.threshold).excess
    index, num_prompts = bootstrap.cluster_index(recorded.columns["prompt"])
    index = np.random.default_rng(seed).permutation(num_prompts)[index]
    cap = header.max_new_tokens
    cost, share = np.bincount(index, bias) / cap, np.bincount(index) / cap
    weights = bootstrap.cluster_counts(num_prompts, _RESAMPLES, np.random.default_rng(seed))
    drawn = (weights @ cost) / (weights @ share)
    return Trial(
        threshold=header.threshold,
        bias=float(np.mean(bias)),
        bias_limit95=upper_limit(cost, share, failure_probability),
        resampled_limit95=float(np.quantile(drawn, 1.0 - failure_probability)),
        num_prompts=num_prompts,
        max_tokens=cap,
    )


def upper_limit(cost: Floats, share: Floats, delta: float) -> float:
    r"""Least budget that a ratio of means is claimed to keep to by the betting test.

    Parameters
    ----------
    cost : ndarray of float64, shape [P]
        What each prompt spends, at most its share, in the order in which they are met [-].
    share : ndarray of float64, shape [P]
        Its tokens over the most that a prompt may have [-].
    delta : float
        Chance that the limit is too low [-], in (0, 1).

    Returns
    -------
    float
        Limit on E cost / E share [-]; 1 where nothing can be claimed.

    Examples
    --------
    >>> round(upper_limit(np.zeros(100), np.ones(100), 0.05), 3)  # about ln(20) / 100
    0.03
    """
    low, high = float(cost.sum() / share.sum()), 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        claimed = within_budget(cost + middle * (1.0 - share), middle, delta)
        low, high = (low, middle) if claimed else (middle, high)
    return high


def within_budget(z: Floats, epsilon: float, delta: float, method: Method = "betting") -> bool:
    r"""Whether :math:`E z \le \varepsilon` can be claimed from independent z in [0, 1].

    Parameters
    ----------
    z : ndarray of float64, shape [P]
        What each prompt contributes, in the order in which ``betting`` meets them [-].
    epsilon : float
        :math:`\varepsilon`, budget [-], in (0, 1).
    delta : float
        :math:`\delta`, chance of a wrong claim [-], in (0, 1); not used by ``conformal``.
    method : {"betting", "hoeffding", "conformal"}, default "betting"
        As in `guaranteed_threshold`.

    Returns
    -------
    bool
        Whether the claim is made.

    Examples
    --------
    >>> within_budget(np.full(100, 0.01), 0.05, 0.1), within_budget(np.full(10, 0.01), 0.05, 0.1)
    (True, False)
    """
    from scipy.special import rel_entr

    num = z.size
    mean = float(z.mean())
    if method == "conformal":
        return (num * mean + 1.0) / (num + 1.0) <= epsilon
    if mean >= epsilon:
        return False
    if method == "hoeffding":
        divergence = rel_entr(mean, epsilon) + rel_entr(1.0 - mean, 1.0 - epsilon)
        return bool(np.exp(-num * divergence) <= delta)
    capital = np.cumsum(
        np.log1p(-bets(z, epsilon, delta) * (z - epsilon))
    )  # a supermartingale if E z >= epsilon
    return bool(capital.max() >= np.log(1.0 / delta))


def bets(z: Floats, epsilon: float, delta: float) -> Floats:
    """Return what is staked on each prompt against a mean above epsilon.

    Parameters
    ----------
    z : ndarray of float64, shape [P]
        What each prompt contributes, in the order in which they are met [-].
    epsilon : float
        Budget that is bet against [-].
    delta : float
        Chance of a wrong claim that the bets are made for [-].

    Returns
    -------
    ndarray of float64, shape [P]
        Bets [-].

    Notes
    -----
    A bet knows the prompts before its own. One that knew its outcome would win whatever the mean is, and the
    capital would promise nothing.

    Examples
    --------
    >>> bets(np.array([0.0, 1.0]), 0.1, 0.1)[0] == bets(np.array([1.0, 0.0]), 0.1, 0.1)[0]
    np.True_
    """
    num = z.size
    count = np.arange(1, num + 1)
    worst = epsilon * (1.0 - epsilon)  # largest variance that a mean of epsilon allows, as if seen once
    centre = (epsilon + np.cumsum(z)) / (1.0 + count)
    variance = (worst + np.cumsum((z - centre) ** 2)) / (1.0 + count)
    variance = np.concatenate([[worst], variance[:-1]])  # what is known before each
    return np.minimum(_BOLDEST / (1.0 - epsilon), np.sqrt(2.0 * np.log(1.0 / delta) / (num * variance)))


def by_group(tokens: Tokens, group: Sequence[str]) -> dict[str, Tokens]:
    """Split tokens by a label of their prompt, such as the set it comes from, to try transfer between sets.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``, an index into ``group``.
    group : sequence of str
        Label of each prompt.

    Returns
    -------
    dict of str to Tokens
        Uncertainty, rejection and prompt of the tokens of each label, in the order of the labels' names.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or points beyond ``group``.

    Examples
    --------
    >>> tokens = Tokens(
    ...     uncertainty=np.array([0.1, 0.2]), rejection=np.array([0.0, 0.1]), prompt=np.array([0, 1])
    ... )
    >>> {name: len(part) for name, part in by_group(tokens, ["code", "text"]).items()}
    {'code': 1, 'text': 1}
    """
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    if tokens.prompt.max() >= len(group):
        raise ValueError(f"group must label every prompt; got {len(group)} for prompt {tokens.prompt.max()}")
    labels = np.asarray(group)[tokens.prompt]
    parts = {}
    for name in sorted(set(labels.tolist())):
        chosen = labels == name
        parts[name] = Tokens(
            uncertainty=tokens.uncertainty[chosen],
            rejection=tokens.rejection[chosen],
            prompt=tokens.prompt[chosen],
        )
    return parts


def transfer(
    fitted_on: Tokens,
    used_on: Tokens,
    *,
    budgets: Sequence[float] = (0.02, 0.05, 0.1),
    failure_probability: float = 0.1,
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[TransferRow]:
    """Set the risk promised by thresholds from one trace beside the risk they have on another.

    Parameters
    ----------
    fitted_on : Tokens
        Where the thresholds come from.
    used_on : Tokens
        Where they are used: other prompts, another temperature, another pair.
    budgets : sequence of float
        Risk budgets [-].
    failure_probability : float, default 0.1
        delta of the guaranteed thresholds [-].
    num_resamples : int, default 2000
        Bootstrap resamples of the second trace's prompts.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    list of TransferRow
        The line's risk-averse threshold, and for each budget the thresholds by the line, by the recorded
        rejections and, where the first trace names its prompts, by the guarantee.

    Raises
    ------
    ValueError
        If the second trace does not say which prompt a token belongs to.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 200)
    >>> first = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(200) % 20)
    >>> second = Tokens(uncertainty=u, rejection=0.9 * u, prompt=np.arange(200) % 20)
    >>> row = transfer(first, second, budgets=[0.05])[-2]
    >>> row.rule, row.risk_had > row.risk_promised, row.kept
    ('empirical', True, False)
    """
    if used_on.prompt is None:
        raise ValueError("used_on must say which prompt each token belongs to; prompt is missing")
    u, beta = np.asarray(fitted_on.uncertainty), np.asarray(fitted_on.rejection)
    new_u, new_beta = np.asarray(used_on.uncertainty), np.asarray(used_on.rejection)
    line = fit_line(u, beta)
    by_line = Recorded(u, line(u))
    chosen: list[tuple[str, float | None, float, float]] = []  # rule, budget, threshold, risk promised
    if line.slope > 0.0:
        chosen.append(("risk_averse", None, line.risk_averse, float(by_line.risk(line.risk_averse))))
    for budget in budgets:
        for rule, law in (("line", by_line), ("empirical", fitted_on.law)):
            found = law.within(budget, split_ties=False)
            chosen.append((rule, budget, found.threshold, found.risk))
        if fitted_on.prompt is not None:
            promise = guaranteed_threshold(fitted_on, budget, failure_probability=failure_probability)
            chosen.append(("guaranteed", budget, promise.threshold, budget))
    skipped = new_u[:, None] <= np.array([row[2] for row in chosen])  # [N, rows]
    had = bootstrap.of_sums(
        lambda sums: sums[..., :-1] / sums[..., -1:],
        np.column_stack([new_beta[:, None] * skipped, np.ones(new_u.size)]),
        used_on.prompt,
        num_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    )
    rows = []
    for i, (rule, budget, threshold, promised) in enumerate(chosen):
        risk = float(had.estimate[i])
        rows.append(
            TransferRow(
                rule=rule,
                budget=budget,
                threshold=threshold,
                risk_promised=promised,
                risk_had=risk,
                risk_had_ci95=had.interval(i),
                skip_rate_promised=float(np.mean(u <= threshold)),
                skip_rate_had=float(np.mean(skipped[:, i])),
                kept=risk <= (promised if budget is None else budget) + 1e-12,
            )
        )
    return rows
