"""What skipping saves of a pass, against passes that are counted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joins.formula import derived, statement, value

few = settings(max_examples=25)


def busy_s(transmits: np.ndarray, fixed: float, each: float) -> float:
    """Seconds of the LLM: a transmission feeds it every token since the one before, its own included."""
    seconds, waiting = 0.0, 0
    for sent in transmits:
        waiting += 1
        if sent:
            seconds += fixed + each * waiting
            waiting = 0
    return seconds + each * waiting  # what waits at the end is fed with the next text


@few
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.floats(0.001, 0.1), st.floats(0.0001, 0.05))
def test_a_token_takes_its_own_part_and_a_share_of_the_fixed_one(seed, chance, fixed, each):
    transmits = np.random.default_rng(seed).random(400) < chance
    share = float(transmits.mean())
    wanted = derived("passes.skipping_saves_the_fixed_part", "T", p=share, t_0=fixed, t_1=each)
    assert busy_s(transmits, fixed, each) / 400 == pytest.approx(wanted)
    alone = busy_s(np.ones(400, dtype=bool), fixed, each) / 400
    _, saved, margin, *_ = statement("passes.skipping_saves_the_fixed_part").claims
    assert alone - wanted == pytest.approx(value(saved.rhs, p=share, t_0=fixed), abs=1e-12)
    assert value(margin.rhs, tau_up=0.02, t_0=fixed) == pytest.approx(0.02 + fixed)


@few
@given(st.floats(0.0, 1.0), st.floats(0.001, 0.1), st.floats(0.0001, 0.05), st.integers(1, 8))
def test_a_server_holds_at_most_as_many_devices_as_its_passes_allow(chance, fixed, each, drafts):
    *_, gain, _, run = statement("passes.skipping_saves_the_fixed_part").claims
    held = value(gain.lhs, p=chance, t_0=fixed, t_1=each)
    assert held + 1e-12 >= 1.0
    assert held <= value(gain.rhs, t_0=fixed, t_1=each) + 1e-12
    # a verified run: what is rolled back is fed too
    left = 1 + drafts // 2
    seconds = fixed + each * (drafts + 1)
    assert seconds / left == pytest.approx(value(run.rhs, gamma=drafts, E_N=left, t_0=fixed, t_1=each))
