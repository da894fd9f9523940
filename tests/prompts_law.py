"""Tokens of prompts that differ, with a known E[beta | u]."""

import numpy as np

from cuhlm_theory.contexts import Tokens


def simulate(rng, num_prompts=80, length=25, curve=lambda u: 0.6 * u, spread=0.1, lengths=None):
    """Draw tokens with E[beta | u] = curve(u); beta is 0 or 1 with it, prompts differ in their u."""
    lengths = np.full(num_prompts, length) if lengths is None else lengths
    prompt = np.repeat(np.arange(num_prompts), lengths)
    centre = rng.uniform(0.3, 0.7, size=num_prompts)[prompt]
    u = np.clip(centre + rng.uniform(-0.3, 0.3, size=prompt.size), 0.0, 1.0)
    mean = np.clip(curve(u), 0.0, 1.0)
    size = 4.0
    beta = np.where(mean > 0.0, rng.beta(np.maximum(mean, 1e-6) * size, (1.0 - mean) * size + 1e-9), 0.0)
    return Tokens(uncertainty=u, rejection=np.clip(beta, 0.0, 1.0), prompt=prompt)
