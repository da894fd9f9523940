"""Who wins where: schemes at the same bias on the same texts, by paired differences; rules to end a run.

Every scheme is brought to its best numbers within a budget, if wanted on other texts than it is judged on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuhlm_theory import bootstrap
from cuhlm_theory._checks import Floats, as_probability
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.estimate import Estimate
from cuhlm_theory.optimisation import operating_point
from cuhlm_theory.parameters import Budget, System
from cuhlm_theory.rejection import Curve
from cuhlm_theory.schemes import SCHEMES, KeepShare, Ledger, Scheme, at_bias
from cuhlm_theory.schemes.draft import UntilRisky, UntilRiskyOrTrigger, UntilTrigger, UntilUnsure
from cuhlm_theory.table import Table

BUDGETS = (0.0, 0.01, 0.02, 0.05, 0.1)
_MOST_DRAFTS = 16
_MOST_UNSURE = (0.97, 0.98, 0.99)  # thresholds beyond those recorded below them: 33 to 100 tokens a draft
_SURVIVALS = tuple(float(value) for value in np.linspace(0.05, 0.95, 19))
_NUM_BINS = 20
_MOST_TRIED = 40
_STEPS = 30
_SHOWN = (
    *("budget", "throughput_token_per_s", "throughput_ci95", "bits", "bits_ci95", "skip_rate", "bias"),
    *("behind_best", "behind_best_ci95"),
)
_SHOWN_RULES = (
    "throughput_token_per_s",
    "throughput_ci95",
    "over_first",
    "over_first_ci95",
    "drafts",
    "rule",
)


def rejection_curve(tokens: Tokens, *, num_bins: int = _NUM_BINS) -> Curve:
    """Return a rising curve through the mean rejections of quantile bins of the uncertainty.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens.
    num_bins : int, default 20
        Bins of equally many tokens; equal uncertainties share one [-].

    Returns
    -------
    Curve
        What the device knows of the rejection of a draft.

    Examples
    --------
    >>> u = np.linspace(0.0, 1.0, 400)
    >>> rejection_curve(Tokens(uncertainty=u, rejection=0.5 * u))([0.5]).round(3)
    array([0.25])
    """
    from scipy.optimize import isotonic_regression

    u, weight = tokens.uncertainty, tokens.weight
    edges = np.unique(np.quantile(u, np.linspace(0.0, 1.0, num_bins + 1)[1:-1]))
    _, place = np.unique(np.searchsorted(edges, u, side="left"), return_inverse=True)
    mass = np.bincount(place, weight)
    nodes = np.bincount(place, weight * u) / mass
    mean = np.clip(np.bincount(place, weight * tokens.rejection) / mass, 0.0, 1.0)
    curve = np.clip(isotonic_regression(mean, weights=mass).x, 0.0, 1.0)
    return Curve(tuple(nodes.tolist()), tuple(curve.tolist()))


def look_ahead_survival(scheme: Scheme, tokens: Tokens, system: System) -> float:
    r"""Survival below which one more draft costs more than it can bring, at the throughput that follows.

    .. math:: \theta = g^* c / \bar m, \qquad c = \tau_\mathrm{SLM} + \tau_\mathrm{up}(\text{a draft}),
              \quad \bar m = E[\text{chance that a draft is kept}]      \qquad \text{new here}

    Derivation: ``derivations.drafting.sync_tokens_per_round``.

    Parameters
    ----------
    scheme : Scheme
        Row whose draft rule is `UntilRisky` or `UntilRiskyOrTrigger`.
    tokens : Tokens
        Recorded tokens.
    system : System
        Device, server and link.

    Returns
    -------
    float
        :math:`\theta` [-], at most 1.

    Raises
    ------
    ValueError
        If the draft rule has no survival.

    Notes
    -----
    One more draft after a run that survives with chance P brings a token more with chance :math:`P \bar m`.
    Optimal where acceptances are i.i.d., for then the chance of a run only falls and to stop stays right;
    where the next draft is better than the average it stops too early. Found by iteration from 1.

    Examples
    --------
    See `stop_rules`.
    """
    if not isinstance(scheme.draft, UntilRisky):
        raise ValueError(f"scheme must draft until the survival falls; got {scheme.draft}")
    carried = scheme.payload.carried(tokens, system, scheme.skip)
    skips = scheme.skip.skips(tokens, drafts=True)
    ends, kept = scheme.draft.ends(tokens, skips), tokens.acceptance
    if scheme.draft.triggered:
        ends, kept, _ = scheme.verification.run(ends, kept, tokens.rejection)
    brings = float(tokens.weight @ ((1.0 - ends) * kept))
    tau = system.latency
    costs_s = (
        tau.slm_s + tau.llm.per_token_s + float(tokens.weight @ packet_latency_s(system.link, carried.bit))
    )
    theta = 1.0
    for _ in range(_STEPS):
        ledger = scheme.using(survival=theta).ledger(tokens, system)
        wanted = min(ledger.rate_token_per_s * costs_s / brings, 1.0) if brings > 0.0 else 1.0
        if abs(wanted - theta) < 1e-6:
            break
        theta = wanted
    return theta


Tuner = Callable[[Tokens, System, float], Scheme]
"""Finds the best numbers of a scheme on tokens, on a system, within a bias."""


def _cu_hlm(tokens: Tokens, system: System, bias: float) -> Scheme:
    point = operating_point(tokens, system, Budget(bias=bias), bound=False)
    numbers = {"threshold": point.threshold, "truncation_price_s": point.truncation_price_s}
    return SCHEMES["cu-hlm-exact"].using(**numbers)


def _quantile(tokens: Tokens, system: System, bias: float) -> Scheme:
    return at_bias(SCHEMES["kept-law"].keeping(KeepShare()), tokens, system, bias)


def _fixed(tokens: Tokens, system: System, bias: float) -> Scheme:
    counts = range(1, _MOST_DRAFTS + 1)
    return fastest((SCHEMES["dssd"].using(num_drafts=n) for n in counts), tokens, system)


def _top(tokens: Tokens, system: System, bias: float) -> Scheme:
    sizes = [int(k) for k in tokens.need("coarse_k_grid") if k <= system.codec.vocab_size]
    counts = range(1, _MOST_DRAFTS + 1)
    rows = (SCHEMES["tk-slt"].using(num_candidates=k, num_drafts=n) for k in sizes for n in counts)
    return fastest(rows, tokens, system)


def _unsure(tokens: Tokens, system: System, bias: float) -> Scheme:
    rules = (UntilUnsure(numbers["confidence"]) for numbers in UntilUnsure().options())
    return fastest((SCHEMES["confidence-stop"].drafting(rule) for rule in rules), tokens, system)


def _sync(tokens: Tokens, system: System, bias: float) -> Scheme:
    row = SCHEMES["verify-on-sync"]
    some = [row.using(threshold=t, bonus=bonus) for t in _thresholds(tokens) for bonus in (False, True)]
    return fastest(some, tokens, system)


def _risky(tokens: Tokens, system: System, bias: float) -> Scheme:
    curve = rejection_curve(tokens)
    rules = (UntilRisky(survival=theta, line=curve) for theta in _SURVIVALS)
    return fastest((SCHEMES["dssd"].drafting(rule) for rule in rules), tokens, system)


def _exact(tokens: Tokens, system: System, bias: float) -> Scheme:
    row = SCHEMES["kept-law-exact"].drafting(UntilTrigger())
    return fastest((row.using(threshold=t) for t in _thresholds(tokens)), tokens, system)


def _exact_risky(tokens: Tokens, system: System, bias: float) -> Scheme:
    """Threshold and survival in turn, until neither moves."""
    row = _exact(tokens, system, bias).drafting(UntilRiskyOrTrigger(0.0, rejection_curve(tokens)))
    for _ in range(4):
        before = row
        row = fastest((row.using(survival=theta) for theta in (0.0, *_SURVIVALS)), tokens, system)
        row = fastest((row.using(threshold=t) for t in _thresholds(tokens)), tokens, system)
        if row == before:
            break
    return row


def _looking_ahead(of: Tuner, rule: type[UntilRisky]) -> Tuner:
    def tune(tokens: Tokens, system: System, bias: float) -> Scheme:
        row = of(tokens, system, bias).drafting(rule(1.0, rejection_curve(tokens)))
        return row.using(survival=look_ahead_survival(row, tokens, system))

    return tune


TUNERS: dict[str, Tuner] = {
    "kept-law": lambda tokens, system, bias: at_bias(SCHEMES["kept-law"], tokens, system, bias),
    "kept-law, quantile": _quantile,
    "kept-law-exact": _exact,
    "kept-law-exact, survival": _exact_risky,
    "kept-law-exact, look-ahead": _looking_ahead(_exact_risky, UntilRiskyOrTrigger),
    "cu-hlm-exact": _cu_hlm,
    "dssd": _fixed,
    "dssd, survival": _risky,
    "dssd, look-ahead": _looking_ahead(_fixed, UntilRisky),
    "confidence-stop": _unsure,
    "verify-on-sync": _sync,
    "tk-slt": _top,
    "llm": lambda tokens, system, bias: SCHEMES["llm"],
}
"""How the schemes that are compared are tuned."""

AT_BUDGETS = (
    *("kept-law", "kept-law, quantile", "kept-law-exact", "kept-law-exact, survival"),
    *("cu-hlm-exact", "dssd", "dssd, survival", "confidence-stop", "verify-on-sync", "tk-slt", "llm"),
)
STOP_RULES = (
    *("dssd", "confidence-stop", "verify-on-sync", "dssd, survival", "dssd, look-ahead"),
    *("kept-law-exact", "kept-law-exact, survival", "kept-law-exact, look-ahead"),
)
_EXACT = frozenset((*STOP_RULES, "tk-slt", "llm"))  # one tuning serves every budget


def fastest(rows: Iterable[Scheme], tokens: Tokens, system: System) -> Scheme:
    """Return the scheme of most tokens a second; the first of equals.

    Parameters
    ----------
    rows : iterable of Scheme
        Rows with their numbers.
    tokens : Tokens
        Recorded tokens.
    system : System
        Device, server and link.

    Returns
    -------
    Scheme
        One of the rows.

    Raises
    ------
    ValueError
        If there is no row.
    """
    return max(rows, key=lambda row: row.ledger(tokens, system).rate_token_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A tuned scheme on the texts that it is judged on; per resample after the sample itself, [1 + B]."""

    name: str
    scheme: Scheme
    ledger: Ledger
    rate: Floats
    bits: Floats


