"""Two ledgers side by side: what a scheme would do beside what it did, column by column."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from calibration.compare._rows import Floats, Kind, Ratios
from cuhlm_theory import bootstrap
from cuhlm_theory.schemes import Ledger


class Quantity(NamedTuple):
    """A ratio of two columns of a ledger, and where it says something."""

    name: str
    top: Callable[[Ledger], Floats]
    under: Callable[[Ledger], Floats]
    applies: Callable[[Ledger], Any] = lambda rounds: True


def _rounds(rounds: Ledger) -> Floats:
    return np.ones(len(rounds))


def _tokens(rounds: Ledger) -> Floats:
    return rounds.tokens


def _several(rounds: Ledger) -> bool:
    return bool(np.any(rounds.tokens != 1.0))


QUANTITIES = (
    Quantity(
        "skip rate",
        lambda rounds: 1.0 - rounds.llm_calls,
        _rounds,
        lambda rounds: 0.0 < rounds.mean(rounds.llm_calls) < 1.0,
    ),
    Quantity("risk", lambda rounds: rounds.risk, _tokens, lambda rounds: np.any(rounds.risk > 0.0)),
    Quantity("bias", lambda rounds: rounds.bias, _tokens, lambda rounds: np.any(rounds.bias > 0.0)),
    Quantity("tokens per round", _tokens, _rounds, _several),
    Quantity("drafts per token", lambda rounds: rounds.drafts, _tokens, _several),
    Quantity("LLM calls [1/token]", lambda rounds: rounds.llm_calls, _tokens, _several),
    Quantity("uplink [bit/token]", lambda rounds: rounds.uplink_bit, _tokens),
    Quantity("downlink [bit/token]", lambda rounds: rounds.downlink_bit, _tokens),
    Quantity("latency [s/token]", lambda rounds: rounds.seconds, _tokens),
    Quantity("throughput [token/s]", _tokens, lambda rounds: rounds.seconds),
    Quantity(
        "entries a transmission",
        lambda rounds: rounds.entries,
        lambda rounds: rounds.drafts * (rounds.llm_calls > 0.0),
        lambda rounds: np.any(rounds.entries > 0.0),
    ),
)
COSTS = ("uplink [bit/token]", "downlink [bit/token]", "latency [s/token]", "throughput [token/s]")

Sums = tuple[Floats, Floats]  # of each text, over and under the line, shape [P]


def per_text(prompt: Any, values: Floats) -> Floats:
    """Sum of values over the tokens or rounds of each text, shape [P]."""
    place = np.unique(prompt, return_inverse=True)[1].reshape(-1)
    return np.asarray(np.bincount(place, values), dtype=np.float64)


def sides(predicted: Ledger, measured: Ledger) -> list[tuple[str, Sums, Sums]]:
    """Return every quantity that says something of both ledgers, summed by text."""
    return [
        (quantity.name, _sums(quantity, predicted), _sums(quantity, measured))
        for quantity in QUANTITIES
        if quantity.applies(predicted) and _known(quantity, measured)
    ]


def _known(quantity: Quantity, rounds: Ledger) -> bool:
    return bool(np.all(np.isfinite(quantity.top(rounds)))) and quantity.under(rounds).sum() > 0.0


def _sums(quantity: Quantity, rounds: Ledger) -> Sums:
    columns = (rounds.weight * quantity.top(rounds), rounds.weight * quantity.under(rounds))
    return per_text(rounds.prompt, columns[0]), per_text(rounds.prompt, columns[1])


def add_pairs(
    table: Ratios,
    name: str,
    predicted: Ledger,
    measured: Ledger,
    *,
    only: Collection[str] = COSTS,
    claims: Callable[[str], dict[str, Any]],
) -> None:
    """Compare rounds that were run with what was expected at the same tokens, place by place.

    ``claims`` gives basis and kind of each quantity.
    """
    for quantity in QUANTITIES:
        if quantity.name not in only:
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
            **claims(quantity.name),
        )


def _expected(rounds: Ledger, values: Floats) -> Floats:
    """Mean over the kinds of round that a place can see, shape [N]."""
    assert rounds.place is not None
    return np.bincount(rounds.place, rounds.weight * values) / np.bincount(rounds.place, rounds.weight)


def two_samples(
    pairs: Sequence[tuple[str, Sums, Sums]], *, seed: int, num_resamples: int
) -> list[tuple[float, float, tuple[float, float] | None, float]]:
    """Ratio of sums in two independent samples: (first, second, interval of second - first, its error)."""

    def ratios(sums: Floats) -> Floats:
        return sums[..., : len(pairs)] / sums[..., len(pairs) :]

    results = []
    for stream in (0, 1):
        both = [pair[1 + stream] for pair in pairs]
        columns = np.column_stack([*(top for top, _ in both), *(under for _, under in both)])
        results.append(
            bootstrap.of_sums(
                ratios,
                columns,
                np.arange(len(columns)),
                num_resamples=num_resamples,
                rng=np.random.default_rng([seed, stream]),
                method="percentile",
            )
        )
    predicted, measured = results
    gaps = measured.replicates - predicted.replicates  # [B, pairs]
    low, high = bootstrap.percentile_interval(gaps)
    out = []
    for i in range(len(pairs)):
        known = predicted.interval(i) is not None and measured.interval(i) is not None
        gap = (float(low[i]), float(high[i])) if known else None
        error = float(np.std(gaps[:, i])) if known else 0.0
        out.append((float(predicted.estimate[i]), float(measured.estimate[i]), gap, error))
    return out


def kind_of(quantity: str, predicted: Ledger, told: str) -> Kind:
    """Whether theory claims a quantity, and whether only as a bound, which a bias with truncation is."""
    bounded = quantity == "bias" and (predicted.bias_is_bound or bool(np.any(predicted.truncation > 0.0)))
    if bounded:
        return "model bound" if told else "bound"
    return "model" if told else "equal"
