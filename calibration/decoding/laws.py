"""One context of the decoder: what the device proposes, what the server answers, the exact law of that.

`propose` and `settle` are the code that the loops run, for one round or for many rounds of one context at
once; `output` is the exact law of their token. Distributions are float64 of shape [V].
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, softmax

from calibration.collect import k_grid
from calibration.decoding.records import ACCEPTED, RESAMPLED, SAMPLED, SKIPPED
from calibration.decoding.settings import Convention, Settings
from cuhlm_theory import truncation, verification
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.parameters import System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.uncertainty import mean_uncertainty

Law = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDING = 1e-9  # M u is a whole number up to this


class Draws:
    """Every random decision of the decoder, from one numpy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def token(self, law: Law, num: int = 1) -> Ints:
        """Draw tokens from a law, shape [num]."""
        total = np.cumsum(law)
        place = np.searchsorted(total, self.rng.random(num) * total[-1], side="right")
        return np.minimum(place, np.flatnonzero(law)[-1]).astype(np.int64)

    def event(self, probability: Law) -> NDArray[np.bool_]:
        """Draw independent events, shape of ``probability``."""
        return self.rng.random(np.shape(probability)) < probability


def next_law(logits: Law, temperature: float) -> Law:
    """Softmax at a temperature; at 0 all mass on the first of the largest logits."""
    if temperature > 0.0:
        return np.asarray(softmax(logits / temperature))
    return _point(int(np.argmax(logits)), len(logits))


def _point(token: int, size: int) -> Law:
    law = np.zeros(size)
    law[token] = 1.0
    return law


# ------------------------------------------------------------------------------------------------ uncertainty


def perturbed_disagreement(logits: Law, convention: Convention) -> Law:
    """Chance that each perturbed draft differs from each token.

    Shape [1, V] where the perturbed temperatures are drawn or averaged, [M, V] where they are fixed.
    """
    low, high = convention.min_temperature, convention.max_temperature
    if convention.temperatures == "linspace":
        heats = np.linspace(low, high, convention.num_samples)
        return 1.0 - np.stack([_tie_splitting_law(logits, heat) for heat in heats])
    disagreement = mean_uncertainty(logits, max_temperature=high)
    if low > 0.0:  # the mean over (low, high] from the means over (0, low] and (0, high]
        below = mean_uncertainty(logits, max_temperature=low)
        disagreement = np.clip((high * disagreement - low * below) / (high - low), 0.0, 1.0)
    return disagreement[None]


def _tie_splitting_law(logits: Law, heat: float) -> Law:
    if heat > 0.0:
        return np.asarray(softmax(logits / heat))
    top = logits == logits.max()
    return top / top.sum()


def _at_most(disagreement: Law, convention: Convention, threshold: float) -> Law:
    """P(u <= threshold), or P(u < threshold) where the convention transmits at the threshold, shape [V]."""
    strict = convention.transmit_at_threshold
    if convention.temperatures == "mean":
        u = disagreement[0]
        return np.asarray(u < threshold if strict else u <= threshold, dtype=np.float64)
    count = convention.num_samples
    most = (
        math.ceil(count * threshold - _ROUNDING) - 1 if strict else math.floor(count * threshold + _ROUNDING)
    )
    if most < 0:
        return np.zeros(disagreement.shape[1])
    if convention.temperatures == "draws":
        return np.asarray(bdtr(min(most, count), count, disagreement[0]))
    law = np.zeros((count + 1, disagreement.shape[1]))  # of the number of disagreements, Poisson-binomial
    law[0] = 1.0
    for chance in disagreement:
        law[1:] = law[1:] * (1.0 - chance) + law[:-1] * chance
        law[0] *= 1.0 - chance
    return np.minimum(law[: most + 1].sum(axis=0), 1.0)


def _observe(disagreement: Law, drafts: Ints, convention: Convention, draws: Draws) -> Law:
    """Uncertainty that the device sees for its drafts, shape [N]."""
    chance = disagreement[:, drafts]  # [1 or M, N]
    if convention.temperatures == "mean":
        return chance[0]
    chance = np.broadcast_to(chance, (convention.num_samples, len(drafts)))
    return draws.event(chance).mean(axis=0)


# ---------------------------------------------------------------------------------------------- one draft law


