"""Minimise mean latency subject to a mean bias: a multiple-choice knapsack, solved and certified.

Each context takes one of A actions with a latency and a bias. Randomised policies make it a linear programme
with one coupling constraint, so one multiplier solves it.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import Floats, as_nonnegative, as_numbers, as_probability
from cuhlm_theory.errors import CuhlmError, InfeasibleError

_MAX_STEPS = 1000  # each step finds a new vertex of a convex curve; a few tens are usual
_APART = 1.02  # ratio of the first two prices around one that was told; squared with every further one
_TOO_FAR = 10.0


class Policy(Protocol):
    """What each context does, and the means of it."""

    @property
    def latency_s(self) -> float:
        """Mean latency [s]."""
        ...

    @property
    def bias(self) -> float:
        """Mean bias [-]."""
        ...


Kind = TypeVar("Kind", bound=Policy)


class Policies(Protocol[Kind]):
    """What may be done."""

    def fastest(self) -> Kind:
        """Policy of the least latency, and of those of the least bias."""
        ...

    def safest(self) -> Kind:
        """Policy of the least bias, and of those of the least latency."""
        ...

    def priced(self, price_s: float, within: Kind | None = None, beyond: Kind | None = None) -> Kind:
        """Best policy at a price of bias [s], between the prices of two policies where they are given."""
        ...

    def price_s(self, within: Kind, beyond: Kind) -> float:
        """Price of bias at which two policies cost the same [s], from the contexts in which they differ."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(Generic[Kind]):
    """The best randomised policy as a mixture of two, and the proof that none is better."""

    within: Kind
    """The policy that stays within the budget."""
    beyond: Kind
    """The one that exceeds it; ``within`` again where the budget is slack."""
    share: float
    """Chance to use ``beyond``; with it the budget is met with equality [-]."""
    multiplier_s: float
    """lambda*: latency that one more unit of bias would save [s]."""
    dual_s: float
    """Lower bound on the latency of every policy within the budget [s]."""
    num_steps: int
    """Multipliers tried."""

    @property
    def latency_s(self) -> float:
        """Mean latency of the mixture, the primal value [s]."""
        return (1.0 - self.share) * self.within.latency_s + self.share * self.beyond.latency_s

    @property
    def bias(self) -> float:
        """Its mean bias [-]."""
        return (1.0 - self.share) * self.within.bias + self.share * self.beyond.bias


def search(policies: Policies[Kind], budget: float, *, near_s: float = 0.0) -> Mixture[Kind]:
    """Mix the two policies between which the multiplier lies; bracket it until nothing lies between them.

    Derivation: ``derivations.optimise.lagrangian``.

    Parameters
    ----------
    policies : Policies
        What may be done.
    budget : float
        Mean bias that may be spent [-].
    near_s : float, default 0.0
        Where the multiplier is thought to lie, so that fewer are tried; 0 for no idea [s].

    Returns
    -------
    Mixture
        The two policies, the chance to use each, and the bound.

    Raises
    ------
    InfeasibleError
        If even the least bias exceeds the budget.

    Examples
    --------
    See `solve`.
    """
    within, beyond = _around(policies, budget, near_s)
    if beyond is None:
        beyond = policies.fastest()
        if beyond.bias <= budget:
            return Mixture(
                within=beyond,
                beyond=beyond,
                share=0.0,
                multiplier_s=0.0,
                dual_s=beyond.latency_s,
                num_steps=1,
            )
    if within is None:
        within = policies.safest()
        if within.bias > budget * (1.0 + 1e-12) + 1e-15:
            raise InfeasibleError(
                f"the least bias that any policy reaches is {within.bias:.4g}, above the budget "
                f"{budget:.4g}; raise bias_budget"
            )
    for step in range(2, _MAX_STEPS):
        price_s = policies.price_s(within, beyond)
        trial = policies.priced(price_s, within, beyond)
        if not within.bias < trial.bias < beyond.bias:
            return Mixture(
                within=within,
                beyond=beyond,
                share=min(max((budget - within.bias) / (beyond.bias - within.bias), 0.0), 1.0),
                multiplier_s=price_s,
                dual_s=trial.latency_s + price_s * (trial.bias - budget),
                num_steps=step,
            )
        within, beyond = (within, trial) if trial.bias > budget else (trial, beyond)
    raise CuhlmError(f"the multiplier was not found in {_MAX_STEPS} steps; scale latency_s and bias alike")


