"""The one step that speculative sampling and the kept law share."""

import numpy as np

from cuhlm_theory._checks import Floats


def excess_law(law: Floats, other: Floats) -> Floats:
    """Return what ``law`` has beyond ``other``, scaled to sum to 1; ``law`` itself where that is nothing."""
    excess = np.maximum(law - other, 0.0)
    total = excess.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(total > 0.0, excess / np.where(total > 0.0, total, 1.0), law))
