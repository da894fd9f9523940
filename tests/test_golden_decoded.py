"""The decoder says today what it said before: same tokens, same columns.

``golden/decoded.jsonl`` holds a text for many schemes under three conventions, decoded by two tables of
logits in place of models. ``python -m tests.test_golden_decoded`` writes the texts anew.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.decoding import CONVENTIONS, Clock, Opening, ServerText, Settings, laws, loop, scheme_of
from calibration.decoding.session import drive
from calibration.decoding.stage import Stage
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES

VOCAB = 16
FILE = Path(__file__).parent / "golden" / "decoded.jsonl"
GOLDEN = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


class Table:
    """Stands for a cached model: logits by the last token alone."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits, self.seconds = logits, 0.125
        self.held: list[int] = []

    def catch_up(self, text: Any, keep: int = 1) -> np.ndarray:
        fed = list(text[len(self.held) :])
        assert 1 <= keep <= len(fed)
        self.held += fed
        return self.logits[np.array(fed[-keep:])]

    def rollback(self, num_tokens: int) -> None:
        del self.held[num_tokens:]


def decoded(row: dict[str, Any]) -> Any:
    settings = Settings(
        scheme=scheme_of(row),
        temperature=0.9,
        max_new_tokens=24,
        convention=CONVENTIONS[row["convention"]],
    )
    system = System(
        link=Link(bandwidth_hz=1e3, snr=3.0),
        codec=Codec(vocab_size=VOCAB),
        latency=Latency(**({"slm_s": 0.01, "llm_s": 0.1, "charge_resync": False} | row["latency"])),
    )
    small = np.random.default_rng(1).normal(size=(VOCAB, VOCAB)) * 2.0
    large = small + np.random.default_rng(2).normal(size=(VOCAB, VOCAB))
    stage = Stage([1, 2], 24, (), measure=True, scheme=settings.scheme, system=system)
    opening, own = Opening.of([1, 2], settings, system.codec, np.random.default_rng(7))
    server = ServerText(opening, Table(large))
    drive(loop(Table(small), server, settings, Clock(system=system), laws.Draws(own), stage))
    return stage.decoded()


def test_every_scheme_is_held_to_three_conventions():
    known = {row["scheme"] for row in GOLDEN}
    assert known <= SCHEMES.keys()
    assert (len(known), len(GOLDEN)) == (17, 3 * 17)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['scheme']}-{row['convention']}")
def test_tokens_and_columns_are_those_of_before(row):
    found = decoded(row)
    assert found.tokens == row["tokens"]
    for name, values in row["columns"].items():
        expected = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        np.testing.assert_allclose(found.columns[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)


def rewrite() -> None:
    """Write every text anew, decoded as its row says."""
    lines = []
    for row in GOLDEN:
        found = decoded(row)
        columns = {
            name: [None if np.isnan(value) else float(f"{value:.9g}") for value in values.tolist()]
            for name, values in found.columns.items()
        }
        row |= {"tokens": found.tokens, "columns": columns}
        lines.append(json.dumps(row, separators=(",", ":")) + "\n")
    FILE.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
