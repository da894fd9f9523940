"""What would have to change for skipping to be the fastest: one crossing a quantity, if there is one.

At fixed thresholds and draft counts the latency of a token is linear in the latencies of device and server,
in the round trip and in the inverse of the rate, whatever the channel model; so the best of a set of schemes
is the lower envelope of lines, and where two envelopes cross is found without evaluating a scheme again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cuhlm_theory._checks import Floats
from cuhlm_theory.schemes.ledger import Ledger

_GRID = np.geomspace(1.0, 1e4, 400)  # factors by which a quantity may change


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value of one quantity at which a scheme that skips becomes the fastest."""

    quantity: str
    """Name of the option that sets it."""
    value: float
    """Where the two are equally fast; unit as the name says."""
    now: float
    """Its value in the question."""
    then: str
    """The scheme that is the fastest beyond."""

    def __str__(self) -> str:
        more = "at least" if self.value > self.now else "at most"
        return (
            f"{self.then} is the fastest once {self.quantity} is {more} {self.value:.3g} (now {self.now:.3g})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Latency of a scheme as a function of what may change, a token."""

    name: str
    slm: float  # drafts
    llm: float  # passes
    round_trip: float  # rounds that are answered
    air_s: float
    rest_s: float


def _line(ledger: Ledger) -> _Line:
    drafts, calls, asked = map(ledger.per_token, (ledger.drafts, ledger.llm_calls, ledger.answered))
    latency = ledger.system.latency
    known_s = asked * latency.round_trip_s + drafts * latency.slm_s + calls * latency.llm_s
    return _Line(
        name=ledger.scheme,
        slm=drafts,
        llm=calls,
        round_trip=asked,
        air_s=ledger.per_token(ledger.uplink_s),
        rest_s=ledger.per_token(ledger.off_air_s) - known_s,
    )


def changes(skipping: Sequence[Ledger], others: Sequence[Ledger]) -> list[Change]:
    """Find the changes of one quantity that make a scheme that skips the fastest.

    Parameters
    ----------
    skipping : sequence of Ledger
        Schemes that skip, at the settings that the budget allows.
    others : sequence of Ledger
        The schemes to beat.

    Returns
    -------
    list of Change
        At most one each for the LLM's latency, the SLM's, the round trip and the rate.
    """
    first, second = ([_line(one) for one in side] for side in (skipping, others))
    latency = others[0].system.latency

    def envelope(lines: Sequence[_Line], what: str, value: Floats) -> tuple[Floats, Sequence[str]]:
        now = {"slm": latency.slm_s, "llm": latency.llm_s, "round_trip": latency.round_trip_s, "air": 1.0}
        at = {name: np.asarray(number) for name, number in now.items()} | {what: value}
        seconds = np.stack(
            [
                one.slm * at["slm"]
                + one.llm * at["llm"]
                + one.round_trip * at["round_trip"]
                + one.air_s * at["air"]
                + one.rest_s
                + np.zeros(value.shape)
                for one in lines
            ]
        )
        return seconds.min(axis=0), [lines[place].name for place in seconds.argmin(axis=0)]

    found = []
    ways: Mapping[str, tuple[str, float, Callable[[Floats], Floats]]] = {
        "llm_latency_s": ("llm", latency.llm_s, lambda factor: latency.llm_s * factor),
        "slm_latency_s": (
            "slm",
            latency.slm_s,
            lambda factor: latency.slm.fixed_s / factor + latency.slm.per_token_s,
        ),
        "round_trip_s": (
            "round_trip",
            latency.round_trip_s,
            lambda factor: latency.round_trip_s + 1e-3 * (factor - 1.0),
        ),
        "rate, times that of now": ("air", 1.0, lambda factor: 1.0 / factor),
    }
    for quantity, (what, now, value_at) in ways.items():
        values = value_at(_GRID)

        def gap(value: Floats, what: str = what) -> Floats:
            return envelope(first, what, value)[0] - envelope(second, what, value)[0]

        ahead = np.flatnonzero(gap(values) < 0.0)
        if not len(ahead) or ahead[0] == 0:
            continue
        near = np.linspace(values[ahead[0] - 1], values[ahead[0]], len(_GRID))
        place = int(np.flatnonzero(gap(near) < 0.0)[0])
        ends = gap(near[place - 1 : place + 1])  # linear in between, but for a kink that is closer still
        crossing = float(near[place - 1] + (near[place] - near[place - 1]) * ends[0] / (ends[0] - ends[1]))
        then = envelope(first, what, values[ahead[:1]])[1][0]
        shown = 1.0 / crossing if what == "air" else crossing
        found.append(Change(quantity=quantity, value=shown, now=now, then=then))
    return found
