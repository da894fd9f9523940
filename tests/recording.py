"""A pair of random models, recorded with the collector's own columns and decoded with U-HLM's own rule."""

import numpy as np

from calibration import collect
from calibration.trace import Trace, TraceHeader
from cuhlm_theory.payload import printed_bit
from cuhlm_theory.uncertainty import mean_uncertainty

VOCAB, TEMPERATURE = 48, 0.7


def _laws(rng, num_prompts, length):
    """Logits of a small and a large model whose disagreement differs between prompts."""
    shape = (num_prompts, length, VOCAB)
    sharp = rng.uniform(0.4, 1.0, size=(num_prompts, 1, 1)) * rng.uniform(0.5, 6.0, (num_prompts, length, 1))
    small = sharp * rng.normal(size=shape)
    large = small + rng.uniform(0.4, 1.2, size=(num_prompts, 1, 1)) * rng.normal(size=shape)
    return small.reshape(-1, VOCAB), large.reshape(-1, VOCAB)


def _softmax(logits):
    x = np.exp((logits - logits.max(axis=1, keepdims=True)) / TEMPERATURE)
    return x / x.sum(axis=1, keepdims=True)


def _draw(law, rng):
    return (rng.uniform(size=(len(law), 1)) > np.cumsum(law, axis=1)).sum(axis=1).clip(max=VOCAB - 1)


def record(seed, num_prompts=60, length=20):
    """Make a trace with the collector's own columns, from random models."""
    rng = np.random.default_rng(seed)
    small, large = _laws(rng, num_prompts, length)
    draft = _draw(_softmax(small), rng)
    columns = collect.describe(small, large, draft, collect.Settings(temperature=TEMPERATURE), rng)
    prompt = np.repeat(np.arange(num_prompts), length).astype(np.int32)
    columns |= {
        "prompt": prompt,
        "position": np.tile(np.arange(length), num_prompts).astype(np.int32),
        "slm_latency_s": rng.uniform(0.009, 0.011, num_prompts)[prompt],
        "llm_latency_s": rng.uniform(0.04, 0.06, num_prompts)[prompt],
    }
    sizes = collect.k_grid(VOCAB)
    header = TraceHeader(
        slm="small",
        llm="large",
        slm_sha256="",
        llm_sha256="",
        vocab_size=VOCAB,
        temperature=TEMPERATURE,
        max_temperature=2.0,
        seed=seed,
        dtype="float64",
        device="cpu",
        max_new_tokens=length,
        prompt_names=tuple(str(i) for i in range(num_prompts)),
        k_grid=sizes,
        coarse_k_grid=collect._coarse_k(VOCAB),
        threshold_grid=collect._THRESHOLDS,
        budgets=collect._BUDGETS,
        printed_line=collect._printed_line(),
        versions={},
        date="",
        command="",
    )
    return Trace(header, {name: np.asarray(value) for name, value in columns.items()})


def run_u_hlm(seed, threshold, num_prompts=50, length=15, bias=1.0):
    """Simulate U-HLM decoding over random models and keep what a decoder would."""
    rng = np.random.default_rng(seed)
    small, large = _laws(rng, num_prompts, length)
    x, y = _softmax(small), _softmax(large)
    u = mean_uncertainty(small)
    row = np.arange(len(x))
    draft = _draw(x, rng)
    beta = np.maximum(0.0, 1.0 - y / x)
    skip = u <= threshold
    rejected = rng.uniform(size=len(x)) < beta[row, draft]
    skipped = skip[row, draft]
    risk = (x * skip * beta).sum(axis=1)
    bit = float(printed_bit(VOCAB, VOCAB))
    air = bit / (1e4 * np.log2(4.0))
    return {
        "prompt": np.repeat(np.arange(num_prompts), length),
        "draft": draft,
        "action": np.where(skipped, 0, np.where(rejected, 2, 1)),
        "draft_prob": x[row, draft],
        "rejection": beta[row, draft],
        "uncertainty": u[row, draft],
        "tv": bias * risk,
        "skip_mass": (x * skip).sum(axis=1),
        "risk": risk,
        "truncation_tv": np.zeros(len(x)),
        "k": np.where(skipped, 0, VOCAB),
        "drafted": np.ones(len(x), dtype=np.int64),
        "uplink_bit": np.where(skipped, 0.0, bit),
        "downlink_bit": np.where(skipped, 0.0, np.ceil(np.log2(VOCAB))),
        "llm_calls": np.where(skipped, 0, 1),
        "slm_s": np.full(len(x), 0.01),
        "uplink_s": np.where(skipped, 0.0, air),
        "llm_s": np.where(skipped, 0.0, 0.05),
        "other_s": np.zeros(len(x)),
        "round": row,
    }