def _around(policies: Policies[Kind], budget: float, near_s: float) -> tuple[Kind | None, Kind | None]:
    """Return a policy within the budget and one beyond it, from prices further and further from one."""
    within = beyond = None
    price_s, apart = near_s, _APART
    while near_s > 0.0 and (within is None or beyond is None) and apart < _TOO_FAR:
        trial = policies.priced(price_s)
        if trial.bias > budget:
            beyond, price_s = trial, price_s * apart
        else:
            within, price_s = trial, price_s / apart
        apart *= apart
    return within, beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actions:
    """An action in each context, and the means."""

    action: NDArray[np.int64]
    latency_s: float
    bias: float


@dataclass(frozen=True, slots=True)
class _Table:
    """Policies over a table of actions."""

    latency_s: Floats  # shape [N, A]
    bias: Floats  # shape [N, A]
    weight: Floats  # shape [N]

    def fastest(self) -> _Actions:
        found = self._means(first_best(self.latency_s, self.bias))
        if not np.isfinite(found.latency_s):
            raise InfeasibleError("a context has no action of finite latency; raise snr_db or bias_budget")
        return found

    def safest(self) -> _Actions:
        return self._means(first_best(self.bias, self.latency_s))

    def priced(
        self, price_s: float, within: _Actions | None = None, beyond: _Actions | None = None
    ) -> _Actions:
        return self._means(np.argmin(self.latency_s + price_s * self.bias, axis=1))

    def price_s(self, within: _Actions, beyond: _Actions) -> float:
        saved_s = self._each(self.latency_s, within.action) - self._each(self.latency_s, beyond.action)
        added = self._each(self.bias, beyond.action) - self._each(self.bias, within.action)
        return float(self.weight @ saved_s) / float(self.weight @ added)

    def _means(self, action: NDArray[np.int64]) -> _Actions:
        latency_s, bias = (
            float(self.weight @ self._each(one, action)) for one in (self.latency_s, self.bias)
        )
        return _Actions(action=action, latency_s=latency_s, bias=bias)

    @staticmethod
    def _each(table: Floats, action: NDArray[np.int64]) -> Floats:
        return np.take_along_axis(table, action[:, None], axis=1)[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knapsack:
    """A solved knapsack: two policies, the chance to use each, and the proof that nothing is better."""

    within: NDArray[np.int64]
    """Action of each context under the policy that stays within the budget, shape [N]."""
    beyond: NDArray[np.int64]
    """Action under the policy that exceeds it, shape [N]; ``within`` again where the budget is slack."""
    share: float
    """Chance to use ``beyond``; with it the budget is met with equality [-]."""
    multiplier_s: float
    """lambda*: latency that one more unit of bias would save [s]."""
    latency_s: float
    """Mean latency of the randomised policy, the primal value [s]."""
    bias: float
    """Its mean bias [-]."""
    dual_s: float
    """Lower bound on the latency of every policy within the budget [s]."""
    num_steps: int
    """Multipliers tried."""

    @property
    def gap_s(self) -> float:
        """Primal minus dual value [s]; 0 up to rounding proves optimality."""
        return self.latency_s - self.dual_s

    @property
    def binds(self) -> bool:
        """Whether more bias would buy latency."""
        return self.multiplier_s > 0.0


def solve(latency_s: ArrayLike, bias: ArrayLike, weight: ArrayLike, budget: float) -> Knapsack:
    r"""Solve the knapsack in closed form.

    .. math:: \min_\pi \sum_{n, a} w_n \pi_{n a} \tau_{n a}
              \quad \text{s.t.} \quad \sum_{n, a} w_n \pi_{n a} \beta_{n a} \le \epsilon
              \qquad \text{[new]}

    Given :math:`\lambda` every context takes :math:`\arg\min_a \tau_{n a} + \lambda \beta_{n a}`. The
    search brackets :math:`\lambda^*` between a policy within the budget and one beyond it and tries the
    multiplier at which both cost the same, so it ends exactly at a breakpoint; there the two are mixed.
    Derivation: ``derivations.optimise.lagrangian``.

    Parameters
    ----------
    latency_s : array_like, shape [N, A]
        :math:`\tau`, latency of each action [s]; infinite for an action that cannot be taken.
    bias : array_like, shape [N, A]
        :math:`\beta`, bias of each action [-].
    weight : array_like, shape [N]
        :math:`w`, probability weights of the contexts [-].
    budget : float
        :math:`\epsilon`, mean bias that may be spent [-].

    Returns
    -------
    Knapsack
        Policy, multiplier, primal and dual value.

    Raises
    ------
    ValueError
        If shapes disagree, a latency is negative or the budget is outside [0, 1].
    InfeasibleError
        If even the least bias exceeds the budget, or a context has no action that can be taken.

    Examples
    --------
    Two equal contexts that may pay 1 s or a bias of 0.2 and 0.4: the cheaper one is bought first.

    >>> solved = solve([[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.2], [0.0, 0.4]], [0.5, 0.5], 0.2)
    >>> round(solved.latency_s, 9), round(solved.multiplier_s, 9), round(solved.share, 9)
    (0.25, 2.5, 0.5)
    """
    cost, loss, share = _checked(latency_s, bias, weight)
    found = search(_Table(cost, loss, share), float(as_probability("bias_budget", budget)))
    return Knapsack(
        within=found.within.action,
        beyond=found.beyond.action,
        share=found.share,
        multiplier_s=found.multiplier_s,
        latency_s=found.latency_s,
        bias=found.bias,
        dual_s=found.dual_s,
        num_steps=found.num_steps,
    )


def _checked(latency_s: ArrayLike, bias: ArrayLike, weight: ArrayLike) -> tuple[Floats, Floats, Floats]:
    cost = as_numbers("latency_s", latency_s)
    if cost.ndim != 2 or not np.all(cost >= 0.0):
        raise ValueError("latency_s must be a table [N, A] of at least 0 without NaN")
    loss = as_nonnegative("bias", bias)
    share = as_nonnegative("weight", weight)
    if loss.shape != cost.shape or share.shape != cost.shape[:1]:
        raise ValueError(
            f"bias and weight must have shapes {cost.shape} and {cost.shape[:1]}; "
            f"got {loss.shape} and {share.shape}"
        )
    return cost, np.where(np.isfinite(cost), loss, np.inf), share


def first_best(first: Floats, then: Floats) -> NDArray[np.int64]:
    """Return the action with the least ``first``, ties broken by the least ``then``.

    Parameters
    ----------
    first : ndarray of float64, shape [N, A]
        What is minimised, latency or bias [-].
    then : ndarray of float64, shape [N, A]
        What is minimised among equals [-].

    Returns
    -------
    ndarray of int64, shape [N]
        Places of the actions.

    Examples
    --------
    >>> first_best(np.array([[1.0, 0.5, 0.5]]), np.array([[0.0, 0.3, 0.2]]))
    array([2])
    """
    tied = first <= np.min(first, axis=1, keepdims=True)
    return np.argmin(np.where(tied, then, np.inf), axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a linear-programming solver says of the same problem."""

    primal_s: float
    """Optimal value that the solver reports [s]."""
    dual_s: float
    """Lower bound rebuilt from the solver's multiplier, whatever its tolerance [s]."""
    multiplier_s: float
    """Its multiplier of the bias budget [s]."""
    solver: str
    """Solver that was used."""


def solve_lp(latency_s: ArrayLike, bias: ArrayLike, weight: ArrayLike, budget: float) -> Certificate:
    r"""Solve the same knapsack as a linear programme in cvxpy and return its dual.

    Weak duality makes the multiplier of any solver a proof: for every :math:`\lambda \ge 0`,
    :math:`\sum_n w_n \min_a (\tau_{n a} + \lambda \beta_{n a}) - \lambda \epsilon` is a lower bound.
    Derivation: ``derivations.optimise.weak_duality``.

    Parameters
    ----------
    latency_s : array_like, shape [N, A]
        Latency of each action [s], finite or infinite.
    bias : array_like, shape [N, A]
        Bias of each action [-].
    weight : array_like, shape [N]
        Probability weights [-].
    budget : float
        Mean bias that may be spent [-].

    Returns
    -------
    Certificate
        The solver's value, its multiplier and the bound that follows.

    Raises
    ------
    ValueError
        If shapes disagree, a latency is negative or the budget is outside [0, 1].
    InfeasibleError
        If the solver finds no policy within the budget.

    Examples
    --------
    >>> certificate = solve_lp([[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.2], [0.0, 0.4]], [0.5, 0.5], 0.2)
    >>> round(certificate.primal_s, 6), round(certificate.dual_s, 6)
    (0.25, 0.25)
    """
    from scipy.sparse import csr_array

    cp: Any = importlib.import_module("cvxpy")  # takes seconds: only who asks for a certificate pays

    cost, loss, share = _checked(latency_s, bias, weight)
    budget = float(as_probability("bias_budget", budget))
    useful = np.isfinite(cost)
    # padding repeats an action
    useful[:, 1:] &= (cost[:, 1:] != cost[:, :-1]) | (loss[:, 1:] != loss[:, :-1])
    row, action = np.nonzero(useful)  # one variable an action that can be taken
    scale_s = float(np.max(cost[row, action], initial=0.0)) or 1.0
    each = len(share) * share[row]  # near 1, which the solver's tolerances suit
    chance = cp.Variable(len(row), nonneg=True)
    of_context = csr_array((np.ones(len(row)), (row, np.arange(len(row)))), shape=(len(share), len(row)))
    spent = (each * loss[row, action]) @ chance <= len(share) * budget
    goal = (each * cost[row, action] / scale_s) @ chance
    problem = cp.Problem(cp.Minimize(goal), [of_context @ chance == 1.0, spent])
    problem.solve(solver=cp.CLARABEL)
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise InfeasibleError(f"the solver reports {problem.status}; raise bias_budget")
    multiplier = scale_s * max(float(np.squeeze(spent.dual_value)), 0.0)
    with np.errstate(invalid="ignore"):  # a multiplier of 0 times an action that cannot be taken
        total = np.where(np.isfinite(cost), cost + multiplier * loss, np.inf)
    bound = float(share @ np.min(total, axis=1))
    return Certificate(
        primal_s=scale_s * float(problem.value) / len(share),
        dual_s=bound - multiplier * budget,
        multiplier_s=multiplier,
        solver=str(problem.solver_stats.solver_name),
    )


def lower_hull(bias: ArrayLike, latency_s: ArrayLike) -> NDArray[np.int64]:
    r"""Return the actions that some multiplier can choose: the vertices of the lower convex hull of each row.

    Derivation: ``derivations.optimise.hull``.

    Parameters
    ----------
    bias : array_like, shape [N, A]
        Bias of each action [-].
    latency_s : array_like, shape [N, A]
        Latency of each action [s], finite.

    Returns
    -------
    ndarray of int64, shape [N, H]
        Places of the vertices from the least bias to the least latency; the last one is repeated where a row
        has fewer than H.

    Raises
    ------
    ValueError
        If a value is negative or not finite.

    Examples
    --------
    >>> lower_hull([[0.0, 0.1, 0.2, 0.3]], [[1.0, 0.9, 0.2, 0.3]])
    array([[0, 2]])
    """
    loss, cost = as_nonnegative("bias", bias), as_nonnegative("latency_s", latency_s)
    if loss.ndim != 2 or loss.shape != cost.shape or not loss.shape[1]:
        raise ValueError(f"bias and latency_s must have one shape [N, A]; got {loss.shape} and {cost.shape}")
    if np.all(loss[:, :-1] > loss[:, 1:]):  # a truncation profile, sizes ascending
        order = np.broadcast_to(np.arange(loss.shape[1])[::-1], loss.shape)
    else:
        order = np.lexsort((cost, loss), axis=1)
    sorted_ = (np.ascontiguousarray(np.take_along_axis(one, order, axis=1).T) for one in (loss, cost))
    chain = _chain(*sorted_)  # [H, N]
    return np.take_along_axis(order, chain.T, axis=1)


def _chain(loss: Floats, cost: Floats) -> NDArray[np.int64]:
    """Rows of the vertices of each column, shape [H, N], by a monotone chain along a rising loss.

    A point that is not faster than the last vertex is none; one that is takes away those before it that lie
    on or above the chord, from which more is saved per unit of bias than on the way to them.
    """
    num = loss.shape[1]
    every = np.arange(num)
    vertex, depth = np.zeros(loss.shape, dtype=np.int64), np.zeros(num, dtype=np.int64)
    rate = np.full(loss.shape, np.inf)  # latency saved per unit of bias on the way to each vertex
    for k in range(1, len(loss)):
        here = every[cost[k] < cost[vertex[depth, every], every]]
        new_rate = np.empty(num)
        rows = here
        while rows.size:
            top = vertex[depth[rows], rows]
            found = (cost[top, rows] - cost[k, rows]) / (loss[k, rows] - loss[top, rows])
            new_rate[rows] = found
            rows = rows[rate[depth[rows], rows] <= found]
            depth[rows] -= 1
        depth[here] += 1
        vertex[depth[here], here], rate[depth[here], here] = k, new_rate[here]
    level = np.minimum(np.arange(depth.max() + 1)[:, None], depth)
    return np.take_along_axis(vertex, level, axis=0)
