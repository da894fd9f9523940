"""Packets of every context by size: the chain of steps from the size of least loss towards one entry."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats
from cuhlm_theory.optimisation.knapsack import lower_hull


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What each size loses in the recorded contexts, the largest first, whatever the link; K sizes."""

    lost: Floats
    """TV at each size, shape [K, N] [-]."""
    paid: Floats
    """TV that each step to the next smaller size adds, shape [K - 1, N] [-]."""
    bend: Floats
    """Least ratio of that to the step before, over contexts, shape [K - 2]; 0 where one adds nothing [-]."""

    @classmethod
    def of(cls, truncation: Floats) -> "Profile":
        """Return the profile of truncation losses, shape [N, K], sizes ascending."""
        lost = np.ascontiguousarray(truncation.T[::-1])
        paid = np.diff(lost, axis=0)
        bend = np.zeros(max(len(paid) - 1, 0))
        if np.all(paid > 0.0):
            bend = np.min(paid[1:] / paid[:-1], axis=1)
        return cls(lost=lost, paid=paid, bend=bend)

    def convex(self, saved_s: Floats) -> bool:
        """Whether every size is chosen at some price in every context, where the steps save so much [s]."""
        falls = np.all(saved_s > 0.0) and np.all(self.paid[:1] > 0.0)
        return bool(falls and np.all(self.bend * saved_s[:-1] > saved_s[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes that some price of truncation chooses in each context over a link; up to H steps between."""

    rate_s: Floats
    """What a step saves per TV where a transmission is sure, falling, 0 beyond the last, shape [H, N] [s]."""
    lost: Floats
    """TV after so many steps, shape [H + 1, N] [-]."""
    send_s: Floats
    """Seconds by which a transmission is slower than a skip after so many steps, shape [H + 1] where every
    context takes the same steps, else [H + 1, N] [s]."""

    @classmethod
    def of(cls, profile: Profile, send_s: Floats) -> "Sizes":
        """Return the sizes that can be chosen where each takes so long, shape [K], sizes ascending [s]."""
        falling_s = send_s[::-1]
        saved_s = -np.diff(falling_s)
        if profile.convex(saved_s):
            rate_s = saved_s[:, None] / profile.paid
            return cls(rate_s=rate_s, lost=profile.lost, send_s=np.ascontiguousarray(falling_s))
        rising = profile.lost[::-1]  # sizes ascending, [K, N]
        hull = lower_hull(rising.T, np.broadcast_to(send_s, rising.T.shape)).T  # [H + 1, N]
        lost, left_s = np.take_along_axis(rising, hull, axis=0), send_s[hull]
        saved_s, paid = -np.diff(left_s, axis=0), np.diff(lost, axis=0)
        rate_s = np.divide(saved_s, paid, out=np.zeros_like(paid), where=saved_s > 0.0)
        return cls(rate_s=rate_s, lost=lost, send_s=left_s)

    def steps(self, level_s: Floats) -> NDArray[np.int64]:
        """Count the steps that save more than a level per TV, in as many first contexts as have one."""
        over = self.rate_s[:, : len(level_s)] > level_s
        return np.sum(over, axis=0, dtype=np.min_scalar_type(len(self.lost))).astype(np.int64)

    def only(self, contexts: NDArray[np.int64]) -> "Sizes":
        """Return the sizes of some of the contexts."""
        alike = self.send_s.ndim == 1
        return Sizes(
            rate_s=np.take(self.rate_s, contexts, axis=1),
            lost=np.take(self.lost, contexts, axis=1),
            send_s=self.send_s if alike else np.take(self.send_s, contexts, axis=1),
        )

    def saved_s(self, step: NDArray[np.int64], context: NDArray[np.int64]) -> Floats:
        """Seconds that a step of each of some contexts saves, shape of both [s]."""
        if self.send_s.ndim == 1:
            return self.send_s[step] - self.send_s[step + 1]
        return self.send_s[step, context] - self.send_s[step + 1, context]


def after(table: Floats, steps: NDArray[np.int64]) -> Floats:
    """Value of each of the first contexts after its own number of steps, in a table of its own or of all.

    Parameters
    ----------
    table : ndarray of float64, shape [H, N] or [H]
        Values by steps and contexts, in one piece, of any unit [-].
    steps : ndarray of int64, shape [n]
        Row of each of the first n contexts [-].

    Returns
    -------
    ndarray of float64, shape [n]
        One value a context [-].

    Examples
    --------
    >>> after(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0]))
    array([3., 2.])
    """
    if table.ndim == 1:
        return table.take(steps)
    return table.take(steps * table.shape[1] + np.arange(len(steps)))
