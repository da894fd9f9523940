"""Every published scheme as four rules that own their numbers, evaluated into one ledger of rounds.

`SCHEMES` holds the rows; ``SCHEMES[name].using(...)`` sets the numbers, ``.ledger(tokens, system)`` says what
each round does and costs, and ``.outcome()`` of that averages. `at_bias` and `at_bits` line the schemes up.
"""

from cuhlm_theory.contexts import NEVER_SKIP
from cuhlm_theory.schemes.evaluation import best_num_drafts, resolved
from cuhlm_theory.schemes.ledger import Ledger, Outcome, charged, hlm_latency_s, joined, single_draft_floor_s
from cuhlm_theory.schemes.lineup import at_bias, at_bits, at_its_best, line_up
from cuhlm_theory.schemes.payload import lattice_bit
from cuhlm_theory.schemes.rounds import Rounds, independent_rounds, recorded_rounds
from cuhlm_theory.schemes.schedule import independent_scheduled_rounds, recorded_scheduled_rounds
from cuhlm_theory.schemes.shares import FittedShares, ShareFamily, best_shares
from cuhlm_theory.schemes.skip import KeepShare
from cuhlm_theory.schemes.table import SCHEMES, Scheme, scheme

__all__ = [
    "NEVER_SKIP",
    "SCHEMES",
    "FittedShares",
    "KeepShare",
    "Ledger",
    "Outcome",
    "Rounds",
    "Scheme",
    "ShareFamily",
    "at_bias",
    "at_bits",
    "at_its_best",
    "best_num_drafts",
    "best_shares",
    "charged",
    "hlm_latency_s",
    "independent_rounds",
    "independent_scheduled_rounds",
    "joined",
    "lattice_bit",
    "line_up",
    "recorded_rounds",
    "recorded_scheduled_rounds",
    "resolved",
    "scheme",
    "single_draft_floor_s",
]
