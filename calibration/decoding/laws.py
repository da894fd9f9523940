"""One context of the decoder: what the device proposes, what the server answers, the exact law of that.

`propose` is the code that the loops run, for one round or for many rounds of one context at once; `output` is
the exact law of the token that it and the server commit, in the bits that are sent. The rules of the scheme
decide; `Drafts` answers what they ask. Distributions are float64 of shape [V].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, softmax

from calibration.collect import k_grid
from calibration.decoding.settings import Convention, Settings
from calibration.decoding.wire import Wire
from cuhlm_theory import kept_law, truncation, verification
from cuhlm_theory.codec import LatticeLaw
from cuhlm_theory.contexts import Skips, Steps
from cuhlm_theory.parameters import System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes.skip import Skip
from cuhlm_theory.uncertainty import ContextUncertainty

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

    def level(self, probability: float, levels: int) -> int:
        """Draw the most levels that a number below a share of a probability has, uniform in that share."""
        return max(math.ceil(levels * self.rng.random() * probability) - 1, 0)


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


def _observe(disagreement: Law, convention: Convention, draws: Draws) -> Law:
    """Uncertainty that the device sees for its drafts, shape [N]."""
    if convention.temperatures == "mean":
        return disagreement[0]
    chance = np.broadcast_to(disagreement, (convention.num_samples, disagreement.shape[1]))
    return draws.event(chance).mean(axis=0)


# ---------------------------------------------------------------------------------------------- one draft law


_DRAFT_LAWS: dict[str, Callable[[Law, Law], Law]] = {
    "sampled": lambda logits, x: x,
    "argmax": lambda logits, x: _point(int(np.argmax(logits)), len(x)),
}


class Context:
    """Device side of one context."""

    def __init__(self, logits: Law, settings: Settings, system: System) -> None:
        self.settings = settings
        self.system = system
        x = next_law(logits, settings.temperature)
        if settings.scheme.draft.several or settings.convention.quantised:
            x = settings.scheme.payload.in_bits(x, system.codec)
        self.x = x
        """Small model's law at the sampling temperature, in the bits it is sent with, shape [V]."""
        self.draft_law = _DRAFT_LAWS[settings.convention.draft](logits, self.x)
        """Law that the draft is drawn from, shape [V]."""
        self._logits = logits
        self._at_most: dict[float, Law] = {}

    @cached_property
    def _means(self) -> list[ContextUncertainty]:
        """Mean over the temperatures up to the highest, and up to the lowest if that is not 0."""
        convention = self.settings.convention
        heats = [convention.max_temperature, convention.min_temperature]
        return [ContextUncertainty(self._logits, max_temperature=heat) for heat in heats if heat > 0.0]

    def disagreement(self, tokens: Ints) -> Law:
        """Chance that each perturbed draft differs from tokens.

        Shape [1, N] where the perturbed temperatures are drawn or averaged, [M, N] where they are fixed.
        """
        convention = self.settings.convention
        low, high = convention.min_temperature, convention.max_temperature
        if convention.temperatures == "linspace":
            heats = np.linspace(low, high, convention.num_samples)
            return 1.0 - np.stack([_tie_splitting_law(self._logits, heat)[tokens] for heat in heats])
        mean, *below = (uncertainty(tokens) for uncertainty in self._means)
        if below:  # the mean over (low, high] from the means over (0, low] and (0, high]
            mean = np.clip((high * mean - low * below[0]) / (high - low), 0.0, 1.0)
        return mean[None]

    def at_most(self, threshold: float) -> Law:
        """Chance that the uncertainty of each token is at most a threshold, shape [V] [-].

        A mean uncertainty is computed for the few tokens that may have so small a one; an observed one may be
        small for any.
        """
        if threshold not in self._at_most:
            convention = self.settings.convention
            tokens = np.arange(len(self.x))
            if convention.temperatures == "mean":
                tokens = self._means[0].candidates(max(threshold, 0.0))
            chance = np.zeros(len(self.x))
            chance[tokens] = _at_most(self.disagreement(tokens), convention, threshold)
            self._at_most[threshold] = chance
        return self._at_most[threshold]

    def drafts(self, token: Ints | None = None, y: Law | None = None, draws: Draws | None = None) -> "Drafts":
        """Return the places that differ in their draft: every token of the vocabulary, or these."""
        return Drafts(self, np.arange(len(self.x)) if token is None else token, y, draws)

    @cached_property
    def kept(self) -> Law:
        """Chance to draft each token and keep it without asking, rounded down where it is sent, shape [V]."""
        law = self.draft_law * (1.0 - self.settings.scheme.skip.skips(self.drafts()).transmit)
        if self.settings.scheme.payload.names_draft:
            return law
        return kept_law.round_down(law, self.system.codec.prob_bits)

    def skip(self) -> Law:
        """s(d), probability that each draft would be kept without asking, shape [V]."""
        if self.settings.scheme.payload.names_draft:
            return 1.0 - self.settings.scheme.skip.skips(self.drafts()).transmit
        return np.divide(self.kept, self.draft_law, out=np.zeros(len(self.x)), where=self.draft_law > 0.0)

    @cached_property
    def wire(self) -> Wire:
        """How messages are written."""
        return Wire(self.settings, self.system.codec)

    def message(self, law: Law, size: int, draft: int) -> LatticeLaw:
        """Return what is sent with a draft of a law, of which so many entries: that law, or the kept law."""
        return self.wire.law(law if self.settings.scheme.payload.names_draft else self.kept, size, draft)

    def kept_entries(self, drafts: Ints) -> Ints:
        """Entries sent with each draft, shape [N] [token]; 0 where no distribution is sent."""
        sizes = self.settings.scheme.payload.sizes(
            self.drafts(drafts), self.system, self.settings.scheme.skip
        )
        return np.zeros(len(drafts), dtype=np.int64) if sizes is None else sizes