@dataclass(slots=True)
class Context:
    """Device side of one context."""

    draft_law: Law
    """Law that the draft is drawn from, shape [V]."""
    x: Law
    """Small model's law at the sampling temperature, shape [V]."""
    disagreement: Law | None
    """See `perturbed_disagreement`; None where the scheme does not ask."""
    system: System
    """Link and codec, for the truncation that weighs its airtime."""
    settings: Settings
    """Scheme, policy and conventions."""
    sizes: dict[float, int] = field(default_factory=dict)
    """Entries kept at budgets that were asked for already."""

    @property
    def uncertainty(self) -> Law:
        """Mean uncertainty of every token, shape [V]."""
        assert self.disagreement is not None
        return self.disagreement.mean(axis=0)

    def skip(self) -> Law:
        """s(d), probability that each draft would be kept without asking, shape [V]."""
        rules, policy = self.settings.rules, self.settings.policy
        if rules.skip == "always":
            return np.ones(len(self.x))
        if rules.skip == "never":
            return np.zeros(len(self.x))
        if rules.skip == "random":
            assert policy.skip_rate is not None
            return np.full(len(self.x), policy.skip_rate)
        assert self.disagreement is not None
        below = _at_most(self.disagreement, self.settings.convention, policy.threshold)
        if policy.upper_threshold is None or policy.mix == 0.0:
            return below
        upper = _at_most(self.disagreement, self.settings.convention, policy.upper_threshold)
        return (1.0 - policy.mix) * below + policy.mix * upper

    def kept_entries(self, drafts: Ints) -> Ints:
        """K for each draft, shape [N]; 0 where no distribution is sent."""
        rules, policy = self.settings.rules, self.settings.policy
        size = len(self.x)
        if rules.payload == "full":
            return np.full(len(drafts), size)
        if rules.payload == "offline":
            return np.full(len(drafts), min(policy.offline_k, size))
        if rules.payload == "exact":
            return np.full(len(drafts), self._exact_size())
        if rules.payload == "online":
            return self._online_sizes(drafts)
        return np.zeros(len(drafts), dtype=np.int64)

    def _exact_size(self) -> int:
        policy = self.settings.policy
        if -1.0 not in self.sizes:
            if policy.truncation_price_s is None:
                size = int(truncation.exact_k(self.x, policy.truncation_budget))
            else:
                grid = np.array(k_grid(len(self.x)))
                airtime = packet_latency_s(self.system.link, distribution_bit(self.system.codec, grid))
                price = policy.truncation_price_s * truncation.tv_profile(self.x, grid)
                size = int(grid[np.argmin(airtime + price)])
            self.sizes[-1.0] = size
        return self.sizes[-1.0]

    def _online_sizes(self, drafts: Ints) -> Ints:
        """Apply the printed rule, one size a draft; it depends on the draft through x_d and beta(u)."""
        policy = self.settings.policy
        assert policy.slope is not None
        assert policy.intercept is not None
        distinct, place = np.unique(drafts, return_inverse=True)
        beta = Line(policy.slope, policy.intercept)(self.uncertainty[distinct])
        sizes = truncation.printed_k(self.x, policy.truncation_budget, self.x[distinct], beta)
        return np.asarray(sizes, dtype=np.int64)[place]

    def sent(self, size: int) -> Law:
        """Return what the server takes for the draft's law when ``size`` entries are sent, shape [V]."""
        return self.x if size in (0, len(self.x)) else truncation.reconstruct(self.x, size)


def context(logits: Law, settings: Settings, system: System) -> Context:
    """Device side of one context from the small model's logits, shape [V]."""
    x = next_law(logits, settings.temperature)
    rules, convention = settings.rules, settings.convention
    asks = rules.skip == "threshold" or rules.payload == "online"
    return Context(
        draft_law=_point(int(np.argmax(logits)), len(x)) if convention.draft == "argmax" else x,
        x=x,
        disagreement=perturbed_disagreement(logits, convention) if asks else None,
        system=system,
        settings=settings,
    )


@dataclass(frozen=True, slots=True)
class Proposal:
    """Drafts of N rounds in one context and what the device does with them, each of shape [N]."""

    draft: Ints
    uncertainty: Law
    skipped: NDArray[np.bool_]
    k: Ints


def propose(here: Context, draws: Draws, num: int = 1) -> Proposal:
    """Draft, decide whether to transmit, choose how much to send; ``num`` independent rounds."""
    rules, policy, convention = here.settings.rules, here.settings.policy, here.settings.convention
    draft = draws.token(here.draft_law, num)
    seen = np.full(num, np.nan)
    if rules.skip == "threshold":
        assert here.disagreement is not None
        seen = _observe(here.disagreement, draft, convention, draws)
        threshold = np.full(num, policy.threshold)
        if policy.upper_threshold is not None and policy.mix > 0.0:
            threshold[draws.event(np.full(num, policy.mix))] = policy.upper_threshold
        slack = 0.0 if convention.temperatures == "mean" else _ROUNDING
        skipped = seen < threshold - slack if convention.transmit_at_threshold else seen <= threshold + slack
    elif rules.skip == "random":
        assert policy.skip_rate is not None
        skipped = draws.event(np.full(num, policy.skip_rate))
    else:
        skipped = np.full(num, rules.skip == "always")
    k = np.zeros(num, dtype=np.int64)
    if not np.all(skipped):
        k[~skipped] = here.kept_entries(draft[~skipped])
    return Proposal(draft, seen, skipped, k)


