"""What skipping saves of a pass, against passes that are counted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import throughput
from cuhlm_theory.parameters import Latency
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
    _, saved, margin, edge = statement("passes.skipping_saves_the_fixed_part").claims
    assert alone - wanted == pytest.approx(value(saved.rhs, p=share, t_0=fixed), abs=1e-12)
    assert value(margin.rhs, tau_up=0.02, t_0=fixed) == pytest.approx(0.02 + fixed)
    tau = Latency(slm_s=1.0, llm_s=fixed + each, llm_per_token_s=each)
    saves = float(throughput.skip_saves_s(tau, 0.02))
    assert saves / 3.0 == pytest.approx(value(edge.rhs, tau_up=0.02, t_0=fixed, **{"lambda": 3.0}))


@few
@given(st.floats(0.0, 1.0), st.floats(0.001, 0.1), st.floats(0.0001, 0.05), st.floats(0.1, 50.0))
def test_a_server_holds_at_most_as_many_devices_as_its_passes_allow(chance, fixed, each, rate):
    tau = Latency(slm_s=1.0, llm_s=fixed + each, llm_per_token_s=each)
    held = float(throughput.devices_served(tau, chance, rate))
    numbers = {"p": chance, "t_0": fixed, "t_1": each}
    assert held == pytest.approx(derived("passes.devices_served", "M", **numbers, r=rate))
    _, gain, _ = statement("passes.devices_served").claims
    more = held / float(throughput.devices_served(tau, 1.0, rate))
    assert more == pytest.approx(value(gain.lhs, **numbers))
    assert more <= value(gain.rhs, t_0=fixed, t_1=each) * (1 + 1e-12)


@few
@given(st.integers(0, 10_000), st.booleans(), st.integers(0, 5), st.integers(1, 5))
def test_both_models_read_what_the_caches_say(seed, bonus, skips, drafts):
    """Caches as sets of places: skipped tokens, then a run of drafts of which the first ones are kept."""
    rng = np.random.default_rng(seed)
    asked, again, run, rolled, alone, late = statement("passes.every_token_is_fed_once").claims
    text = int(rng.integers(1, 50))
    device, server = set(range(text - 1)), set(range(text - 1))

    def fed(cache, length):
        """Places that a pass feeds, so that the law after ``length`` tokens is known."""
        lacking = set(range(length)) - cache
        cache |= lacking
        return len(lacking)

    width = fed(server, text + skips)
    assert width == value(asked.rhs, j=skips)
    for length in range(text, text + skips + 1):
        assert fed(device, length) == 1  # a pass a draft, whether it is skipped or sent
    text += skips + 1  # the answer
    assert text - len(server) == again.lhs

    counts = [fed(device, text + place) for place in range(drafts)]
    assert sum(counts) == value(alone.rhs, gamma=drafts) == drafts
    score = drafts + bonus
    assert fed(server, text + score - 1) == score
    assert not bonus or score == value(run.rhs, gamma=drafts)
    kept = int(rng.integers(0, drafts + 1))
    committed = kept + (bonus or kept < drafts)
    text += committed
    for cache in (device, server):
        cache &= set(range(text - (kept < drafts or bonus)))
    late_by = fed(device, text) - 1
    assert late_by == int(bonus and kept == drafts)
    assert not late_by or late_by + 1 == late.lhs

    each, fixed = 0.25, 1.0
    tau = Latency(slm_s=0.5, llm_s=fixed + each, slm_per_token_s=0.125, llm_per_token_s=each)
    slm_s, _, llm_s, _ = throughput.round_parts_s(
        tau, drafts=drafts, slm_catch_up=late_by, llm_calls=1, llm_fed=score, uplink_s=0, downlink_bit=0
    )
    assert slm_s == 0.375 * drafts + 0.125 * (drafts + late_by)
    assert llm_s == fixed + each * score
    if bonus:
        per_token = value(rolled.rhs, gamma=drafts, E_N=committed, t_0=fixed, t_1=each)
        assert llm_s / committed == pytest.approx(per_token)
