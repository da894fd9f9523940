"""The bias that the kept law has where it is really decoded, beside the bias that its threshold promised."""

import numpy as np
import pytest

from calibration import load
from calibration.compare._decoded import beginnings
from calibration.decoding import Clock, Settings, decode_together
from calibration.promises import guaranteed_threshold
from calibration.prompts import built_in_prompts
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import NEVER_SKIP, SCHEMES

LENGTH, NUM_PROMPTS = 64, 24


@pytest.fixture(scope="module")
def pair():
    pytest.importorskip("torch")
    from calibration.pairs import load_pair

    return load_pair("smollm2")


def promised_threshold(budget: float) -> float:
    """Threshold whose risk on the large model's text is within the budget, with 90 % confidence."""
    text = load("smollm2").text("llm")
    assert text is not None
    return guaranteed_threshold(beginnings(text, LENGTH), budget, max_tokens=LENGTH).threshold


def test_too_small_a_budget_is_kept_by_skipping_nothing():
    """128 prompts without any loss are not enough to promise 0.01."""
    assert promised_threshold(0.01) == NEVER_SKIP


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.01, 0.02, 0.05, 0.1])
def test_the_bias_had_is_below_the_bias_promised(budget, pair):
    """On prompts that were not recorded; the bias of a context is exact, only the contexts are a sample."""
    threshold = promised_threshold(budget)
    system = System(
        link=Link(bandwidth_hz=1e6, snr=10.0),
        codec=Codec(vocab_size=pair.vocab_size),
        latency=Latency(slm_s=0.018, llm_s=0.094),
    )
    prompts = built_in_prompts()[128 : 128 + NUM_PROMPTS]
    assert not {prompt.name for prompt in prompts} & set(load("smollm2").text("llm").header.prompt_names)
    found = decode_together(
        (pair.slm, pair.llm),
        [pair.context(prompt, LENGTH) for prompt in prompts],
        Settings(scheme=SCHEMES["kept-law"].using(threshold=threshold), max_new_tokens=LENGTH),
        Clock(system=system),
        rngs=[np.random.default_rng([0, number]) for number in range(NUM_PROMPTS)],
        stop_tokens=pair.stop_tokens,
    )
    bias = np.concatenate([one.columns["tv"] for one in found])
    assert bias.mean() <= budget
    assert (bias.mean() > 1e-6) == (threshold > NEVER_SKIP)