def settle(here: Context, proposal: Proposal, y: Law | None, draws: Draws) -> tuple[Ints, Ints]:
    """Server's answer: tokens and actions, each of shape [N]; ``y`` may be None where all is skipped."""
    token = proposal.draft.copy()
    action = np.full(len(token), SKIPPED)
    for size in np.unique(proposal.k[~proposal.skipped]):
        assert y is not None
        rounds = np.flatnonzero(~proposal.skipped & (proposal.k == size))
        if here.settings.rules.verification == "server-draws":
            token[rounds] = draws.token(y, len(rounds))
            action[rounds] = SAMPLED
            continue
        sent = here.sent(int(size))
        draft = proposal.draft[rounds]
        rejected = rounds[draws.event(_rejection(here, sent, y)[draft])]
        action[rounds] = ACCEPTED
        action[rejected] = RESAMPLED
        if len(rejected):
            token[rejected] = draws.token(verification.residual(sent, y), len(rejected))
    return token, action


def _rejection(here: Context, sent: Law, y: Law) -> Law:
    """Chance that the server rejects each draft, shape [V]."""
    assumed = sent if here.settings.convention.accept_with == "sent" else here.x
    return verification.rejection_probability(np.minimum(assumed, 1.0), np.minimum(y, 1.0))


def output(here: Context, y: Law) -> Law:
    """Exact law of the token that `propose` and `settle` commit in this context, shape [V]."""
    p, skip = here.draft_law, here.skip()
    if here.settings.rules.verification == "server-draws":
        return verification.server_sampling_law(p, y, skip)
    out = p * skip
    candidates = np.flatnonzero(p * (1.0 - skip))
    sizes = here.kept_entries(candidates)
    for size in np.unique(sizes):
        sent = here.sent(int(size))
        group = np.zeros(len(p))
        group[candidates[sizes == size]] = 1.0
        asked = group * p * (1.0 - skip)
        refused = asked * _rejection(here, sent, y)
        out += asked - refused
        if refused.sum() > 0.0:
            out += refused.sum() * verification.residual(sent, y)
    return out


def measure(here: Context, y: Law, draft: int, k: int) -> dict[str, Any]:
    """Compute what the record of a token says about its context: exact bias, its bound's parts, beta."""
    p, skip = here.draft_law, here.skip()
    beta = verification.rejection_probability(np.minimum(here.x, 1.0), np.minimum(y, 1.0))
    transmits = float(p @ (1.0 - skip)) > 0.0 and here.settings.rules.verification != "server-draws"
    if transmits and k == 0:  # nothing was sent, but a size was chosen before the draft was drawn
        k = int(here.kept_entries(np.array([draft]))[0])
    lost = float(truncation.truncation_tv(here.x, k)) if transmits and 0 < k < len(p) else 0.0
    return {
        "draft_prob": here.x[draft],
        "llm_prob": y[draft],
        "rejection": beta[draft],
        "tv": float(verification.total_variation(output(here, y), y)),
        "skip_mass": float(p @ skip),
        "risk": float(p @ (skip * beta)),
        "truncation_tv": lost,
    }


# --------------------------------------------------------------------------------------------- several drafts


def lattice(law: Law, levels: int) -> Law:
    """Nearest law whose probabilities are multiples of 1/levels, by largest remainders, shape [V]."""
    scaled = law * levels
    whole = np.floor(scaled)
    missing = levels - round(float(whole.sum()))
    if missing > 0:
        whole[np.argpartition(whole - scaled, missing - 1)[:missing]] += 1.0
    return whole / levels


def keep_runs(draft_prob: Law, llm_prob: Law, draws: Draws) -> Ints:
    """Draw the number of drafts kept in each of N runs, up to the first rejection; [N, gamma] to [N]."""
    rejected = draws.event(verification.rejection_probability(draft_prob, llm_prob))
    first = np.argmax(rejected, axis=-1)
    return np.where(rejected.any(axis=-1), first, rejected.shape[-1]).astype(np.int64)
