"""The operating point that a device can run: one threshold, one rule for k, within the recorded budgets."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats, as_nonnegative
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.optimisation.actions import Actions, Curves, actions, curves, pairs
from cuhlm_theory.optimisation.knapsack import Knapsack, lower_hull, solve
from cuhlm_theory.parameters import Budget, RateTrace, System

_SLACK = 1e-12  # rounding of sums of float32 columns that meet a budget with equality
_SORTED, _SAMPLED = 4096, 512  # steps that are sorted, and of which the others are halved


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One threshold and one multiplier; what they cost on the recorded tokens."""

    threshold: float
    """u_th: skip iff the uncertainty is at most this; negative skips nothing [-]."""
    truncation_price_s: float
    """mu: keep the k that minimises P_tx tau_up(k) + mu * TV_k [s]; 0 always keeps one entry."""
    risk: float
    """Mean bias of skipping, the larger of context average and recorded drafts [-]."""
    truncation: float
    """Mean bias that truncation may cause [-]."""
    latency_s: float
    """Mean latency of a token [s]."""
    binds: str
    """Which budget stops it from being faster: `bias`, `risk`, `truncation`, or `none`."""
    optimum_s: float | None
    """Latency of the best randomised single-draft policy that knows the risk of every context, which a device
    does not: a bound for those that truncate. None where it was not computed, the risks were not recorded,
    or the link is a trace [s]."""
    multiplier_s: float | None
    """lambda* of that optimum: what a unit of bias would save [s]."""
    dual_s: float | None
    """Lower bound on the latency of every policy within the budget [s]."""

    @property
    def bias(self) -> float:
        """Bound on the mean per-token bias [-]."""
        return self.risk + self.truncation

    @property
    def excess(self) -> float | None:
        """Latency above the best policy that knows every risk, relative [-]."""
        return None if self.optimum_s is None else self.latency_s / self.optimum_s - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edges:
    """Steps from the size of least loss towards one entry; M steps, those of a context in their order."""

    full_s: Floats  # what a transmission of the size of least loss costs, shape [N]
    least: Floats  # that loss, which is 0 unless quantisation is charged, shape [N]
    context: NDArray[np.int64]
    saved_s: Floats
    lost: Floats


def _edges(given: Curves) -> _Edges:
    cost_s = np.broadcast_to(given.send_s, given.truncation.shape)
    hull = lower_hull(given.truncation, cost_s)
    saved_s = given.send_s[hull[:, :-1]] - given.send_s[hull[:, 1:]]
    lost = np.diff(np.take_along_axis(given.truncation, hull, axis=1), axis=1)
    context, step = np.nonzero(saved_s > 0.0)
    return _Edges(
        full_s=given.send_s[hull[:, 0]],
        least=np.take_along_axis(given.truncation, hull[:, :1], axis=1)[:, 0],
        context=context,
        saved_s=saved_s[context, step],
        lost=lost[context, step],
    )


