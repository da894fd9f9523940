"""U-HLM's Theorem 1 on the real pair, with intervals, in both readings."""

import numpy as np
import pytest

from calibration import load
from cuhlm_theory import risk
from cuhlm_theory.bootstrap import cluster_counts
from cuhlm_theory.rejection import Line

LINE = Line(0.82, -0.06, 0.301)
PRINTED_RISK, PRINTED_BOUND = 2.24e-3, 4e-3


def frequencies(u, weight):
    """Share of each of the 21 values of u, weighted, shape [..., 21]."""
    place = np.round(20 * u).astype(int)[:, None] == np.arange(21)
    counts = weight @ place
    return counts / counts.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ["qwen2.5-coder", "qwen2.5-coder-llm-text"])
def test_theorem_1_on_the_real_pair_is_twenty_times_what_frequencies_for_densities_give(name):
    columns = load(name).trace.columns
    u, beta, prompt = (np.asarray(columns[key]) for key in ("sampled_uncertainty", "rejection", "prompt"))
    weight = cluster_counts(len(np.unique(prompt)), 400, np.random.default_rng(0))[:, prompt]
    by_line = risk.between_thresholds(frequencies(u, weight), LINE)
    inside = (u > LINE.risk_averse) & (u <= LINE.risk_prone)
    recorded = weight @ (beta * inside) / weight.sum(axis=1)
    low, high = np.quantile(recorded, [0.025, 0.975])
    assert low < 20 * PRINTED_RISK < high  # as a mean of rejections the print is what is recorded
    assert 0.1 * low > PRINTED_RISK
    assert np.quantile(by_line / 20, 0.975) < PRINTED_RISK  # and no density can be meant by 2.24e-3 itself
    assert np.all(by_line <= risk.between_thresholds_bound(frequencies(u, weight), LINE))
    assert np.all(risk.between_thresholds_bound(frequencies(u, weight), LINE) < 20 * PRINTED_BOUND)


@pytest.mark.parametrize("seed", range(5))
def test_the_risk_is_that_of_the_drafts_between_the_thresholds(seed):
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(21))
    drawn = rng.choice(21, p=law, size=200_000) / 20
    line = Line(rng.uniform(0.4, 1.0), -rng.uniform(0.01, 0.2), rng.uniform(0.1, 0.4))
    kept = np.where((drawn > line.risk_averse) & (drawn <= line.risk_prone), line(drawn), 0.0)
    error = kept.std() / np.sqrt(len(drawn))
    assert abs(float(risk.between_thresholds(law, line)) - kept.mean()) <= 4 * error


def test_a_grid_may_miss_the_bound_of_a_density():
    line = Line(1.0, -0.5, 0.5)  # a point of the grid lies at the upper threshold, and has all the mass
    law = np.eye(3)[2]
    assert float(risk.between_thresholds(law, line)) > float(risk.between_thresholds_bound(law, line))


def test_a_line_without_a_delta_is_refused():
    with pytest.raises(ValueError, match="line must have a delta; got None"):
        risk.between_thresholds(np.full(21, 1 / 21), Line(0.8, -0.1))
    with pytest.raises(ValueError, match="frequency"):
        risk.between_thresholds_bound(np.full(21, 1 / 20), LINE)