def _share(steps: Steps, at_most: Callable[[float], Law], nothing: Law) -> Law:
    """Mean share that is kept where ``at_most`` is the chance of an uncertainty within each edge."""
    total = nothing
    for edge, share, beyond in zip(steps.edges, steps.shares, (*steps.shares[1:], 0.0), strict=True):
        if share > beyond:
            total = total + (share - beyond) * at_most(edge)
    return total


class Drafts:
    """N drafts of one context as `cuhlm_theory.contexts.Contexts`; the law of the large model where known.

    With ``draws`` they are drafts that were made, of which the device sees an uncertainty of its own.
    """

    def __init__(self, here: Context, token: Ints, y: Law | None, draws: Draws | None) -> None:
        self.here = here
        self.token = token
        self.seen = np.full(len(token), np.nan)
        """Uncertainty that the device saw, shape [N] [-]; NaN where no rule looked."""
        self._y = y
        self._draws = draws
        self._looked = False

    def __len__(self) -> int:
        return len(self.token)

    @property
    def weight(self) -> Law:
        """Chance of each draft among these, shape [N] [-]."""
        chance = self.here.draft_law[self.token]
        return chance / chance.sum() if chance.sum() > 0.0 else np.full(len(self), 1.0 / len(self))

    @property
    def y(self) -> Law:
        """Large model's law, shape [V] [-]."""
        assert self._y is not None, "only a context that the large model has seen has its law"
        return self._y

    def keeping(self, steps: Steps, *, drafts: bool = False) -> Skips:
        """Keep a share of each draft by the uncertainty it may have, or by that which was seen."""
        if self._draws is not None:
            zero = np.zeros(len(self))
            transmit = 1.0 - _share(steps, lambda t: self._seen_below(t).astype(np.float64), zero)
            return Skips(transmit=transmit, risk=zero, truncates=zero + 1.0, excess=zero)
        share = _share(steps, self.here.at_most, np.zeros(len(self.here.x)))  # [V]
        truncates = float(self.here.draft_law @ (1.0 - share) > 0.0)
        share, rejection = share[self.token], self.mean_rejection()
        return Skips(
            transmit=1.0 - share,
            risk=share * rejection,
            truncates=np.full(len(self), truncates),
            excess=np.maximum(share - (1.0 - rejection), 0.0),
        )

    def knows_kept(self, highest: float) -> bool:
        """Say yes: the whole law is at hand."""
        return True

    def transmit_chance(self, skip: Skip) -> Law:
        """Chance that this context transmits, the same for every draft."""
        kept = skip.mixture(self.here.at_most, lambda low, high, mix: (1.0 - mix) * low + mix * high)
        return np.full(len(self), float(self.here.draft_law @ (1.0 - kept)))

    def _seen_below(self, threshold: float) -> NDArray[np.bool_]:
        convention = self.here.settings.convention
        if not self._looked:
            assert self._draws is not None
            self.seen = _observe(self.here.disagreement(self.token), convention, self._draws)
            self._looked = True
        slack = 0.0 if convention.temperatures == "mean" else _ROUNDING
        if convention.transmit_at_threshold:
            return self.seen < threshold - slack
        return self.seen <= threshold + slack

    def draft_uncertainty(self) -> Law:
        """Mean uncertainty of each draft."""
        distinct, place = np.unique(self.token, return_inverse=True)
        return self.here.disagreement(distinct).mean(axis=0)[place]

    def mean_rejection(self) -> Law:
        """Chance that each draft is rejected; 0 where the large model's law is not known yet."""
        if self._y is None:
            return np.zeros(len(self))
        prob, llm_prob = self.here.x[self.token], self._y[self.token]
        return verification.rejection_probability(np.minimum(prob, 1.0), np.minimum(llm_prob, 1.0))

    def smallest_k(self, budget: float) -> Ints:
        """Fewest entries with a truncation TV within the budget, over all k."""
        return np.full(len(self), int(truncation.exact_k(self.here.x, budget)))

    def smallest_printed_k(self, budget: float, line: Line) -> Ints:
        """Fewest entries within the budget of the printed rule, over all k; it looks at x_d and beta(u)."""
        distinct, place = np.unique(self.token, return_inverse=True)
        rejection = line(self.here.disagreement(distinct).mean(axis=0))
        sizes = truncation.printed_k(self.here.x, budget, self.here.x[distinct], rejection)
        return np.asarray(sizes, dtype=np.int64)[place]

    def size_profile(self) -> tuple[Ints, Law]:
        """Sizes that a price chooses among, and the truncation TV of each."""
        sizes = np.array(self.here.settings.k_grid or k_grid(len(self.here.x)))
        profile = truncation.tv_profile(self.here.x, sizes)
        return sizes, np.broadcast_to(profile, (len(self), len(sizes)))

    def truncation_tv(self, k: Ints) -> Law:
        """TV_k of the device's law."""
        distinct, place = np.unique(k, return_inverse=True)
        return np.array([float(truncation.truncation_tv(self.here.x, int(size))) for size in distinct])[place]

    def acceptance_within(self, k: Ints) -> Law:
        """1 - TV(x-tilde_k, y)."""
        return self.rounded_acceptance(k, lambda law: law)

    def rounded_acceptance(self, k: Ints, rounding: Callable[[Law], Law]) -> Law:
        """1 - TV(x-hat_k, y)."""
        laws = [rounding(truncation.drop_tail(self.here.x, int(size))) for size in k]
        return np.array([1.0 - float(verification.total_variation(law, self.y)) for law in laws])

    def knows_largest(self, k: Ints) -> bool:
        """Both laws are at hand."""
        return True

    def kept_count(self, threshold: float, vocab_size: int) -> Ints:
        """Tokens that a threshold may keep."""
        return np.full(len(self), int(np.count_nonzero(self.here.draft_law * self.here.at_most(threshold))))

    def largest_prob(self) -> Law:
        """x_(1), the same for every draft."""
        return np.full(len(self), self.here.x.max())

    def server_bias_at(self, threshold: float) -> Law:
        """Bias of a server that draws from its own law whenever a threshold asks it."""
        law = verification.server_sampling_law(self.here.draft_law, self.y, self.here.at_most(threshold))
        return np.full(len(self), float(verification.total_variation(law, self.y)))


