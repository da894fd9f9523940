"""The fastest policy within a bias budget: a knapsack with its certificate, and a point a device can run."""

from cuhlm_theory.optimise.actions import Actions, Curves, actions, curves, separable_actions
from cuhlm_theory.optimise.knapsack import Certificate, Knapsack, lower_hull, solve, solve_lp
from cuhlm_theory.optimise.operating import OperatingPoint, operating_point, solve_curves

__all__ = [
    "Actions",
    "Certificate",
    "Curves",
    "Knapsack",
    "OperatingPoint",
    "actions",
    "curves",
    "lower_hull",
    "operating_point",
    "separable_actions",
    "solve",
    "solve_curves",
    "solve_lp",
]
