"""One builder of a system from what was said, what is known, and what is assumed."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING
from typing import Any, TypeVar

from cuhlm_theory._fields import Quantity, quantities, renamed
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Codec, FixedRate, Latency, Link, System, Uplink
from cuhlm_theory.rate_trace import read_rate_trace
from cuhlm_theory.throughput import framed

Kind = TypeVar("Kind")
_TRACE, _FRAME = "rate_trace", "frame_bit"
_RUNGS = ("option", "scenario", "preset")


class Ladder:
    """Builds descriptions; each number is that of the highest rung that has it.

    The rungs are ``option`` (of the values, those said by the user), ``scenario`` (those that a file said),
    ``preset`` (numbers of a published or typical setting), the names of ``known`` things such as a
    ``calibration``, ``assumed``, and the ``default`` of the description. Without ``assume``, what a
    calibration may know must be known. ``told`` keeps the numbers and ``provenance`` their rungs, both by the
    keys of the fields.

    Examples
    --------
    >>> ladder = Ladder({"slm_latency_s": 0.01, "snr_db": 20.0})
    >>> ladder.system().link.snr
    100.0
    >>> ladder.provenance["snr_db"], ladder.provenance["llm_latency_s"]
    ('option', 'assumed')
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        known: Mapping[str, Any] | None = None,
        *,
        scenario: Collection[str] = (),
        preset: Mapping[str, Any] | None = None,
        assume: bool = True,
    ) -> None:
        said = {key: value for key, value in values.items() if value is not None}
        self.known, self.scenario, self.assume = known or {}, scenario, assume
        self.preset = {key: value for key, value in (preset or {}).items() if key not in said}
        self.values = self.preset | said
        self.told: dict[str, Any] = {}
        self.provenance: dict[str, str] = {}

    def system(self) -> System:
        """Return the link, the codec and the latencies; what frames a request makes its round trip longer."""
        found = self.build(System, link=self.link(), codec=self.build(Codec), latency=self.build(Latency))
        if (frame_bit := self.values.get(_FRAME)) is None:
            return found
        self.told[_FRAME], self.provenance[_FRAME] = frame_bit, self._said_in(_FRAME)
        return framed(found, frame_bit)

    def link(self) -> Uplink:
        """Return the uplink: by its rate or a trace of it where that was said, else by bandwidth and SNR."""
        (rate,) = quantities(FixedRate)
        keys = [key for key in (_TRACE, rate, *quantities(Link)) if self.values.get(key) is not None]
        highest = min((_RUNGS.index(self._said_in(key)) for key in keys), default=0)
        said = [key for key in keys if _RUNGS.index(self._said_in(key)) == highest]
        if not said or said[0] not in (_TRACE, rate):
            return self.build(Link)
        if len(said) > 1:
            raise ValueError(f"{said[0]} stands instead of {said[1]}; got both")
        if said[0] == rate:
            return self.build(FixedRate)
        self.told[_TRACE], self.provenance[_TRACE] = self.values[_TRACE], self._said_in(_TRACE)
        return read_rate_trace(self.values[_TRACE])

    def build(self, kind: type[Kind], **parts: Any) -> Kind:
        """Return a description of ``kind``; what has no fields of its own is given in ``parts``."""
        fields = quantities(kind)
        values = {one.keyword: self.find(one) for one in fields.values()}
        try:
            return kind(**parts, **values)
        except ValueError as error:
            raise renamed(error, {one.keyword: key for key, one in fields.items()}) from None

    def find(self, one: Quantity) -> Any:
        """Return the number of one field; remember it and its rung."""
        self.told[one.key], self.provenance[one.key] = value, _ = self._rung(one)
        return value

    def _rung(self, one: Quantity) -> tuple[Any, str]:
        if (said := self.values.get(one.key)) is not None:
            return said, self._said_in(one.key)
        if one.calibrated and self.values.get(str(one.calibrated)) is None:
            for rung, thing in self.known.items():
                if (value := getattr(thing, one.key, None)) is not None:
                    return value, rung
        if one.assumed is not MISSING and (self.assume or not one.calibrated):
            return one.assumed, "assumed"
        if one.default is MISSING:
            raise MissingInputError(f"{one.key} is not known; give it, or a calibration that has it")
        return one.default, "default"

    def _said_in(self, key: str) -> str:
        if key in self.preset:
            return "preset"
        return "scenario" if key in self.scenario else "option"

    @property
    def assumed(self) -> list[str]:
        """Keys of what nobody said."""
        return [key for key, rung in self.provenance.items() if rung == "assumed"]