def operating_point(
    tokens: Tokens,
    system: System,
    budget: Budget,
    *,
    bias_price_s: float = 0.0,
    quantisation_tv: Floats | None = None,
    highest: float = 1.0,
    bound: bool = True,
) -> OperatingPoint:
    r"""Return the fastest threshold and truncation rule within the budgets.

    .. math:: \min_{u_\mathrm{th}, \mu} E[P_\mathrm{tx} (\tau_\mathrm{up}(k_\mu) + \tau_\mathrm{LLM})]
              \quad \text{s.t.} \quad R(u_\mathrm{th})
              + E[\mathrm{TV}_{k_\mu} 1\{P_\mathrm{tx} > 0\}] \le \epsilon      \qquad \text{[new]}

    with :math:`k_\mu(x) = \arg\min_k P_\mathrm{tx}(x) \tau_\mathrm{up}(k) + \mu \mathrm{TV}_k`, which the
    device finds without the server: truncation is due wherever the context may transmit, the airtime only
    when it does. For each recorded threshold the steps at which some context changes its k are taken, those
    that save most per bias first, as long as the budget lasts, which is exact. The result is deterministic;
    `solve` gives the best randomised single-draft policy that knows the risk of every context, a bound for
    those.
    Derivation: ``derivations.optimise.operating_point``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with truncation and skip profiles.
    system : System
        Device, server and link.
    budget : Budget
        Bias that may be spent, and its parts where they are fixed by hand.
    bias_price_s : float, default 0.0
        Seconds that a unit of bias costs, on top of the budget [s].
    quantisation_tv : ndarray, shape [K], optional
        TV that writing the probabilities with few bits adds at each size [-].
    highest : float, default 1.0
        Largest threshold that is tried [-].
    bound : bool, default True
        Whether to compute the best randomised policy too.

    Returns
    -------
    OperatingPoint
        Threshold, multiplier and what they cost.

    Raises
    ------
    MissingInputError
        If the tokens lack a profile.
    InfeasibleError
        If no threshold meets the budgets, or the link is dead and skipping everything exceeds them.

    Notes
    -----
    The risk of a threshold is estimated twice: averaged over all drafts of each recorded context, and on the
    drafts that were recorded. Both must stay within the budget. Where the contexts' risks were not recorded,
    the second stands alone, and nothing is proven.

    A skipped token adds the same seconds to whatever packet tells it, which a trace of rates only does on
    average: there nothing is proven, and the ledger of the point says what it takes.

    Examples
    --------
    >>> import numpy as np
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> tokens = Tokens(  # one context: x = (0.9, 0.1), y = (0.8, 0.2)
    ...     uncertainty=np.array([0.1, 0.9]),
    ...     rejection=np.array([1 / 9, 0.0]),
    ...     weight=np.array([0.9, 0.1]),
    ...     k_grid=np.array([1, 2]),
    ...     tv_profile=np.zeros((2, 2)),
    ...     threshold_grid=np.array([0.5, 1.0]),
    ...     skip_mass=np.array([[0.9, 1.0]] * 2),
    ...     skip_risk=np.array([[0.1, 0.1]] * 2),
    ... )
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e3, snr=1.0),
    ...     codec=Codec(vocab_size=2),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> operating_point(tokens, system, Budget(bias=0.05)).threshold
    -1.0
    >>> operating_point(tokens, system, Budget(bias=0.2)).threshold
    1.0
    """
    price_s = float(as_nonnegative("bias_price_s", bias_price_s))
    given = curves(tokens, system, quantisation_tv=quantisation_tv)
    alive = bool(np.all(np.isfinite(given.send_s)))
    risk = _risks(given, tokens)  # [J + 1]
    risk_limit = budget.bias if budget.risk is None else min(budget.bias, budget.risk)
    affordable = np.flatnonzero((risk <= risk_limit + _SLACK) & (given.thresholds <= highest))
    choices = []
    if alive:
        edges = _edges(given)
        fastest, multiplier_s = math.inf, price_s
        for j in affordable[::-1]:  # the largest threshold first: it skips most
            room = budget.bias - risk[j]
            if budget.truncation is not None:
                room = min(room, budget.truncation)
            room = float(max(room, 0.0))
            entry_s = float(given.weight @ given.transmit[:, j]) * float(np.min(given.send_s))
            if entry_s + price_s * risk[j] >= fastest:
                continue  # not even an entry a transmission beats it
            dual_s = _least_s(given, edges, int(j), multiplier_s) - (multiplier_s - price_s) * room
            if dual_s + price_s * risk[j] >= fastest:
                continue  # by weak duality, no truncation beats it
            found = _truncate(given, edges, int(j), room, price_s)
            if found is None:
                continue
            choices.append(found)
            total_s = found.latency_s + price_s * (risk[j] + found.truncation)
            if total_s < fastest:
                fastest, multiplier_s = total_s, max(found.price_s, price_s)
        if not choices:
            raise InfeasibleError(
                "no threshold meets the budgets, because quantisation alone exceeds them; raise bias_budget, "
                "truncation_budget or prob_bits"
            )
    else:
        choices = [_Choice(j=int(j)) for j in affordable if not np.any(given.transmit[:, j] > 0.0)]
        _refuse_dead_link(choices, float(risk[-1]), risk_limit)
    best = min(choices, key=lambda choice: choice.latency_s + price_s * (risk[choice.j] + choice.truncation))
    provable = alive and tokens.skip_risk is not None and not isinstance(system.link, RateTrace)
    relaxed = _randomised(given, budget) if bound and provable else None
    return OperatingPoint(
        threshold=float(given.thresholds[best.j]),
        truncation_price_s=best.price_s,
        risk=float(risk[best.j]),
        truncation=best.truncation,
        latency_s=given.base_s + best.latency_s,
        binds=_binding(budget, risk, best),
        optimum_s=None if relaxed is None else given.base_s + relaxed.latency_s,
        multiplier_s=None if relaxed is None else relaxed.multiplier_s,
        dual_s=None if relaxed is None else given.base_s + relaxed.dual_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The best truncation rule at one threshold."""

    j: int
    latency_s: float = 0.0
    truncation: float = 0.0
    price_s: float = 0.0
    stopped: bool = False  # whether the budget, not the price, ended the truncation


def _refuse_dead_link(choices: list[_Choice], risk: float, limit: float) -> None:
    if not choices:
        raise InfeasibleError(
            f"the link is dead and skipping every token costs a bias of {risk:.4g}, above the budget "
            f"{limit:.4g}; raise snr_db or bias_budget"
        )


def _risks(given: Curves, tokens: Tokens) -> Floats:
    """Return the larger of the two estimates of the risk at each threshold, shape [J + 1]."""
    drafts = [float(tokens.weight @ tokens.below(float(t), drafts=True).risk) for t in given.thresholds]
    return np.maximum(given.weight @ given.risk, drafts)


def _least_s(given: Curves, edges: _Edges, j: int, multiplier_s: float) -> float:
    """Least airtime of any truncation at a threshold, a unit of its bias at a price [s]."""
    airtime = given.weight * given.transmit[:, j]
    charged = multiplier_s * given.weight * (given.transmit[:, j] > 0.0)
    gain_s = airtime[edges.context] * edges.saved_s - charged[edges.context] * edges.lost
    return float(airtime @ edges.full_s + charged @ edges.least - np.maximum(gain_s, 0.0).sum())


def _truncate(given: Curves, edges: _Edges, j: int, room: float, price_s: float) -> _Choice | None:
    """Truncate as far as the room lasts: take the steps that save most per bias."""
    transmit = given.transmit[:, j]
    weight = given.weight * (transmit > 0.0)
    least = float(weight @ edges.least)
    if least > room + _SLACK:
        return None
    rate_s = transmit[edges.context] * edges.saved_s / edges.lost  # what a step saves per bias
    lost = weight[edges.context] * edges.lost
    worth = rate_s > price_s  # the others save less than they cost
    taken = rate_s > max(_last_left(rate_s, lost, room + _SLACK - least), price_s)
    airtime = given.weight * transmit
    saved_s = float(airtime[edges.context[taken]] @ edges.saved_s[taken])
    return _Choice(
        j=j,
        latency_s=max(float(airtime @ edges.full_s) - saved_s, 0.0),
        truncation=least + float(lost[taken].sum()),
        price_s=_between(rate_s, taken),
        stopped=bool(np.any(worth & ~taken)),
    )


def _last_left(rate_s: Floats, lost: Floats, room: float) -> float:
    """Return the largest rate such that all steps above it fit into the room; -inf where every step fits.

    As if the steps were sorted by their rate and taken one by one, equal ones together or not at all; but
    whole halves are taken or left at once, so that hardly any of them is ever sorted.
    """
    left = -math.inf
    while len(rate_s) > _SORTED:
        above = rate_s > np.median(rate_s[:: len(rate_s) // _SAMPLED])
        if not above.any():
            break  # most are equal
        spent = float(lost[above].sum())
        if spent <= room:
            room -= spent
            above = ~above
        else:
            left = float(np.max(rate_s[~above]))
        rate_s, lost = rate_s[above], lost[above]
    order = np.argsort(-rate_s)
    count = int(np.searchsorted(np.cumsum(lost[order]), room, side="right"))
    return float(rate_s[order[count]]) if count < len(order) else left


def _between(rate_s: Floats, taken: NDArray[np.bool_]) -> float:
    """Return a multiplier that takes these steps and no other."""
    if not taken.any():
        return 2.0 * float(rate_s.max(initial=0.0))
    return 0.0 if taken.all() else 0.5 * float(rate_s[taken].min() + rate_s[~taken].max())


def _randomised(given: Curves, budget: Budget) -> Knapsack:
    latency_s, bias, _, _ = pairs(given)
    return solve(latency_s, bias, given.weight, budget.bias)


def solve_curves(given: Curves, bias_budget: float) -> tuple[Actions, Knapsack]:
    """Return the actions of the recorded contexts and the best randomised policy over them.

    Parameters
    ----------
    given : Curves
        Trade-offs of the contexts.
    bias_budget : float
        Mean bias that may be spent [-].

    Returns
    -------
    tuple of Actions and Knapsack
        The knapsack and its solution; add `Curves.base_s` to its latencies.

    Raises
    ------
    InfeasibleError
        If the link is dead.

    Examples
    --------
    See `operating_point`.
    """
    table = actions(given)
    return table, solve(table.latency_s, table.bias, given.weight, bias_budget)


def _binding(budget: Budget, risk: Floats, best: _Choice) -> str:
    """Name the budget that stops the point from being faster."""
    if best.stopped:
        own = budget.truncation is not None and budget.truncation <= budget.bias - risk[best.j]
        return "truncation" if own else "bias"
    if best.j + 1 == len(risk):
        return "none"
    return "bias" if budget.risk is None or budget.risk >= budget.bias else "risk"
