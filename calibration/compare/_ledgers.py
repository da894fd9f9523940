"""Two ledgers side by side: what a scheme would do beside what it did, column by column."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from calibration.compare._rows import Category, Floats, Ratios
from cuhlm_theory.schemes import Ledger, Scheme


class Quantity(NamedTuple):
    """A ratio of two columns of a ledger, and of which scheme it says something that no other one says."""

    name: str
    top: Callable[[Ledger], Floats]
    under: Callable[[Ledger], Floats]
    applies: Callable[[Scheme, Ledger], Any] = lambda scheme, rounds: True
    category: Category = "forecast"
    """What predicting it from a trace is: bits are charged by the formula that predicts them."""


def _rounds(rounds: Ledger) -> Floats:
    return np.ones(len(rounds))


def _tokens(rounds: Ledger) -> Floats:
    return rounds.tokens


QUANTITIES = (
    Quantity(
        "skip rate",
        lambda rounds: 1.0 - rounds.llm_calls,
        _rounds,
        lambda scheme, rounds: 0.0 < rounds.mean(rounds.llm_calls) < 1.0,
    ),
    Quantity(
        "risk",
        lambda rounds: rounds.risk,
        _tokens,
        lambda scheme, rounds: np.any(rounds.risk > 0.0) and not np.array_equal(rounds.risk, rounds.bias),
    ),
    Quantity("bias", lambda rounds: rounds.bias, _tokens, lambda scheme, rounds: np.any(rounds.bias > 0.0)),
    Quantity("tokens per round", _tokens, _rounds, lambda scheme, rounds: scheme.draft.several),
    Quantity(
        "drafts per token",
        lambda rounds: rounds.drafts,
        _tokens,
        lambda scheme, rounds: scheme.draft.follows_text,
    ),
    Quantity("uplink [bit/token]", lambda rounds: rounds.uplink_bit, _tokens, category="identity"),
    Quantity("downlink [bit/token]", lambda rounds: rounds.downlink_bit, _tokens, category="identity"),
    Quantity("throughput [token/s]", _tokens, lambda rounds: rounds.seconds),
    Quantity(
        "entries a transmission",
        lambda rounds: rounds.entries,
        lambda rounds: rounds.drafts * (rounds.llm_calls > 0.0),
        lambda scheme, rounds: np.any(rounds.entries > 0.0),
    ),
)
COSTS = {
    "uplink [bit/token]": "P_tx times the size of a message",
    "downlink [bit/token]": "P_tx times the size of an answer",
    "throughput [token/s]": "E[N]/E[D] (throughput.renewal_throughput)",
}
"""What a round costs, and what predicts it."""

Sums = tuple[Floats, Floats]  # of each text, over and under the line, shape [P]


def per_text(prompt: Any, values: Floats) -> Floats:
    """Sum of values over the tokens or rounds of each text, shape [P]."""
    place = np.unique(prompt, return_inverse=True)[1].reshape(-1)
    return np.asarray(np.bincount(place, values), dtype=np.float64)


def sums(quantity: Quantity, rounds: Ledger) -> Sums:
    """Sum top and bottom of a ratio over the rounds of each text."""
    columns = (rounds.weight * quantity.top(rounds), rounds.weight * quantity.under(rounds))
    return per_text(rounds.prompt, columns[0]), per_text(rounds.prompt, columns[1])


def add_pairs(
    table: Ratios,
    name: str,
    predicted: Ledger,
    measured: Ledger,
    *,
    basis: str,
    measures_time: bool,
) -> None:
    """Compare what rounds cost with what was expected at the same tokens, place by place.

    Bits are charged by the formula that predicts them, and so are seconds unless the run ``measures_time``.
    """
    for quantity in QUANTITIES:
        if quantity.name not in COSTS:
            continue
        top, under = quantity.top(predicted), quantity.under(predicted)
        over = _expected(predicted, under)
        left = top - under * np.sum(_expected(predicted, top)) / np.sum(over)
        variance = _expected(predicted, left**2) - _expected(predicted, left) ** 2
        table.add(
            f"{name}: {quantity.name}",
            _expected(predicted, top),
            quantity.top(measured),
            over=(over, quantity.under(measured)),
            variance=np.clip(variance, 0.0, None),
            basis=f"{COSTS[quantity.name]}, {basis}",
            category="internal" if measures_time and quantity.category != "identity" else "identity",
        )


def _expected(rounds: Ledger, values: Floats) -> Floats:
    """Mean over the kinds of round that a place can see, shape [N]."""
    assert rounds.place is not None
    return np.bincount(rounds.place, rounds.weight * values) / np.bincount(rounds.place, rounds.weight)
