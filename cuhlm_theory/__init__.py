"""Closed forms and optimisers for communication-efficient hybrid language models.

>>> import cuhlm_theory as cuhlm
>>> cuhlm.SCHEMES["kept-law"].title
'U-HLM that sends what it would have kept, to a server that draws the rest'

The names below are the front door; a formula is found in the module of its subject, such as
`cuhlm_theory.truncation`. Nothing here loads a model, and nothing is imported before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuhlm_theory.capacity import packet_latency_s as packet_latency_s
    from cuhlm_theory.capacity import rate_bit_per_s as rate_bit_per_s
    from cuhlm_theory.capacity import snr_from_db as snr_from_db
    from cuhlm_theory.contexts import Tokens as Tokens
    from cuhlm_theory.crossover import Change as Change
    from cuhlm_theory.errors import CuhlmError as CuhlmError
    from cuhlm_theory.errors import DivergentError as DivergentError
    from cuhlm_theory.errors import InfeasibleError as InfeasibleError
    from cuhlm_theory.errors import MissingInputError as MissingInputError
    from cuhlm_theory.errors import PacketError as PacketError
    from cuhlm_theory.estimate import Estimate as Estimate
    from cuhlm_theory.law import NEVER_SKIP as NEVER_SKIP
    from cuhlm_theory.law import Beta as Beta
    from cuhlm_theory.law import Law as Law
    from cuhlm_theory.law import Recorded as Recorded
    from cuhlm_theory.law import Threshold as Threshold
    from cuhlm_theory.law import Uniform as Uniform
    from cuhlm_theory.law import parse_law as parse_law
    from cuhlm_theory.parameters import Budget as Budget
    from cuhlm_theory.parameters import Codec as Codec
    from cuhlm_theory.parameters import Latency as Latency
    from cuhlm_theory.parameters import Link as Link
    from cuhlm_theory.parameters import Passes as Passes
    from cuhlm_theory.parameters import System as System
    from cuhlm_theory.payload import distribution_bit as distribution_bit
    from cuhlm_theory.recommendation import Question as Question
    from cuhlm_theory.recommendation import Recommendation as Recommendation
    from cuhlm_theory.recommendation import optimise as optimise
    from cuhlm_theory.rejection import Line as Line
    from cuhlm_theory.rooms import load as load
    from cuhlm_theory.schemes import SCHEMES as SCHEMES
    from cuhlm_theory.schemes import Ledger as Ledger
    from cuhlm_theory.schemes import Outcome as Outcome
    from cuhlm_theory.schemes import Scheme as Scheme
    from cuhlm_theory.schemes import at_bias as at_bias
    from cuhlm_theory.schemes import at_bits as at_bits
    from cuhlm_theory.schemes import line_up as line_up
    from cuhlm_theory.table import Table as Table
    from cuhlm_theory.truncation import exact_k as exact_k
    from cuhlm_theory.truncation import printed_k as printed_k
    from cuhlm_theory.uncertainty import mean_uncertainty as mean_uncertainty
    from cuhlm_theory.uncertainty import sampled_uncertainty as sampled_uncertainty

_PLACES = {
    "capacity": ("packet_latency_s", "rate_bit_per_s", "snr_from_db"),
    "contexts": ("Tokens",),
    "crossover": ("Change",),
    "errors": ("CuhlmError", "DivergentError", "InfeasibleError", "MissingInputError", "PacketError"),
    "estimate": ("Estimate",),
    "law": ("NEVER_SKIP", "Beta", "Law", "Recorded", "Threshold", "Uniform", "parse_law"),
    "parameters": ("Budget", "Codec", "Latency", "Link", "Passes", "System"),
    "payload": ("distribution_bit",),
    "recommendation": ("Question", "Recommendation", "optimise"),
    "rejection": ("Line",),
    "rooms": ("load",),
    "schemes": ("SCHEMES", "Ledger", "Outcome", "Scheme", "at_bias", "at_bits", "line_up"),
    "table": ("Table",),
    "truncation": ("exact_k", "printed_k"),
    "uncertainty": ("mean_uncertainty", "sampled_uncertainty"),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
