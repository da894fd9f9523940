"""What laws are asked everywhere: what one has beyond another, and their entropy."""

import numpy as np

from cuhlm_theory._checks import Floats


def excess_law(law: Floats, other: Floats) -> Floats:
    """Return what ``law`` has beyond ``other``, scaled to sum to 1; ``law`` itself where that is nothing."""
    excess = np.maximum(law - other, 0.0)
    total = excess.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(total > 0.0, excess / np.where(total > 0.0, total, 1.0), law))


def entropy_nat(law: Floats) -> Floats:
    """Return the entropy of laws along their last axis [nat]; an entry of 0 adds nothing."""
    return np.asarray(-np.sum(law * np.log(np.where(law > 0.0, law, 1.0)), axis=-1))
