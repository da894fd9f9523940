"""The operating point that a device can run: one threshold, one rule for k, within the recorded budgets."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats, as_nonnegative
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.optimisation.actions import Actions, Curves, actions, curves
from cuhlm_theory.optimisation.knapsack import Knapsack, solve
from cuhlm_theory.optimisation.randomised import Vertices, randomised
from cuhlm_theory.optimisation.sizes import Profile, Sizes, after
from cuhlm_theory.parameters import Budget, RateTrace, System

_SLACK = 1e-12  # rounding of sums of float32 columns that meet a budget with equality
_SORTED = 4096  # steps at most, of hundreds of thousands


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
    risk = _risks(given, tokens)  # [J + 1]
    risk_limit = budget.bias if budget.risk is None else min(budget.bias, budget.risk)
    affordable = np.flatnonzero((risk <= risk_limit + _SLACK) & (given.thresholds <= highest))
    relaxed = None
    if np.all(np.isfinite(given.send_s)):
        charged = quantisation_tv is not None
        sizes = _sizes(given, tokens, charged=charged)
        best = _fastest(given, sizes, risk, affordable, budget, price_s)
        if bound and tokens.skip_risk is not None and not isinstance(system.link, RateTrace):
            vertices = tokens.once("vertices", lambda: Vertices.of(given.transmit, given.risk))
            ordered = _sizes(given, tokens, charged=charged, order=vertices.context)
            relaxed = randomised(vertices, ordered, given.weight, budget.bias)
    else:
        best = _skipping_all(given, risk, affordable, risk_limit, price_s)
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


def _sizes(given: Curves, tokens: Tokens, *, charged: bool, order: NDArray[np.int64] | None = None) -> Sizes:
    """Sizes over the link; what they lose is kept with the tokens, unless quantisation is charged too."""

    def profile() -> Profile:
        return Profile.of(given.truncation if order is None else given.truncation[order])

    name = "profile" if order is None else "ordered profile"
    return Sizes.of(profile() if charged else tokens.once(name, profile), given.send_s)


def _risks(given: Curves, tokens: Tokens) -> Floats:
    """Return the larger of the two estimates of the risk at each threshold, shape [J + 1]."""
    place = tokens.once("place", lambda: np.searchsorted(given.thresholds, tokens.uncertainty))
    num = len(given.thresholds)
    drafts = np.bincount(place, tokens.weight * tokens.rejection, minlength=num)[:num]
    return np.maximum(given.weight @ given.risk, np.cumsum(drafts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The best truncation rule at one threshold."""

    j: int
    latency_s: float = 0.0
    truncation: float = 0.0
    price_s: float = 0.0
    stopped: bool = False  # whether the budget, not the price, ended the truncation


def _skipping_all(
    given: Curves, risk: Floats, affordable: NDArray[np.int64], limit: float, price_s: float
) -> _Choice:
    """Return the best threshold at which nothing is sent, over a dead link."""
    silent = [int(j) for j in affordable if not np.any(given.transmit[:, j] > 0.0)]
    if not silent:
        raise InfeasibleError(
            f"the link is dead and skipping every token costs a bias of {risk[-1]:.4g}, above the budget "
            f"{limit:.4g}; raise snr_db or bias_budget"
        )
    return _Choice(j=min(silent, key=lambda j: price_s * risk[j]))


