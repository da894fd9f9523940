"""Two random models over a small vocabulary, recorded as a trace is, every column by enumeration."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from calibration import Calibration
from calibration.fit import fit
from calibration.trace import Trace
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.uncertainty import mean_uncertainty
from cuhlm_theory.verification import output_law, server_sampling_law, total_variation

GRID = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 30, 40, 50, 64, 90, 128, 180, 256, 360, 500, 700, 832, 1024]
)
COARSE = np.array([1, 4, 16, 30, 64, 256, 1024])
THRESHOLDS = np.array(
    [
        0,
        0.005,
        0.01,
        0.02,
        0.03,
        0.05,
        0.07,
        0.081,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        0.95,
        1.0,
    ]
)
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)


def record(
    num_prompts: int = 12,
    tokens_per_prompt: int = 10,
    vocab_size: int = 48,
    seed: int = 0,
    certain: bool = True,
) -> Calibration:
    """Record a pair whose contexts range from sure to unsure; without ``certain`` none is sure."""
    rng = np.random.default_rng(seed)
    num = num_prompts * tokens_per_prompt
    sharpness = rng.uniform(0.3 if certain else 0.2, 7.0 if certain else 0.6, size=(num, 1))
    logits = sharpness * rng.gumbel(size=(num, vocab_size))
    draft_law = _softmax(logits)
    llm_law = _softmax(logits + rng.normal(scale=1.2, size=logits.shape))
    draft = np.array([rng.choice(vocab_size, p=p) for p in draft_law])
    rows = np.arange(num)
    u = mean_uncertainty(logits)  # [N, V]
    beta = np.clip(1.0 - llm_law / draft_law, 0.0, None)
    k_grid = np.append(GRID[vocab_size > GRID], vocab_size)
    coarse = np.append(COARSE[vocab_size > COARSE], vocab_size)
    ordered = -np.sort(-draft_law, axis=1)
    cumulative = np.cumsum(ordered, axis=1)
    received = np.stack([_truncated(draft_law, k) for k in k_grid], axis=1)  # [N, K, V]
    tv_profile = total_variation(received, draft_law[:, None, :])
    skip = u[:, None, :] <= THRESHOLDS[:, None]  # [N, J, V]
    law = draft_law[:, None, :]
    hits = np.stack([rng.uniform(size=(num, 100)) < u[rows, draft][:, None]])[0]
    x, y = draft_law[rows, draft], llm_law[rows, draft]
    prompt = np.repeat(np.arange(num_prompts), tokens_per_prompt)
    kept = [np.where(draft_law >= ordered[:, [k - 1]], draft_law, 0.0) for k in coarse]
    tokens = Tokens(
        uncertainty=u[rows, draft],
        rejection=beta[rows, draft],
        draft_prob=x,
        llm_prob=y,
        tv=total_variation(draft_law, llm_law),
        max_prob=ordered[:, 0],
        prompt=prompt,
        k_grid=k_grid,
        tv_profile=tv_profile,
        tail_mass=np.clip(1.0 - cumulative[:, k_grid - 1], 0.0, 1.0),
        sorted_prob=ordered[:, k_grid - 1],
        coarse_k_grid=coarse,
        truncated_acceptance=np.stack(
            [1.0 - total_variation(p / p.sum(axis=1, keepdims=True), llm_law) for p in kept], axis=1
        ),
        output_bias=np.stack(
            [
                total_variation(output_law(draft_law, llm_law, verify_with=_truncated(draft_law, k)), llm_law)
                for k in coarse
            ],
            axis=1,
        ),
        threshold_grid=THRESHOLDS,
        skip_mass=np.clip((law * skip).sum(axis=-1), 0.0, 1.0),
        skip_risk=(law * skip * beta[:, None, :]).sum(axis=-1),
        server_bias=np.stack(
            [
                total_variation(server_sampling_law(draft_law, llm_law, skip[:, j].astype(float)), llm_law)
                for j in range(len(THRESHOLDS))
            ],
            axis=1,
        ),
    )
    calibration = replace(
        fit(tokens, name="random pair", num_resamples=200),
        vocab_size=vocab_size,
        temperature=1.0,
        slm_latency_s=0.004,
        llm_latency_s=0.02,
        source={"pair": "random, exactly enumerated"},
    )
    rejection = calibration.line(tokens.uncertainty)
    scale = (1.0 - x) * np.log1p(np.exp(-1.0)) + x * np.log1p(np.exp(-rejection))
    columns = {
        "prompt": prompt,
        "position": np.tile(np.arange(tokens_per_prompt), num_prompts),
        "draft_prob": x,
        "llm_prob": y,
        "rejection": tokens.rejection,
        "uncertainty": tokens.uncertainty,
        "sampled_uncertainty": hits[:, :20].mean(axis=1),
        "sampled_uncertainty_1": hits[:, :1].mean(axis=1),
        "sampled_uncertainty_5": hits[:, :5].mean(axis=1),
        "sampled_uncertainty_100": hits.mean(axis=1),
        "entropy": -(draft_law * np.log(draft_law)).sum(axis=1),
        "max_prob": ordered[:, 0],
        "margin": ordered[:, 0] - ordered[:, 1],
        "k_exact": np.stack([_smallest(tv_profile, k_grid, b) for b in BUDGETS], axis=1),
        "k_printed": np.stack(
            [_smallest(2.0 * tv_profile / scale[:, None], k_grid, b) for b in BUDGETS], axis=1
        ),
    }
    recorded = Trace(SimpleNamespace(k_grid=k_grid, writer="slm"), columns)
    return replace(calibration, _traces={"slm": recorded})


def _softmax(z: NDArray) -> NDArray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _truncated(law: NDArray, k: int) -> NDArray:
    edge = -np.sort(-law, axis=1)[:, [k - 1]]
    kept = law >= edge
    rest = np.maximum((~kept).sum(axis=1, keepdims=True), 1)
    return np.where(kept, law, np.where(kept, 0.0, law).sum(axis=1, keepdims=True) / rest)


def _smallest(profile: NDArray, k_grid: NDArray, budget: float) -> NDArray:
    within = profile <= budget
    within[:, -1] = True
    return k_grid[np.argmax(within, axis=1)]
