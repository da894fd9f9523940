"""Rounds that draft several tokens and verify them in one pass: their lengths, their tokens, how they end.

A run of drafts ends at a token that calls for the server, at a maximal length, or where the recorded text
ends. The server keeps drafts up to the first rejection and replaces that one; the next round starts there.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import Floats, as_count, as_probability
from cuhlm_theory.contexts import Ints
from cuhlm_theory.errors import DivergentError

_NEGLIGIBLE = 1e-14  # chance of a run so long that its tail no longer matters
_MOST_WALKS = 128  # that are remembered: of all schemes on one link, in some tens of megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Kinds of rounds and how often each happens; R kinds."""

    weight: Floats
    """How often a kind happens, up to a common factor, shape [R] [-]."""
    num_drafts: Floats
    """Drafts of the round, kept or not, shape [R] [token]."""
    num_tokens: Floats
    """Mean tokens that the round commits, shape [R] [token]."""
    all_kept: Floats
    """Chance that no draft is rejected, shape [R] [-]."""
    kept_tokens: Floats
    """Tokens that the round commits where none is, shape [R] [token]."""
    draft_bit: Floats
    """Uplink payload of all drafts of the round, shape [R] [bit]."""
    entries: Floats
    """Entries of the distributions of all drafts of the round, shape [R] [token]."""
    bias: Floats
    """Sum of the biases of the places that the server verifies, shape [R] [-]."""
    prompt: NDArray[np.int64] | None = None
    """Text that each round belongs to, shape [R]; None where tokens are i.i.d."""

    def mean(self, values: Floats) -> float:
        """Return the mean of ``values``, shape [R], over the rounds."""
        return float(np.sum(self.weight * values) / np.sum(self.weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What a draft adds to its round beside its bits; one number, or one a draft, shape [N]."""

    entries: Floats | float = 0.0
    """Entries of the distribution that goes with a draft [token]."""
    bias: Floats | float = 0.0
    """Bias of a place that is verified [-]."""


class TextRows:
    """Recorded tokens as a row a text, padded to the longest: P texts of up to n tokens."""

    def __init__(self, prompt: NDArray[np.int64]) -> None:
        self._order = np.argsort(prompt, kind="stable")
        self._back = np.argsort(self._order)
        self.length = np.unique(prompt, return_counts=True)[1]
        """Tokens of each text, shape [P]."""
        self._cell = np.arange(self.length.max()) < self.length[:, None]  # True where the text has a token

    def grid(self, values: ArrayLike, fill: float) -> Floats:
        """Return values of the tokens, shape [N] or one for all, as rows, shape [P, n]."""
        padded = np.full(self._cell.shape, fill)
        each = np.broadcast_to(np.asarray(values, dtype=np.float64), self._order.shape)
        padded[self._cell] = each[self._order]
        return padded

    def flat(self, rows: Floats) -> Floats:
        """Return rows as values of the tokens, shape [N]."""
        return np.asarray(rows[self._cell], dtype=np.float64)[self._back]


def recorded_rounds(
    acceptance: ArrayLike,
    ends: ArrayLike,
    prompt: NDArray[np.int64],
    draft_bit: ArrayLike,
    *,
    ending_acceptance: ArrayLike | None = None,
    charges: Charges | None = None,
    max_drafts: int | Ints | None = None,
    bonus: bool = True,
) -> Rounds:
    """Find the rounds over recorded tokens, by exact recursion on the chance that one starts at each token.

    Every recorded token is committed once, so the rounds of a text commit as many tokens as it has; a run
    that the end of the text cuts is verified there. A replaced token is followed by what was recorded. Where
    runs end by chance, a kind of round has their mean length.

    Derivation: ``derivations.schemes.recorded_rounds``.

    Parameters
    ----------
    acceptance : array_like, shape [N]
        Chance that each draft is kept, given that the run goes on [-].
    ends : array_like, shape [N]
        Chance that a run ends with this draft [-].
    prompt : ndarray of int, shape [N]
        Text that each token belongs to, tokens of a text in their order [-].
    draft_bit : array_like, shape [N]
        Uplink payload of each draft [bit].
    ending_acceptance : array_like, shape [N], optional
        Chance that a draft is kept, given that it ends the run; by default ``acceptance`` [-].
    charges : Charges, optional
        What each draft adds beside its bits.
    max_drafts : ndarray of int64, shape [N], or int, optional
        Longest run, or longest run begun at each token [token]; None sets no limit.
    bonus : bool, default True
        Whether the LLM adds its own token after a fully kept run.

    Returns
    -------
    Rounds
        One kind a token that a round can start with.

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1] or ``max_drafts`` below 1.

    Examples
    --------
    Two sure drafts and a sure trigger make one round; with a bonus token the third is the server's own:

    >>> rounds = recorded_rounds([1, 1, 1, 1], [0, 1, 0, 1], np.zeros(4, int), [24] * 4, bonus=False)
    >>> rounds.weight, rounds.num_tokens
    (array([1., 0., 1., 0.]), array([2., 1., 2., 1.]))
    """
    also = charges or Charges()
    kept = as_probability("acceptance", acceptance)
    return remembered(
        _along,
        prompt,
        kept=kept,
        end=as_probability("ends", ends),
        end_kept=kept if ending_acceptance is None else ending_acceptance,
        most=len(prompt) if max_drafts is None else as_count("max_drafts", max_drafts),
        draft_bit=draft_bit,
        entries=also.entries,
        bias=also.bias,
        bonus=bonus,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """A walk along the texts, and what it depends on: recorded chances and payloads, no link, no latency."""

    digest: bytes
    walk: Callable[..., Sequence[Floats]] = field(compare=False)
    given: Mapping[str, NDArray[Any]] = field(compare=False)

    @classmethod
    def of(cls, walk: Callable[..., Sequence[Floats]], prompt: Ints, given: Mapping[str, Any]) -> "_Walk":
        known = {name: _one_for_all(np.asarray(value)) for name, value in given.items()} | {"prompt": prompt}
        digest = hashlib.sha256(f"{walk.__module__}.{walk.__qualname__}".encode())
        for value in known.values():
            digest.update(repr((value.shape, value.dtype.str)).encode())
            digest.update(np.ascontiguousarray(value).data)
        return cls(digest=digest.digest(), walk=walk, given=known)


def _one_for_all(values: NDArray[Any]) -> NDArray[Any]:
    """Return one number where all values are the same."""
    if not values.size or values.flat[0] != values.flat[-1] or np.any(values != values.flat[0]):
        return values
    return values.flat[:1].reshape(())


def remembered(walk: Callable[..., Sequence[Floats]], prompt: Ints, **given: Any) -> Rounds:
    """Return the rounds of a walk along the texts, made once: the same recorded numbers take the same rounds.

    Parameters
    ----------
    walk : callable
        Gives the columns of `Rounds` of each token, given ``prompt`` and the rest by name.
    prompt : ndarray of int64, shape [N]
        Text that each token belongs to [-].
    **given : object
        What else the walk depends on, numbers and arrays.

    Returns
    -------
    Rounds
        One kind a token that a round can start with.
    """
    columns = _walked(_Walk.of(walk, np.asarray(prompt), given))
    names = ("weight", "num_drafts", "num_tokens", "all_kept", "kept_tokens", "draft_bit", "entries", "bias")
    return Rounds(**dict(zip(names, columns, strict=True)), prompt=np.asarray(prompt))


@lru_cache(maxsize=_MOST_WALKS)
def _walked(asked: _Walk) -> Sequence[Floats]:
    """Walk along the texts once for all links; what is given away cannot be written to."""
    columns = asked.walk(**asked.given)
    for column in columns:
        column.flags.writeable = False
    return columns


def _along(*, prompt: Ints, most: ArrayLike, bonus: bool, **each: ArrayLike) -> Sequence[Floats]:
    """Columns of the rounds begun at each token, shape [N] each."""
    texts = TextRows(prompt)

    def grid(values: ArrayLike, fill: float) -> Floats:
        return np.ascontiguousarray(texts.grid(values, fill).T)

    keeps, ends, keeps_end = (grid(each[name], 1.0) for name in ("kept", "end", "end_kept"))
    shortest = float(np.min(most))
    after = np.arange(1, len(keeps) + 1)[:, None]
    goes_on = np.where(after == texts.length, 0.0, 1.0 - ends)
    run = _Run(
        goes_on=goes_on,
        passes=goes_on * keeps,
        closes=ends * keeps_end + np.where(after == texts.length, (1.0 - ends) * keeps, 0.0),
        bonus=np.asarray(bonus & (after < texts.length), np.float64),  # a complete text needs no bonus token
        drafted=np.stack([grid(each[name], 0.0) for name in ("draft_bit", "entries")]),
        bias=grid(each["bias"], 0.0),
    )
    limit = np.minimum(grid(most, shortest), len(keeps)).astype(np.int64)
    columns = run.unlimited() if shortest >= len(keeps) else run.limited(limit)
    drafts, _, all_kept, kept_tokens = columns[1:5]
    kept_tokens[:] = np.divide(kept_tokens, all_kept, out=drafts.copy(), where=all_kept > 0.0)
    return [texts.flat(column.T) for column in columns]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a run of drafts does at each place of P texts of up to n tokens, shape [n, P] each.

    The rounds begun at each place are returned as the columns of `Rounds`, shape [8, n, P], ``kept_tokens``
    not divided by ``all_kept``. A round begins where one that began before it ends.
    """

    goes_on: Floats
    """Chance that the device drafts the next token too [-]."""
    passes: Floats
    """Chance that it does, and the server keeps this draft [-]."""
    closes: Floats
    """Chance that the run ends here, and the server keeps this draft [-]."""
    bonus: Floats
    """Tokens that the server adds to a run that is kept and ends here [token]."""
    drafted: Floats
    """Payload [bit] and entries [token] of a draft, shape [2, n, P]."""
    bias: Floats
    """Bias of a place that is verified [-]."""

    def unlimited(self) -> Floats:
        """Follow runs of any length: each brings its first draft, and what one begun behind that brings."""
        one, whole = np.ones(self.bias.shape), self.closes * self.bonus
        first = np.stack([one, one + whole, self.closes, self.closes + whole, *self.drafted, self.bias])
        drafted, verified = self.goes_on, self.passes  # what is behind counts where it is
        chance = np.stack([drafted, verified, verified, verified, drafted, drafted, verified])
        columns = np.empty((8, *self.bias.shape))
        behind = np.zeros((7, self.bias.shape[1]))
        for place in reversed(range(len(self.bias))):
            behind[3] += behind[2]  # where all is kept, the draft before it is one token more
            behind = columns[1:, place] = first[:, place] + chance[:, place] * behind
        begins = np.zeros((len(self.bias) + 2, self.bias.shape[1]))
        begins[0] = 1.0
        alive = np.zeros(self.bias.shape[1])  # rounds at a place whose drafts were all kept
        for place in range(len(self.bias)):
            alive = alive + begins[place]
            passed, added = self.passes[place] * alive, whole[place] * alive
            begins[place + 1] += alive - passed - added
            begins[place + 2] += added
            alive = passed
        columns[0] = begins[:-2]
        return columns

    def limited(self, limit: Ints) -> Floats:
        """Follow runs begun everywhere at once, draft by draft; ``limit`` is the longest begun at a place."""
        num, reach = len(limit), int(limit.max())
        drafting = alive = np.ones(limit.shape)  # the device drafts on, and the server kept all so far
        columns = np.zeros((8, *limit.shape))
        begins, drafts, tokens, all_kept, kept_tokens = columns[:5]
        sums, bias = columns[5:7], columns[7]
        moves = np.zeros((num, reach + 1, limit.shape[1]))  # chance that the next begins 1, 2, ... tokens on
        for later in range(reach):
            here, place = slice(num - later), slice(later, None)
            drafting, alive = drafting[here], alive[here]
            drafts[here] += drafting
            sums[:, here] += drafting * self.drafted[:, place]
            bias[here] += alive * self.bias[place]
            on, done = alive * self.passes[place], alive * self.closes[place]
            drafting = drafting * self.goes_on[place]
            if np.any(cut := limit[here] == later + 1):
                done += np.where(cut, on, 0.0)
                on[cut] = drafting[cut] = 0.0
            extra = done * self.bonus[place]
            all_kept[here] += done
            kept_tokens[here] += done * (later + 1) + extra
            tokens[here] += alive + extra
            moves[here, later] += alive - on - extra
            moves[here, later + 1] += extra
            alive = on
            if not np.any(drafting):
                break
        chance = np.zeros((num + reach + 1, limit.shape[1]))
        chance[0] = 1.0
        for first in range(num):
            chance[first + 1 : first + reach + 2] += chance[first] * moves[first]
        begins[:] = chance[:num]
        return columns


def independent_rounds(
    end_probability: float,
    acceptance: float,
    ending_acceptance: float,
    draft_bit: float,
    *,
    charges: Charges | None = None,
    max_drafts: int | None = None,
    bonus: bool = True,
) -> Rounds:
    r"""Find the rounds of i.i.d. tokens: a geometric run, cut at a maximal length.

    .. math:: P(L = l) = (1 - e)^{l - 1} e, \qquad
              E[N | L] = \sum_{j=0}^{L - 1} a^j \;(+\; a^{L - 1} a_e \text{ with the bonus})
              \qquad \text{[new]}

    Derivation: ``derivations.drafting.sync_tokens_per_round``.

    Parameters
    ----------
    end_probability : float
        :math:`e`, chance that a draft ends its run [-].
    acceptance : float
        :math:`a`, chance to be kept of a draft that does not end its run [-].
    ending_acceptance : float
        :math:`a_e`, of one that does [-].
    draft_bit : float
        Mean payload of a draft [bit].
    charges : Charges, optional
        What a draft adds on average beside its bits.
    max_drafts : int, optional
        Longest run [token].
    bonus : bool, default True
        Whether the LLM adds its own token after a fully kept run.

    Returns
    -------
    Rounds
        One kind a length, and one for the run that is cut.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1].
    DivergentError
        If nothing ever ends a run.

    Examples
    --------
    >>> rounds = independent_rounds(1.0, 0.5, 0.5, 24.0)
    >>> rounds.num_drafts, rounds.num_tokens
    (array([1., 1.]), array([1.5, 1.5]))
    """
    end = float(as_probability("end_probability", end_probability))
    keep = float(as_probability("acceptance", acceptance))
    last_keep = float(as_probability("ending_acceptance", ending_acceptance))
    if max_drafts is None:
        if end == 0.0:
            raise DivergentError("no draft triggers a transmission, so the run never ends; give max_drafts")
        longest = 1 if end == 1.0 else 1 + math.ceil(math.log(_NEGLIGIBLE) / math.log1p(-end))
    else:
        longest = int(as_count("max_drafts", max_drafts))
    length = np.concatenate((np.arange(1, longest + 1), [longest])).astype(np.float64)
    weight = (1.0 - end) ** (length - 1.0) * end
    weight[-1] = (1.0 - end) ** longest  # the run that nothing ended
    before = np.concatenate((np.cumsum(keep ** np.arange(longest)), [0.0]))  # sum of a^j, j < L
    before[-1] = before[-2]
    final = np.full(longest + 1, last_keep)
    final[-1] = keep
    all_kept = keep ** (length - 1.0) * final
    also = charges or Charges()
    return Rounds(
        weight=weight,
        num_drafts=length,
        num_tokens=before + (all_kept if bonus else 0.0),
        all_kept=all_kept,
        kept_tokens=length + bonus,
        draft_bit=length * draft_bit,
        entries=length * also.entries,
        bias=before * also.bias,
    )


def block_rounds(
    survival: Floats, length: Ints, draft_bit: Floats, entries: Floats, *, bonus: bool = True
) -> Rounds:
    r"""Find the rounds that are verified as one block, a kind a text.

    .. math:: E[N] = 1 + \sum_{j=1}^{\gamma - 1} S_j \;(+\; S_\gamma \text{ with the bonus})
              \qquad \text{[BLOCK]}

    Derivation: ``derivations.rivals.block_survival``.

    Parameters
    ----------
    survival : ndarray of float64, shape [R, K]
        :math:`S_1, \dots` of each text, K drafts a round [-].
    length : ndarray of int64, shape [R]
        Tokens of each text, as many as its rounds commit [token].
    draft_bit : ndarray of float64, shape [R]
        Mean uplink payload of a draft [bit].
    entries : ndarray of float64, shape [R]
        Mean entries of the distribution that goes with a draft [token].
    bonus : bool, default True
        Whether the LLM adds its own token after a fully kept run.

    Returns
    -------
    Rounds
        One kind a text.

    Notes
    -----
    Rounds are taken to begin anywhere in a text alike: a block may be kept for the sake of a later draft, so
    one recorded text does not tell where the next begins.

    References
    ----------
    .. [BLOCK] arXiv:2403.10444.

    Examples
    --------
    >>> rounds = block_rounds(np.array([[0.5, 0.4]]), np.array([38]), np.full(1, 24.0), np.zeros(1))
    >>> rounds.weight, rounds.num_tokens
    (array([20.]), array([1.9]))
    """
    num, drafts = survival.shape
    num_tokens = 1.0 + survival[:, :-1].sum(axis=1) + bonus * survival[:, -1]
    return Rounds(
        weight=length / num_tokens,
        num_drafts=np.full(num, float(drafts)),
        num_tokens=num_tokens,
        all_kept=survival[:, -1],
        kept_tokens=np.full(num, float(drafts + bonus)),
        draft_bit=drafts * draft_bit,
        entries=drafts * entries,
        bias=np.zeros(num),
    )
