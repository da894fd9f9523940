"""The best randomised policy that knows the risk of every context, found without a table of actions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.optimisation.knapsack import first_best, lower_hull
from cuhlm_theory.optimisation.sizes import Sizes, after

_MAX_STEPS = 1000  # each finds a new vertex of a convex curve; some tens are usual
_SHRUNK = 0.5  # of the contexts: when fewer still act differently, the others are put aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertices:
    """Thresholds that some price of bias can choose in each context; those of most vertices come first."""

    context: NDArray[np.int64]
    """Place of each context among the recorded ones, shape [N]."""
    number: NDArray[np.int64]
    """How many thresholds it has, not rising, shape [N]."""
    transmit: Floats
    """Chance to transmit, falling, the last one repeated, shape [A, N] [-]."""
    risk: Floats
    """Risk, rising, shape [A, N] [-]."""

    @classmethod
    def of(cls, transmit: Floats, risk: Floats) -> "Vertices":
        """Return the vertices of the hulls of what happens at all thresholds, shape [N, J] each."""
        hull = lower_hull(risk, transmit)
        number = 1 + np.sum(np.diff(hull, axis=1) != 0, axis=1)
        context = np.argsort(-number, kind="stable")
        return cls(
            context=context,
            number=number[context],
            transmit=np.take(np.take_along_axis(transmit, hull, axis=1).T, context, axis=1),
            risk=np.take(np.take_along_axis(risk, hull, axis=1).T, context, axis=1),
        )

    def only(self, place: NDArray[np.int64]) -> "Vertices":
        """Return the vertices of some contexts, by their rising places here."""
        return Vertices(
            context=self.context[place],
            number=self.number[place],
            transmit=np.take(self.transmit, place, axis=1),
            risk=np.take(self.risk, place, axis=1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """The best randomised policy, and the proof that none is better."""

    multiplier_s: float
    """lambda*: latency that one more unit of bias would save [s]."""
    latency_s: float
    """Mean latency on top of `Curves.base_s` [s]."""
    dual_s: float
    """Lower bound on it [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """An action in each context, a threshold and a size, and the means."""

    each_s: Floats  # shape [N]
    each_bias: Floats  # shape [N]
    latency_s: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contexts:
    """Contexts in which the price of bias decides between actions."""

    vertices: Vertices
    sizes: Sizes  # of the contexts in the order of the vertices

    def actions(self, price_s: float) -> tuple[Floats, Floats]:
        """Latency [s] and bias of each threshold at the size that is best for a price, shape [A, N] each."""
        latency_s, bias = np.full((2, *self.vertices.transmit.shape), np.inf)
        for a in range(len(bias)):
            num = int(np.sum(self.vertices.number > a))
            transmit = self.vertices.transmit[a, :num]
            sends = transmit > 0.0
            steps = self.sizes.steps(np.divide(price_s, transmit, out=np.full(num, np.inf), where=sends))
            latency_s[a, :num] = transmit * after(self.sizes.send_s, steps)
            bias[a, :num] = self.vertices.risk[a, :num] + sends * after(self.sizes.lost, steps)
        return latency_s, bias

    def priced(self, price_s: float) -> tuple[Floats, Floats]:
        """Latency [s] and bias of the best action of each context at a price of bias, shape [N] each."""
        latency_s, bias = self.actions(price_s)
        best = np.argmin(latency_s + price_s * bias, axis=0)
        return after(latency_s, best), after(bias, best)

    def fastest(self) -> tuple[Floats, Floats]:
        """Those of the least latency in each context, and of that the least bias."""
        latency_s, bias = self.actions(0.0)
        best = first_best(latency_s.T, bias.T)
        return after(latency_s, best), after(bias, best)

    def safest(self) -> tuple[Floats, Floats]:
        """Those of the least bias in each context, and of that the least latency."""
        latency_s, bias = self.actions(np.inf)
        best = first_best(bias.T, latency_s.T)
        return after(latency_s, best), after(bias, best)

    def between(self, first: _Policy, second: _Policy) -> "_Contexts":
        """Return the contexts in which two policies act differently, once these are few; else all."""
        here = self.vertices.context
        differ = (first.each_s != second.each_s) | (first.each_bias != second.each_bias)
        place = np.flatnonzero(differ[here])
        if len(place) > _SHRUNK * len(here):
            return self
        return _Contexts(vertices=self.vertices.only(place), sizes=self.sizes.only(place))


def randomised(vertices: Vertices, sizes: Sizes, weight: Floats, budget: float) -> Relaxed:
    r"""Solve the knapsack of `solve` over all thresholds and sizes of every context, in the same steps.

    A context that acts alike at two prices of bias does so at every price between them: only the others are
    looked at again.
    Derivation: ``derivations.optimise.settled``.

    Parameters
    ----------
    vertices : Vertices
        Thresholds of each context.
    sizes : Sizes
        Sizes of each context over the link.
    weight : ndarray of float64, shape [N]
        Probability weights [-].
    budget : float
        Mean bias that may be spent [-].

    Returns
    -------
    Relaxed
        Multiplier, latency and its lower bound.

    Raises
    ------
    InfeasibleError
        If even the least bias exceeds the budget.

    Examples
    --------
    See `operating_point`.
    """
    left = _Contexts(vertices=vertices, sizes=sizes.only(vertices.context))

    def policy(acting: tuple[Floats, Floats], elsewhere: tuple[Floats, Floats]) -> _Policy:
        each_s, each_bias = (one.copy() for one in elsewhere)
        each_s[left.vertices.context], each_bias[left.vertices.context] = acting
        latency_s, bias = float(weight @ each_s), float(weight @ each_bias)
        return _Policy(each_s=each_s, each_bias=each_bias, latency_s=latency_s, bias=bias)

    nowhere = np.empty(len(weight)), np.empty(len(weight))
    beyond = policy(left.fastest(), nowhere)
    if beyond.bias <= budget:
        return Relaxed(multiplier_s=0.0, latency_s=beyond.latency_s, dual_s=beyond.latency_s)
    within = policy(left.safest(), nowhere)
    if within.bias > budget * (1.0 + 1e-12) + 1e-15:
        raise InfeasibleError(
            f"the least bias that any policy reaches is {within.bias:.4g}, above the budget {budget:.4g}; "
            f"raise bias_budget"
        )
    for _ in range(_MAX_STEPS):
        saved_s, spread = within.latency_s - beyond.latency_s, beyond.bias - within.bias
        price_s = saved_s / spread
        trial = policy(left.priced(price_s), (within.each_s, within.each_bias))
        lowest_s = trial.latency_s + price_s * trial.bias
        corner_s = within.latency_s + price_s * within.bias
        if lowest_s >= corner_s - 1e-13 * abs(corner_s):
            share = min(max((budget - within.bias) / spread, 0.0), 1.0)
            latency_s = (1.0 - share) * within.latency_s + share * beyond.latency_s
            return Relaxed(multiplier_s=price_s, latency_s=latency_s, dual_s=lowest_s - price_s * budget)
        within, beyond = (within, trial) if trial.bias > budget else (trial, beyond)
        left = left.between(within, beyond)
    raise CuhlmError(f"the multiplier was not found in {_MAX_STEPS} steps; scale latency_s and bias alike")