def _fastest(
    given: Curves,
    sizes: Sizes,
    risk: Floats,
    affordable: NDArray[np.int64],
    budget: Budget,
    price_s: float,
) -> _Choice:
    """Return the best threshold with its truncation, the largest first: it skips most."""
    best, fastest, multiplier_s = None, math.inf, price_s
    entry_s = (given.weight @ given.transmit) * float(np.min(given.send_s))  # [J + 1]
    for j in affordable[::-1]:
        room = budget.bias - risk[j]
        if budget.truncation is not None:
            room = min(room, budget.truncation)
        room = float(max(room, 0.0))
        if entry_s[j] + price_s * risk[j] >= fastest:
            continue  # not even an entry a transmission beats it
        here = _Threshold(j=int(j), sizes=sizes, transmit=given.transmit[:, j], weight=given.weight)
        priced = here.priced(multiplier_s)
        dual_s = priced.latency_s + multiplier_s * (priced.truncation - room) + price_s * room
        if dual_s + price_s * risk[j] >= fastest:
            continue  # by weak duality, no truncation beats it
        found = here.truncated(room + _SLACK, price_s, priced)
        if found is None:
            continue
        total_s = found.latency_s + price_s * (risk[j] + found.truncation)
        if total_s < fastest:
            best, fastest, multiplier_s = found, total_s, max(found.price_s, price_s)
    if best is None:
        raise InfeasibleError(
            "no threshold meets the budgets, because quantisation alone exceeds them; raise bias_budget, "
            "truncation_budget or prob_bits"
        )
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truncation:
    """How many steps each context takes towards one entry, and what that makes of all."""

    steps: NDArray[np.int64]
    latency_s: float
    truncation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Threshold:
    """One threshold, at which a price of truncation chooses the size in every context."""

    j: int
    sizes: Sizes
    transmit: Floats  # shape [N]
    weight: Floats  # shape [N]

    def priced(self, price_s: float) -> _Truncation:
        """Take every step that saves more than a price per bias."""
        never = np.full(len(self.weight), np.inf)
        return self._taking(
            self.sizes.steps(np.divide(price_s, self.transmit, out=never, where=self.transmit > 0.0))
        )

    def _taking(self, steps: NDArray[np.int64]) -> _Truncation:
        send_s, lost = after(self.sizes.send_s, steps), after(self.sizes.lost, steps)
        return _Truncation(
            steps=steps,
            latency_s=float(self.weight @ (self.transmit * send_s)),
            truncation=float(self.weight @ (lost * (self.transmit > 0.0))),
        )

    def truncated(self, room: float, price_s: float, tried: _Truncation) -> _Choice | None:
        """Truncate as far as the room lasts: take the steps that save most per bias, above the price."""
        within, beyond = self.priced(math.inf), self.priced(price_s)
        if within.truncation > room:
            return None
        if beyond.truncation <= room:
            within = beyond
        else:
            within, beyond = (tried, beyond) if tried.truncation <= room else (within, tried)
            within = self._last(within, beyond, room)
        taken_s, left_s = self._ends(within.steps)
        return _Choice(
            j=self.j,
            latency_s=within.latency_s,
            truncation=within.truncation,
            price_s=_between(taken_s, left_s),
            stopped=left_s is not None and left_s > price_s,
        )

    def _last(self, within: _Truncation, beyond: _Truncation, room: float) -> _Truncation:
        """Go from two prices that enclose the room to the last step that fits; equal ones together or not.

        The price at which both cost the same lies between them, so that few steps are left to be sorted.
        """
        while np.sum(beyond.steps - within.steps) > _SORTED:
            saved_s = within.latency_s - beyond.latency_s
            trial = self.priced(saved_s / (beyond.truncation - within.truncation))
            if any(np.array_equal(trial.steps, end.steps) for end in (within, beyond)):
                break  # most save the same
            within, beyond = (trial, beyond) if trial.truncation <= room else (within, trial)
        more = beyond.steps - within.steps
        context = np.repeat(np.arange(len(more)), more)
        first = np.cumsum(more) - more
        step = within.steps[context] + np.arange(len(context)) - first[context]
        rate_s, lost = self._rate_s(step, context), self._paid(step, context)
        order = np.argsort(-rate_s)
        spent = np.cumsum((self.weight[context] * lost)[order])
        fit = int(np.searchsorted(spent, room - within.truncation, side="right"))
        if fit == len(order):
            return beyond
        taken = context[rate_s > rate_s[order[fit]]]
        return self._taking(within.steps + np.bincount(taken, minlength=len(more)))

    def _paid(self, step: NDArray[np.int64], context: NDArray[np.int64]) -> Floats:
        return self.sizes.lost[step + 1, context] - self.sizes.lost[step, context]

    def _rate_s(self, step: NDArray[np.int64], context: NDArray[np.int64]) -> Floats:
        """Return what each step of its context saves per bias."""
        return self.transmit[context] * self.sizes.saved_s(step, context) / self._paid(step, context)

    def _ends(self, steps: NDArray[np.int64]) -> tuple[float | None, float | None]:
        """Return what the worst step taken and the best one left save per bias; None where there is none."""
        taken, more = np.flatnonzero(steps > 0), np.flatnonzero(steps < len(self.sizes.rate_s))
        more = more[self.sizes.rate_s[steps[more], more] > 0.0]
        return (
            float(self._rate_s(steps[taken] - 1, taken).min()) if taken.size else None,
            float(self._rate_s(steps[more], more).max()) if more.size else None,
        )


def _between(taken_s: float | None, left_s: float | None) -> float:
    """Return a multiplier that takes the steps of at least the one rate, and none of at most the other."""
    if taken_s is None:
        return 2.0 * (left_s or 0.0)
    return 0.0 if left_s is None else 0.5 * (taken_s + left_s)


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
