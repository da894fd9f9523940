"""The fastest policy within a bias budget: a knapsack with its certificate, and a point a device can run."""

from cuhlm_theory.optimisation.actions import Actions, Curves, actions, curves, separable_actions
from cuhlm_theory.optimisation.joint import Candidate, Joint, joint_optimum, quantisation_profile
from cuhlm_theory.optimisation.knapsack import Certificate, Knapsack, lower_hull, solve, solve_lp
from cuhlm_theory.optimisation.operating import OperatingPoint, operating_point, solve_curves

__all__ = [
    "Actions",
    "Candidate",
    "Certificate",
    "Curves",
    "Joint",
    "Knapsack",
    "OperatingPoint",
    "actions",
    "curves",
    "joint_optimum",
    "lower_hull",
    "operating_point",
    "quantisation_profile",
    "separable_actions",
    "solve",
    "solve_curves",
    "solve_lp",
]
