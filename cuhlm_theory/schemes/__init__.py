"""Every published scheme as a row of data, evaluated by one function into the same columns.

`SCHEMES` holds the rows, `Policy` their free numbers, `evaluate` turns a row and recorded tokens into an
`Outcome`, `at_bias` and `at_bits` line the schemes up.
"""

from cuhlm_theory.schemes.evaluate import evaluate, floor_s, hlm_latency_s
from cuhlm_theory.schemes.lineup import at_bias, at_bits, line_up
from cuhlm_theory.schemes.rounds import Rounds, independent_rounds, recorded_rounds
from cuhlm_theory.schemes.table import (
    NEVER_SKIP,
    SCHEMES,
    Outcome,
    Policy,
    Scheme,
    lattice_bit,
    scheme,
)

__all__ = [
    "NEVER_SKIP",
    "SCHEMES",
    "Outcome",
    "Policy",
    "Rounds",
    "Scheme",
    "at_bias",
    "at_bits",
    "evaluate",
    "floor_s",
    "hlm_latency_s",
    "independent_rounds",
    "lattice_bit",
    "line_up",
    "recorded_rounds",
    "scheme",
]
