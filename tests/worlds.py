"""Small vocabularies in which everything is known: contexts with an SLM law, an LLM law and uncertainties."""

from dataclasses import dataclass

import numpy as np

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.verification import output_law, server_sampling_law

THRESHOLDS = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])


@dataclass(frozen=True)
class World:
    """Contexts that occur equally often; rows are contexts, columns tokens."""

    x: np.ndarray  # SLM law [C, V]
    y: np.ndarray  # LLM law [C, V]
    u: np.ndarray  # uncertainty of each possible draft [C, V]

    @property
    def shape(self):
        return self.x.shape

    @property
    def beta(self):
        return np.clip(1.0 - self.y / self.x, 0.0, None)

    @property
    def k_grid(self):
        return np.arange(1, self.shape[1] + 1)

    def truncated(self, k):
        """The k largest entries kept, the rest spread evenly: [C, V]."""
        order = np.argsort(-self.x, axis=1, kind="stable")
        ranked = np.take_along_axis(self.x, order, axis=1)
        if k < self.shape[1]:
            ranked[:, k:] = ranked[:, k:].mean(axis=1, keepdims=True)
        law = np.empty_like(ranked)
        np.put_along_axis(law, order, ranked, axis=1)
        return law

    def candidates(self, k):
        """The k largest entries, renormalised: [C, V]."""
        order = np.argsort(-self.x, axis=1, kind="stable")
        law = self.x.copy()
        np.put_along_axis(law, order[:, k:], 0.0, axis=1)
        return law / law.sum(axis=1, keepdims=True)

    def tv_profile(self):
        return np.stack([0.5 * np.abs(self.x - self.truncated(k)).sum(axis=1) for k in self.k_grid], axis=1)


def random_world(seed, num_contexts=5, vocab_size=6):
    """Laws whose rejections grow with uncertainty, as in a real pair."""
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.full(vocab_size, 0.6), num_contexts) + 1e-3
    x /= x.sum(axis=1, keepdims=True)
    y = 0.6 * x + 0.4 * rng.dirichlet(np.full(vocab_size, 0.6), num_contexts)
    u = np.clip(1.0 - x + 0.1 * rng.normal(size=x.shape), 0.01, 0.99)
    return World(x=x, y=y, u=u)


def table(world, context=None, draft=None, weight=None, prompt=None):
    """Token table of a world: every (context, draft) by default, or the rows of a recording."""
    num_contexts, vocab_size = world.shape
    if context is None:
        context = np.repeat(np.arange(num_contexts), vocab_size)
        draft = np.tile(np.arange(vocab_size), num_contexts)
        weight = (world.x / num_contexts).ravel()
    skip = world.u[:, None, :] <= THRESHOLDS[:, None]  # [C, J, V]
    ranked = -np.sort(-world.x, axis=1)
    tail = 1.0 - np.cumsum(ranked, axis=1)
    acceptance = np.stack(
        [np.minimum(world.candidates(k), world.y).sum(axis=1) for k in world.k_grid], axis=1
    )
    server = np.stack(
        [
            0.5
            * np.abs(server_sampling_law(world.x, world.y, skip[:, j].astype(float)) - world.y).sum(axis=1)
            for j in range(len(THRESHOLDS))
        ],
        axis=1,
    )
    bias = np.stack(
        [
            0.5 * np.abs(output_law(world.x, world.y, verify_with=world.truncated(k)) - world.y).sum(axis=1)
            for k in world.k_grid
        ],
        axis=1,
    )
    order = np.argsort(world.u, axis=1)
    columns = {
        "candidate_uncertainty": np.take_along_axis(world.u, order, axis=1),
        "candidate_prob": np.take_along_axis(world.x, order, axis=1),
        "candidate_llm_prob": np.take_along_axis(world.y, order, axis=1),
        "tv": 0.5 * np.abs(world.x - world.y).sum(axis=1),
        "max_prob": ranked[:, 0],
        "tv_profile": world.tv_profile(),
        "tail_mass": np.clip(tail, 0.0, 1.0),
        "sorted_prob": ranked,
        "truncated_acceptance": acceptance,
        "output_bias": bias,
        "skip_mass": np.sum(world.x[:, None, :] * skip, axis=2),
        "skip_risk": np.sum((world.x * world.beta)[:, None, :] * skip, axis=2),
        "server_bias": server,
    }
    return Tokens(
        uncertainty=world.u[context, draft],
        rejection=world.beta[context, draft],
        draft_prob=world.x[context, draft],
        llm_prob=world.y[context, draft],
        weight=np.empty(0) if weight is None else weight,
        prompt=prompt,
        k_grid=world.k_grid,
        coarse_k_grid=world.k_grid,
        threshold_grid=THRESHOLDS,
        **{name: values[context] for name, values in columns.items()},
    )


def recording(world, num_texts, length, seed):
    """A recording: contexts drawn at random, drafts from the SLM."""
    rng = np.random.default_rng(seed)
    context = rng.integers(0, world.shape[0], num_texts * length)
    draft = draw(world.x[context], rng)
    return table(world, context, draft, prompt=np.repeat(np.arange(num_texts), length))


def draw(law, rng):
    """One token from each row of a law."""
    edges = np.cumsum(law, axis=-1)
    return np.minimum(
        (rng.random((*law.shape[:-1], 1)) * edges[..., -1:] > edges).sum(axis=-1), law.shape[-1] - 1
    )