@dataclass(frozen=True, slots=True)
class Proposal:
    """Drafts of N rounds in one context and what the device does with them, each of shape [N]."""

    draft: Ints
    uncertainty: Law
    skipped: NDArray[np.bool_]
    k: Ints


def propose(here: Context, draws: Draws, num: int = 1) -> Proposal:
    """Draft, decide whether to transmit, choose how much to send; ``num`` independent rounds."""
    draft = draws.token(here.draft_law, num)
    seen, skipped = decide(here, draft, draws)
    k = np.zeros(num, dtype=np.int64)
    if not np.all(skipped):
        k[~skipped] = here.kept_entries(draft[~skipped])
    return Proposal(draft, seen, skipped, k)


def decide(here: Context, draft: Ints, draws: Draws) -> tuple[Law, NDArray[np.bool_]]:
    """Return the uncertainty that the device sees of its drafts, and which it keeps, each of shape [N]."""
    made, rule = here.drafts(draft, draws=draws), here.settings.scheme.skip
    keeps = 1.0 - rule.skips(made).transmit
    keeps = draws.event(keeps) if rule.randomised else keeps > 0.5
    if not here.settings.scheme.payload.names_draft:  # what is sent is rounded down, and so is what is kept
        may = here.draft_law * (1.0 - rule.skips(here.drafts()).transmit)
        left = np.divide(here.kept, may, out=np.zeros(len(may)), where=may > 0.0)[draft]
        keeps = draws.event(np.where(keeps, left, 0.0))
    return made.seen, keeps


