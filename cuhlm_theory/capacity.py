"""Rates and latencies of the uplink (stub while the rest is written)."""

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_floats


def snr_from_db(snr_db: ArrayLike) -> Floats:
    """Linear SNR from dB."""
    return np.asarray(10.0 ** (as_floats("snr_db", snr_db) / 10.0))
