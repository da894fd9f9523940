"""The best randomised policy that knows the risk of every context, found without a table of actions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.optimisation.knapsack import Mixture, first_best, lower_hull, search
from cuhlm_theory.optimisation.sizes import Sizes, after

_SHRUNK = 0.5  # of the contexts: when fewer still act differently, the others are put aside
_STRIDE = 16  # one context of so many is in a sample
_LEAST = 64  # contexts of a sample


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """An action in each context, a threshold and a size, and the means."""

    each_s: Floats
    """Latency of each context, in the order of the vertices, shape [N] [s]."""
    each_bias: Floats
    """Its bias, shape [N] [-]."""
    latency_s: float
    """Mean latency [s]."""
    bias: float
    """Mean bias [-]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contexts:
    """Contexts in which the price of bias decides between actions; all of them, or those that are left."""

    number: NDArray[np.int64]  # of thresholds, not rising, shape [N]
    transmit: Floats  # at each, shape [A, N]
    risk: Floats
    sizes: Sizes

    def only(self, place: NDArray[np.int64]) -> "_Contexts":
        return _Contexts(
            number=self.number[place],
            transmit=np.take(self.transmit, place, axis=1),
            risk=np.take(self.risk, place, axis=1),
            sizes=self.sizes.only(place),
        )

    def actions(self, price_s: float) -> tuple[Floats, Floats]:
        """Latency [s] and bias of each threshold at the size that is best for a price, shape [A, N] each."""
        latency_s, bias = np.full((2, *self.transmit.shape), np.inf)
        for a in range(len(bias)):
            num = int(np.sum(self.number > a))
            transmit = self.transmit[a, :num]
            sends = transmit > 0.0
            steps = self.sizes.steps(np.divide(price_s, transmit, out=np.full(num, np.inf), where=sends))
            latency_s[a, :num] = transmit * after(self.sizes.send_s, steps)
            bias[a, :num] = self.risk[a, :num] + sends * after(self.sizes.lost, steps)
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


class _Policies:
    """Policies of some contexts; those whose action is settled between two prices are not looked at again."""

    def __init__(self, contexts: _Contexts, weight: Floats) -> None:
        self._weight, self._every = weight, contexts
        self._left, self._place = contexts, np.arange(len(weight))

    def fastest(self) -> Acts:
        return self._acts(*self._every.fastest())

    def safest(self) -> Acts:
        return self._acts(*self._every.safest())

    def priced(self, price_s: float, within: Acts | None = None, beyond: Acts | None = None) -> Acts:
        if within is None or beyond is None:
            return self._acts(*self._every.priced(price_s))
        differ = (within.each_s != beyond.each_s) | (within.each_bias != beyond.each_bias)
        place = np.flatnonzero(differ[self._place])
        if len(place) <= _SHRUNK * len(self._place):
            self._left, self._place = self._left.only(place), self._place[place]
        each_s, each_bias = within.each_s.copy(), within.each_bias.copy()
        each_s[self._place], each_bias[self._place] = self._left.priced(price_s)
        return self._acts(each_s, each_bias)

    def price_s(self, within: Acts, beyond: Acts) -> float:
        saved_s = self._weight @ (within.each_s - beyond.each_s)
        return float(saved_s / (self._weight @ (beyond.each_bias - within.each_bias)))

    def _acts(self, each_s: Floats, each_bias: Floats) -> Acts:
        latency_s, bias = float(self._weight @ each_s), float(self._weight @ each_bias)
        return Acts(each_s=each_s, each_bias=each_bias, latency_s=latency_s, bias=bias)


def randomised(vertices: Vertices, sizes: Sizes, weight: Floats, budget: float) -> Mixture[Acts]:
    r"""Solve the knapsack of `solve` over all thresholds and sizes of every context, in the same steps.

    A context that acts alike at two prices of bias does so at every price between them: only the others are
    looked at again. Where there are many contexts, a sample of them tells first about where the price lies.
    Derivation: ``derivations.optimise.settled``.

    Parameters
    ----------
    vertices : Vertices
        Thresholds of each context.
    sizes : Sizes
        Sizes of each context over the link, in the order of the vertices.
    weight : ndarray of float64, shape [N]
        Probability weights, in the order of the record [-].
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
    every = _Contexts(
        number=vertices.number,
        transmit=vertices.transmit,
        risk=vertices.risk,
        sizes=sizes,
    )
    share = weight[vertices.context]
    return search(_Policies(every, share), budget, near_s=_of_a_sample(every, share, budget))


def _of_a_sample(every: _Contexts, share: Floats, budget: float) -> float:
    """Price of bias to a part of the contexts; 0 where these are few, or it has none."""
    part = np.arange(0, len(share), _STRIDE)
    weight = share[part]
    if len(part) < _LEAST or not weight.any():
        return 0.0
    try:
        return search(_Policies(every.only(part), weight / weight.sum()), budget).multiplier_s
    except InfeasibleError:
        return 0.0