def answered(here: Context, size: int, y: Law) -> tuple[Law, Law]:
    """Chance to keep each draft when so many entries arrive, and the law of what replaces one, shape [V]."""
    rule, law = here.settings.scheme.verification, here.x
    anything = int(np.argmax(law))  # the law that a single draft is verified with does not depend on it
    sent = law if here.wire.form is None else here.wire.received(here.message(law, size, anything))
    assumed = here.x if here.wire.own_probability else sent
    return rule.acceptance(assumed, y), rule.replacement(sent, y)


def output(here: Context, y: Law) -> Law:
    """Exact law of the token that device and server commit in this context, codec included, shape [V]."""
    p, skip = here.draft_law, here.skip()
    out = p * skip
    candidates = np.flatnonzero(p * (1.0 - skip))
    if not candidates.size:
        return out
    sizes = here.kept_entries(candidates)
    for size in np.unique(sizes):
        acceptance, replacement = answered(here, int(size), y)
        group = candidates[sizes == size]
        asked = p[group] * (1.0 - skip[group])
        out[group] += asked * acceptance[group]
        refused = float(asked @ (1.0 - acceptance[group]))
        if refused > 0.0:
            out += refused * replacement
    return out


def measure(here: Context, y: Law, draft: int) -> dict[str, Any]:
    """Compute what the record of a token says about its context: exact bias, its bound's parts, beta."""
    scheme, every, made = here.settings.scheme, here.drafts(y=y), here.drafts(np.array([draft]), y)
    kept, lost, sizes = here.draft_law * here.skip(), 0.0, here.kept_entries(made.token)
    if scheme.payload.needs_index and sizes[0] and kept.sum() < 1.0:  # the law itself is sent, in part
        sent = here.wire.received(here.message(here.x, int(sizes[0]), draft))
        lost = float(verification.total_variation(here.x, sent))
    return {
        "draft_prob": here.x[draft],
        "llm_prob": y[draft],
        "rejection": made.mean_rejection()[0],
        "tv": float(verification.total_variation(output(here, y), y)),
        "skip_mass": float(kept.sum()),
        "risk": float(kept @ every.mean_rejection()),
        "truncation_tv": scheme.skip.skips(made).truncates[0] * lost,
    }


# --------------------------------------------------------------------------------------------- several drafts


def keep_runs(acceptance: Law, draws: Draws) -> Ints:
    """Draw the number of drafts kept in each of N runs, up to the first rejection; [N, gamma] to [N]."""
    rejected = draws.event(1.0 - acceptance)
    first = np.argmax(rejected, axis=-1)
    return np.where(rejected.any(axis=-1), first, rejected.shape[-1]).astype(np.int64)
