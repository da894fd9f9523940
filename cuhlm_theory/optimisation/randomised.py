"""The best randomised policy that knows the risk of every context, found without a table of actions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats
from cuhlm_theory.optimisation.knapsack import Mixture, first_best, lower_hull, search
from cuhlm_theory.optimisation.sizes import Sizes, after

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
class Acts:
    """An action in each context, a threshold and a size, and the means."""

    each_s: Floats
    """Latency of each context, shape [N] [s]."""
    each_bias: Floats
    """Its bias, shape [N] [-]."""
    latency_s: float
    """Mean latency [s]."""
    bias: float
    """Mean bias [-]."""


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

    def between(self, first: Acts, second: Acts) -> "_Contexts":
        """Return the contexts in which two policies act differently, once these are few; else all."""
        here = self.vertices.context
        differ = (first.each_s != second.each_s) | (first.each_bias != second.each_bias)
        place = np.flatnonzero(differ[here])
        if len(place) > _SHRUNK * len(here):
            return self
        return _Contexts(vertices=self.vertices.only(place), sizes=self.sizes.only(place))


def randomised(vertices: Vertices, sizes: Sizes, weight: Floats, budget: float) -> Mixture[Acts]:
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
    Mixture
        Multiplier, latency on top of `Curves.base_s`, and its lower bound.

    Raises
    ------
    InfeasibleError
        If even the least bias exceeds the budget.

    Examples
    --------
    See `operating_point`.
    """
    left = _Contexts(vertices=vertices, sizes=sizes.only(vertices.context))

    def policy(acting: tuple[Floats, Floats], elsewhere: tuple[Floats, Floats]) -> Acts:
        each_s, each_bias = (one.copy() for one in elsewhere)
        each_s[left.vertices.context], each_bias[left.vertices.context] = acting
        latency_s, bias = float(weight @ each_s), float(weight @ each_bias)
        return Acts(each_s=each_s, each_bias=each_bias, latency_s=latency_s, bias=bias)

    def priced(price_s: float, within: Acts, beyond: Acts) -> Acts:
        nonlocal left
        left = left.between(within, beyond)
        return policy(left.priced(price_s), (within.each_s, within.each_bias))

    nowhere = np.empty(len(weight)), np.empty(len(weight))
    return search(policy(left.fastest(), nowhere), lambda: policy(left.safest(), nowhere), priced, budget)
