"""The text while it grows: what is committed, when it ends, who is told."""

from collections.abc import Callable, Collection, Sequence

from calibration.decoding.records import Decoded, Row, columns
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes import Scheme


class Stage:
    """Committed text of one decoding; ``on_rows`` is told of each round, a stop token is committed too."""

    def __init__(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        stop_tokens: Collection[int],
        *,
        measure: bool,
        scheme: Scheme,
        system: System,
        on_rows: Callable[[list[Row]], None] | None = None,
    ) -> None:
        self.text = list(prompt)
        self.rows: list[Row] = []
        self.max_new_tokens = max_new_tokens
        self.stop_tokens = frozenset(stop_tokens)
        self.measure = measure
        self.scheme = scheme
        self.system = system
        self.on_rows = on_rows

    @property
    def num_new(self) -> int:
        """Tokens committed so far."""
        return len(self.rows)

    @property
    def room(self) -> int:
        """Tokens that may still be committed."""
        return self.max_new_tokens - self.num_new

    @property
    def finished(self) -> bool:
        """Whether the text has ended."""
        return self.room <= 0 or (bool(self.rows) and self.rows[-1]["token"] in self.stop_tokens)

    def decoded(self) -> Decoded:
        """Return what was committed."""
        return Decoded(
            tokens=self.text[len(self.text) - self.num_new :],
            columns=columns(self.rows),
            scheme=self.scheme,
            system=self.system,
        )

    def commit(self, rows: list[Row]) -> None:
        """Append the tokens of a round."""
        self.rows.extend(rows)
        self.text.extend(row["token"] for row in rows)
        if self.on_rows is not None:
            self.on_rows(rows)
