"""The decoder says today what it said before its rules became objects: same tokens, same columns.

``golden/decoded.jsonl`` holds a text for every scheme under three conventions, decoded by two tables of
logits in place of models.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.decoding import CONVENTIONS, Clock, Settings, laws, loop, scheme_of
from calibration.decoding.session import drive
from calibration.decoding.stage import Stage
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES

VOCAB = 16
FILE = Path(__file__).parent / "golden" / "decoded.jsonl"
GOLDEN = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
REWOUND = "drafts after a rejection no longer move the threshold of C-SQS"
DIFFERENT = {
    ("c-sqs", convention, column): REWOUND
    for convention in ("quadrature", "linspace")
    for column in ("k", "uplink_bit", "uplink_s", "latency_s")
}
"""Scheme, convention and column that differ, and why."""


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
    draws = laws.Draws(np.random.default_rng(7))
    drive(loop((Table(small), Table(large)), settings, Clock(system=system), draws, stage))
    return stage.decoded()


def test_every_scheme_is_held_to_three_conventions():
    known = {row["scheme"] for row in GOLDEN}
    assert known <= SCHEMES.keys()
    assert (len(known), len(GOLDEN)) == (17, 3 * 17)


PRICED = "a size that is chosen by a price weighs the airtime by the chance to transmit"


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['scheme']}-{row['convention']}")
def test_tokens_and_columns_are_those_of_before(row):
    if row["scheme"] == "cu-hlm-exact" and row["policy"].get("truncation_price_s") is not None:
        pytest.skip(PRICED)
    found = decoded(row)
    assert found.tokens == row["tokens"]
    for name, values in row["columns"].items():
        expected = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        if (row["scheme"], row["convention"], name) in DIFFERENT:
            assert not np.allclose(found.columns[name], expected, rtol=1e-6, atol=1e-7, equal_nan=True)
            continue
        np.testing.assert_allclose(found.columns[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)