def at_budgets(
    tokens: Tokens,
    system: System,
    *,
    budgets: Sequence[float] = BUDGETS,
    names: Sequence[str] = AT_BUDGETS,
    tuned_on: Tokens | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Table:
    """Compare schemes at several biases: tokens a second, bits up, and how far each is behind the best.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``, on which the schemes are judged.
    system : System
        Device, server and link.
    budgets : sequence of float
        Mean bias that may be spent [-].
    names : sequence of str
        Keys of `TUNERS`.
    tuned_on : Tokens, optional
        Tokens on which the numbers of the schemes are chosen; by default the same.
    num_resamples : int, default 1000
        Bootstrap resamples of the texts [-].
    seed : int, default 0
        Seed of the bootstrap; the same texts are drawn for every scheme [-].

    Returns
    -------
    Table
        A row a scheme and budget, ``name@budget``, fastest first within a budget; ``behind_best`` is the
        difference in tokens a second to the fastest, paired over texts.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or a budget is outside [0, 1].

    Notes
    -----
    A scheme that cannot be evaluated is left out. ``bias`` is that on the judged texts: a scheme that was
    tuned on others may have more than its budget.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> u = np.tile(np.linspace(0.0, 1.0, 40), 10)
    >>> tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(400) // 40)
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> names = ["kept-law", "dssd", "llm"]
    >>> table = at_budgets(tokens, system, budgets=[0.0, 0.1], names=names, num_resamples=20)
    >>> [row["name"] for row in table]
    ['dssd@0', 'llm@0', 'kept-law@0', 'kept-law@0.1', 'dssd@0.1', 'llm@0.1']
    """
    limits = [float(value) for value in as_probability("budgets", budgets)]
    resampling, rows = (num_resamples, seed), []
    exact = _judge(tokens, system, 0.0, [name for name in names if name in _EXACT], tuned_on, resampling)
    biased = [name for name in names if name not in _EXACT]
    for budget in limits:
        judged = exact + _judge(tokens, system, budget, biased, tuned_on, resampling)
        judged.sort(key=lambda one: -one.rate[0])
        best = judged[0].rate
        for one in judged:
            outcome = one.ledger.outcome()
            rows.append(
                {
                    "name": f"{one.name}@{budget:g}",
                    "scheme": one.name,
                    "budget": budget,
                    "throughput_token_per_s": float(one.rate[0]),
                    "throughput_ci95": _interval(one.rate),
                    "bits": float(one.bits[0]),
                    "bits_ci95": _interval(one.bits),
                    "skip_rate": outcome.skip_rate,
                    "bias": outcome.bias,
                    "bias_is_bound": outcome.bias_is_bound,
                    "behind_best": float(best[0] - one.rate[0]),
                    "behind_best_ci95": None if one is judged[0] else _interval(best - one.rate),
                    "numbers": one.scheme.numbers,
                }
            )
    return Table(rows, _SHOWN)


def fastest_at(table: Table) -> list[dict[str, Any]]:
    """Say which scheme is the fastest at each bias, and which cannot be told apart from it.

    Parameters
    ----------
    table : Table
        What `at_budgets` found.

    Returns
    -------
    list of dict
        ``budget``, ``scheme``, ``equal_within_error`` (schemes whose paired difference may be 0) and a
        ``sentence``, in the order of the budgets.

    Examples
    --------
    >>> rows = [
    ...     {"name": "a@0", "scheme": "a", "budget": 0.0, "behind_best_ci95": None},
    ...     {"name": "b@0", "scheme": "b", "budget": 0.0, "behind_best_ci95": (-0.1, 0.2)},
    ...     {"name": "c@0", "scheme": "c", "budget": 0.0, "behind_best_ci95": (0.1, 0.2)},
    ... ]
    >>> fastest_at(Table(rows, ()))[0]["sentence"]
    'at bias 0 a is the fastest (as fast within the error: b)'
    """
    found: dict[float, dict[str, Any]] = {}
    for row in table:
        first = found.setdefault(row["budget"], {"scheme": row["scheme"], "equal_within_error": []})
        if first["scheme"] != row["scheme"] and (row["behind_best_ci95"] or (1.0,))[0] <= 0.0:
            first["equal_within_error"].append(row["scheme"])
    said = []
    for budget, first in found.items():
        equal = ", ".join(first["equal_within_error"])
        tie = f" (as fast within the error: {equal})" if equal else ""
        sentence = f"at bias {budget:g} {first['scheme']} is the fastest{tie}"
        said.append({"budget": budget, **first, "sentence": sentence})
    return said


def stop_rules(
    tokens: Tokens,
    system: System,
    *,
    names: Sequence[str] = STOP_RULES,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Table:
    """Compare rules that end a run of drafts, tuned on half of the texts and judged on the other half.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    system : System
        Device, server and link.
    names : sequence of str
        Keys of `TUNERS`, exact schemes; differences are to the first.
    num_resamples : int, default 1000
        Bootstrap resamples of the texts [-].
    seed : int, default 0
        Seed of the halves and of the bootstrap [-].

    Returns
    -------
    Table
        A row a rule, fastest first; ``over_first`` is the difference in tokens a second, paired over texts.

    Raises
    ------
    ValueError
        If ``prompt`` is missing.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> rng = np.random.default_rng(0)
    >>> u = rng.random(800)
    >>> tokens = Tokens(uncertainty=u, rejection=u**2, prompt=np.arange(800) // 40)
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> table = stop_rules(tokens, system, names=["dssd", "dssd, survival"], num_resamples=20)
    >>> [row["name"] for row in table]
    ['dssd, survival', 'dssd']
    """
    tune, judge = halves(tokens, seed=seed)
    judged = _judge(judge, system, 0.0, names, tune, (num_resamples, seed))
    first = next(one.rate for one in judged if one.name == names[0])
    rows = []
    for one in judged:
        rows.append(
            {
                "name": one.name,
                "throughput_token_per_s": float(one.rate[0]),
                "throughput_ci95": _interval(one.rate),
                "over_first": float(one.rate[0] - first[0]),
                "over_first_ci95": None if one.name == names[0] else _interval(one.rate - first),
                "drafts": one.ledger.outcome().num_drafts,
                "rule": _said(one.scheme),
                "numbers": one.scheme.numbers,
            }
        )
    return Table(rows, _SHOWN_RULES)


def halves(tokens: Tokens, *, seed: int = 0) -> tuple[Tokens, Tokens]:
    """Split the texts at random into two halves.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    seed : int, default 0
        Seed of the split [-].

    Returns
    -------
    tuple of Tokens
        The halves; the second has the odd text.

    Raises
    ------
    ValueError
        If ``prompt`` is missing or there are fewer than 2 texts.

    Examples
    --------
    >>> tokens = Tokens(uncertainty=np.zeros(3), rejection=np.zeros(3), prompt=np.array([0, 1, 2]))
    >>> [len(half) for half in halves(tokens)]
    [1, 2]
    """
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    index, num_texts = bootstrap.cluster_index(tokens.prompt)
    if num_texts < 2:
        raise ValueError(f"tokens must come from at least 2 prompts; got {num_texts}")
    first = np.random.default_rng(seed).permutation(num_texts)[: num_texts // 2]
    chosen = np.isin(index, first)
    return tokens.only(chosen), tokens.only(~chosen)


def _judge(
    tokens: Tokens,
    system: System,
    budget: float,
    names: Sequence[str],
    tuned_on: Tokens | None,
    resampling: tuple[int, int],
) -> list[_Judged]:
    """Tune and evaluate, fastest first; schemes that cannot be are left out."""
    if tokens.prompt is None:
        raise ValueError("tokens must say which prompt each belongs to; prompt is missing")
    num_resamples, seed = resampling
    num_texts = len(np.unique(tokens.prompt))
    counts = bootstrap.cluster_counts(num_texts, num_resamples, np.random.default_rng(seed))
    counts = np.concatenate([np.ones((1, num_texts)), counts])
    judged = []
    for name in names:
        try:
            scheme = TUNERS[name](tokens if tuned_on is None else tuned_on, system, budget)
            ledger = scheme.ledger(tokens, system)
        except CuhlmError:
            continue
        sums = {key: counts @ value for key, value in ledger.sums("tokens", "seconds", "uplink_bit").items()}
        judged.append(
            _Judged(
                name=name,
                scheme=scheme,
                ledger=ledger,
                rate=sums["tokens"] / sums["seconds"],
                bits=sums["uplink_bit"] / sums["tokens"],
            )
        )
    return sorted(judged, key=lambda one: -one.rate[0])


def _said(scheme: Scheme) -> str:
    """Numbers of the stop rule, in words."""
    numbers = scheme.numbers
    names = ("num_drafts", "confidence", "survival", "bonus")
    parts = [f"{name} {numbers[name]:.3g}" for name in names if numbers.get(name) is not None]
    if scheme.draft.triggered:
        parts.append(f"threshold {numbers['threshold']:.3g}")
    return ", ".join(parts)


def _thresholds(tokens: Tokens) -> list[float]:
    """Thresholds of the trigger that are tried; the highest keep so many tokens that bits decide."""
    known = tokens.thresholds()
    some = known if len(known) <= _MOST_TRIED else np.quantile(known, np.linspace(0.0, 1.0, _MOST_TRIED))
    return [float(t) for t in (*some[some < _MOST_UNSURE[0]], *_MOST_UNSURE)]


def _interval(replicates: Floats) -> tuple[float, float] | None:
    """Percentile interval of what follows the sample's own value."""
    return Estimate.of(float(replicates[0]), replicates[1:]).ci95
