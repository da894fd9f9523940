"""Special functions of scipy, imported when the first of them is called.

``import scipy.special`` takes longer than what `cuhlm optimize` computes on an AWGN link, which needs none
of them. Use as ``special.lambertw(...)`` after ``from cuhlm_theory import _special as special``.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module("scipy.special"), name)
