"""The uncertainty of a few tokens: the numbers that all of a context have, from sums over bundles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.decoding import Convention, Settings, laws
from cuhlm_theory import uncertainty
from cuhlm_theory.kept_law import most_kept_tokens
from cuhlm_theory.law import NEVER_SKIP
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.uncertainty import ContextUncertainty, mean_uncertainty


def logits_of(shape, vocab_size=30_000, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "two heaps": np.concatenate([[18.0], rng.normal(0.0, 2.0, vocab_size - 1)]),
        "Zipf": -np.log(np.arange(1.0, vocab_size + 1.0)),
        "nearly flat": rng.normal(0.0, 0.3, vocab_size),
        "one against the rest": np.concatenate([[0.5 * math.log(vocab_size)], np.zeros(vocab_size - 1)]),
        "ties": np.round(rng.normal(0.0, 3.0, vocab_size)),
        "gaps of every scale": -np.geomspace(1e-9, 1e3, vocab_size),
    }[shape]


WORLD = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),
    codec=Codec(vocab_size=5000),
    latency=Latency(slm_s=0.01, llm_s=0.1),
)
SHAPES = ("two heaps", "Zipf", "nearly flat", "one against the rest", "ties", "gaps of every scale")


@pytest.mark.parametrize("shape", SHAPES)
def test_bundles_lose_nothing_of_the_sums_over_single_tokens(shape):
    z = logits_of(shape)
    gap = np.sort(z.max() - z)
    gap = gap[gap > 0.0]
    centre, moments = uncertainty._bundled(gap)
    assert centre.size < 12_000 if shape == "gaps of every scale" else centre.size < 4000
    assert moments[0].sum() == gap.size
    for rate in np.geomspace(0.5, 1e5, 30):
        one_by_one = 1.0 + np.exp(-rate * gap).sum()
        bundled = 1.0 + float(uncertainty._sums(np.array([rate]), centre, moments)[0])
        assert bundled == pytest.approx(one_by_one, rel=1e-12)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-13])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_the_sums_over_single_tokens(shape, tolerance, monkeypatch):
    z = logits_of(shape)
    tokens = np.argsort(-z)[[0, 1, 2, 20, 1000, -1]]
    found = mean_uncertainty(z, tokens, tolerance=tolerance)
    monkeypatch.setattr(uncertainty, "_FEW_TOKENS", z.size)
    apart = 1e-12 if tolerance < 1e-12 else 1e-9  # bundles are dropped whole where a panel's tokens end
    assert found == pytest.approx(mean_uncertainty(z, tokens, tolerance=tolerance), abs=apart)


def test_a_token_has_the_same_number_whoever_is_asked_with_it():
    z = logits_of("two heaps", 5000)
    mean = ContextUncertainty(z)
    everything = mean_uncertainty(z)
    np.testing.assert_array_equal(mean(), everything)
    for tokens in (np.arange(40), np.array([[7, 0], [4999, 7]]), np.array(0)):
        np.testing.assert_array_equal(mean(tokens), everything[tokens])
        assert mean(tokens).shape == tokens.shape
    np.testing.assert_array_equal(
        mean_uncertainty(np.stack([z, -z]), [0, 3]), [mean(0), mean_uncertainty(-z, 3)]
    )


def test_sums_are_taken_once_however_many_tokens_ask(monkeypatch):
    calls = []
    sums = uncertainty._sums
    monkeypatch.setattr(uncertainty, "_sums", lambda *given: calls.append(1) or sums(*given))
    mean = ContextUncertainty(logits_of("Zipf"))
    built = len(calls)
    mean([0, 1, 2])
    mean(5)
    assert len(calls) == built > 0


@given(
    st.lists(st.one_of(st.floats(-30.0, 30.0), st.sampled_from([0.0, 1.0, 5.0])), min_size=2, max_size=40),
    st.floats(0.0, 1.0),
    st.booleans(),
)
def test_candidates_hold_every_token_at_or_below_a_threshold(logits, threshold, on_an_atom):
    mean = ContextUncertainty(logits)
    u = mean()
    if on_an_atom:
        threshold = float(u[int(threshold * (len(u) - 1))])
    found = mean.candidates(threshold)
    assert len(np.unique(found)) == len(found) <= most_kept_tokens(threshold, len(u)) + 1
    assert set(np.flatnonzero(u <= threshold)) <= set(found)


def test_candidates_are_few():
    mean = ContextUncertainty(logits_of("two heaps"))
    assert [mean.candidates(t).size for t in (0.0, 0.49, 0.5, 0.95, 1.0)] == [2, 2, 3, 21, 30_000]
    assert mean.candidates(0.3)[np.argmin(mean(mean.candidates(0.3)))] == 0
    with pytest.raises(ValueError, match="threshold"):
        mean.candidates(1.5)


def test_refuses_a_token_that_is_not_there():
    with pytest.raises(ValueError, match=r"^draft must lie in \[0, 2\]; got 3$"):
        ContextUncertainty([0.0, 1.0, 2.0])(3)


@pytest.mark.parametrize("convention", [{}, {"min_temperature": 0.3}, {"transmit_at_threshold": True}])
def test_the_decoder_asks_for_the_tokens_that_a_threshold_may_keep_and_no_others(convention, monkeypatch):
    z = logits_of("two heaps", 5000)
    settings = Settings(scheme="u-hlm", convention=Convention(**convention))
    here = laws.Context(z, settings, WORLD)
    u = here.disagreement(np.arange(5000))[0]
    asked = []
    monkeypatch.setattr(
        laws.Context, "disagreement", lambda self, tokens: asked.append(len(tokens)) or u[tokens][None]
    )
    for threshold in (NEVER_SKIP, 0.0, float(u.min()), 0.4, 0.9):
        within = u < threshold if convention.get("transmit_at_threshold") else u <= threshold
        np.testing.assert_array_equal(here.at_most(threshold), within)
    assert asked == [2, 2, 2, 2, 11]
