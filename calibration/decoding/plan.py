"""From a calibration to the numbers a scheme decodes with: the operating point that the theory recommends."""

import math
from typing import Any

import numpy as np

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.optimisation import operating_point
from cuhlm_theory.parameters import Budget, System
from cuhlm_theory.schemes import SCHEMES, Scheme, at_its_best
from cuhlm_theory.schemes.payload import KeptSet


def recommended(tokens: Tokens | None, system: System, budget: Budget) -> dict[str, Any]:
    """Return the numbers of the recommended operating point, for every scheme (`Scheme.given`).

    Threshold and price are those of the operating point. The rules with a budget get the part of the bias
    that the point spends on truncation, the fixed size is the smallest whose mean TV stays within it, and
    random skipping gets the skip rate of the threshold. A published line has no tokens, which raises
    `MissingInputError`.
    """
    if tokens is None:
        raise MissingInputError(
            "a published line has no recorded tokens to find an operating point with; give --threshold, or "
            "--calibration smollm2"
        )
    point = operating_point(tokens, system, budget, bound=False)
    return {
        "threshold": point.threshold,
        "truncation_price_s": point.truncation_price_s,
        "truncation_budget": min(max(point.truncation, 1e-6), 1.0),
        "offline_k": offline_size(tokens, point.truncation),
        "skip_rate": skip_rate(tokens, system, point.threshold),
    }


def own_threshold(scheme: Scheme, tokens: Tokens, system: System, bias: float) -> Scheme:
    """Return a scheme that keeps a law at its own best threshold: it spends no bias on truncation."""
    return at_its_best(scheme, tokens, system, bias) if isinstance(scheme.payload, KeptSet) else scheme


def offline_size(tokens: Tokens, budget: float) -> int:
    """Return the smallest recorded k whose mean truncation TV is within the budget, else the largest."""
    sizes, profile = tokens.size_profile()
    within = np.flatnonzero(tokens.weight @ profile <= budget + 1e-9)
    return int(sizes[within[0] if len(within) else -1])


def skip_rate(tokens: Tokens, system: System, threshold: float) -> float:
    """Return the share of tokens that a threshold skips, between 0 and 1."""
    rate = SCHEMES["u-hlm"].using(threshold=threshold).ledger(tokens, system).outcome().skip_rate
    return min(max(rate, 0.0), 1.0) if math.isfinite(rate) else 0.0


def sizes(tokens: Tokens | None) -> tuple[int, ...] | None:
    """Return the truncation sizes that were recorded, which a price of theirs chooses among."""
    return None if tokens is None or tokens.k_grid is None else tuple(map(int, tokens.k_grid))
