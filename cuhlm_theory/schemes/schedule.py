"""Rounds whose number of drafts follows what became of the round before."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import Floats, as_probability
from cuhlm_theory.contexts import Ints
from cuhlm_theory.schemes.draft import Scheduled
from cuhlm_theory.schemes.rounds import Charges, Rounds, TextRows, remembered

__all__ = ["independent_scheduled_rounds", "recorded_scheduled_rounds"]


def recorded_scheduled_rounds(
    acceptance: ArrayLike,
    prompt: NDArray[np.int64],
    draft_bit: ArrayLike,
    rule: Scheduled,
    *,
    charges: Charges | None = None,
) -> Rounds:
    r"""Find the rounds over recorded tokens, by recursion on the chance of each start and number of drafts.

    .. math:: P(n + j + 1, \max(\gamma - 1, 1)) \mathrel{+}= P(n, \gamma) \Big(\prod_{i < j} a_{n+i}\Big)
              (1 - a_{n+j}), \qquad
              P(n + \gamma + 1, \gamma + 2) \mathrel{+}= P(n, \gamma) \prod_{i < \gamma} a_{n+i}

    Derivation: ``derivations.drafting.schedule``.

    Parameters
    ----------
    acceptance : array_like, shape [N]
        :math:`a`, chance that each draft is kept [-].
    prompt : ndarray of int, shape [N]
        Text that each token belongs to, tokens of a text in their order; each begins anew [-].
    draft_bit : array_like, shape [N]
        Uplink payload of each draft [bit].
    rule : Scheduled
        First number of drafts, the most, and whether the LLM adds a token.
    charges : Charges, optional
        What each draft adds beside its bits.

    Returns
    -------
    Rounds
        One kind a token that a round can start with, at its mean over the numbers of drafts.

    Raises
    ------
    ValueError
        If an acceptance is outside [0, 1].

    Examples
    --------
    Everything is kept: 2 drafts and a bonus token, then 4 and one more:

    >>> texts = np.zeros(8, dtype=np.int64)
    >>> rounds = recorded_scheduled_rounds(np.ones(8), texts, np.ones(8), Scheduled(first_drafts=2))
    >>> rounds.weight[[0, 3]], rounds.num_drafts[[0, 3]]
    (array([1., 1.]), array([2., 4.]))
    """
    also = charges or Charges()
    return remembered(
        _along,
        prompt,
        kept=as_probability("acceptance", acceptance),
        draft_bit=draft_bit,
        entries=also.entries,
        bias=also.bias,
        **asdict(rule),
    )


def _along(
    *, prompt: Ints, kept: ArrayLike, draft_bit: ArrayLike, entries: ArrayLike, bias: ArrayLike, **rule: Any
) -> Sequence[Floats]:
    """Columns of the rounds begun at each token, at their mean over the numbers of drafts, shape [N] each."""
    texts = TextRows(prompt)
    grid = texts.grid
    drafted, length = np.stack([grid(draft_bit, 0.0), grid(entries, 0.0)]), texts.length
    walked = _walk(grid(kept, 1.0), length, drafted, grid(bias, 0.0), Scheduled(**rule))
    weight, drafts, tokens, all_kept, kept_tokens, bits, sent, lost = map(texts.flat, walked)

    def mean(values: Floats, over: Floats) -> Floats:
        return np.divide(values, over, out=np.zeros(len(values)), where=over > 0.0)

    return [
        weight,
        *(mean(values, weight) for values in (drafts, tokens, all_kept)),
        mean(kept_tokens, all_kept),
        *(mean(values, weight) for values in (bits, sent, lost)),
    ]


def _walk(kept: Floats, length: Ints, drafted: Floats, verified: Floats, rule: Scheduled) -> Floats:
    """Sum over the rounds begun at each token of each text, weighed by their chance, shape [8, P, n]."""
    num_texts, longest = kept.shape
    text, most = np.arange(num_texts), rule.max_drafts
    begins = np.zeros((num_texts, longest + most + 2, most + 1))  # by first token and number of drafts
    begins[:, 0, min(rule.first_drafts, most)] = 1.0
    before = np.concatenate([np.zeros((2, num_texts, 1)), np.cumsum(drafted, axis=-1)], axis=-1)
    sums = np.zeros((8, num_texts, longest))
    for start in range(longest):
        window = slice(start, start + most)
        survival = np.cumprod(kept[:, window], axis=1)  # of the first 1, 2, ... drafts
        reached = np.concatenate([np.ones((num_texts, 1)), survival[:, :-1]], axis=1)
        reached[np.arange(longest)[window] >= length[:, None]] = 0.0  # no draft behind the end of a text
        lost = reached * (1.0 - kept[:, window])
        tokens, bias = np.cumsum(reached, axis=1), np.cumsum(reached * verified[:, window], axis=1)
        wanted = np.flatnonzero(begins[:, start].any(axis=0))
        chance = np.where(start < length[:, None], begins[:, start, wanted], 0.0)  # [P, W], W numbers wanted
        left = np.clip(length - start, 1, None)[:, None]
        drafts = np.minimum(left, wanted)
        whole = np.take_along_axis(survival, drafts - 1, axis=1)
        added = rule.adds_bonus & (drafts < left)
        committed = drafts + added
        for place, count in enumerate(wanted.tolist()):
            tried = lost[:, :count]
            begins[:, start + 1 : start + 1 + tried.shape[1], rule.after(count, False)] += (
                chance[:, place, None] * tried
            )
            begins[text, start + committed[:, place], rule.after(count, True)] += (
                chance[:, place] * whole[:, place]
            )
        till = np.minimum(start + drafts, longest)
        bits, entries = before[:, text[:, None], till] - before[:, :, start, None]
        of_tokens, of_bias = (np.take_along_axis(column, drafts - 1, axis=1) for column in (tokens, bias))
        columns = np.stack(
            [
                np.ones(drafts.shape),
                drafts,
                of_tokens + added * whole,
                whole,
                whole * committed,
                bits,
                entries,
                of_bias,
            ]
        )
        sums[:, :, start] = np.sum(chance * columns, axis=-1)
    return sums


def independent_scheduled_rounds(
    acceptance: float, draft_bit: float, rule: Scheduled, *, charges: Charges | None = None
) -> Rounds:
    r"""Find the rounds of i.i.d. drafts, whose number is a Markov chain in its steady state.

    .. math:: \pi_\gamma = \pi_{\gamma - 2} \, \alpha^{\gamma - 2}
              + \pi_{\gamma + 1} (1 - \alpha^{\gamma + 1})

    Derivation: ``derivations.drafting.schedule``.

    Parameters
    ----------
    acceptance : float
        :math:`\alpha`, chance that a draft is kept [-].
    draft_bit : float
        Payload of a draft [bit].
    rule : Scheduled
        The most drafts, and whether the LLM adds a token.
    charges : Charges, optional
        What a draft adds beside its bits.

    Returns
    -------
    Rounds
        One kind a number of drafts.

    Raises
    ------
    ValueError
        If the acceptance is outside [0, 1].

    Examples
    --------
    Nothing is kept: one draft a round.

    >>> rounds = independent_scheduled_rounds(0.0, 24.0, Scheduled())
    >>> round(rounds.mean(rounds.num_drafts), 9), round(rounds.mean(rounds.num_tokens), 9)
    (1.0, 1.0)
    """
    keep = float(as_probability("acceptance", acceptance))
    count: Floats = np.arange(1.0, rule.max_drafts + 1.0)
    whole: Floats = keep**count
    step = np.zeros((len(count), len(count)))
    for place, drafts in enumerate(range(1, rule.max_drafts + 1)):
        step[place, rule.after(drafts, True) - 1] += whole[place]
        step[place, rule.after(drafts, False) - 1] += 1.0 - whole[place]
    weight = _steady(step)
    reached: Floats = np.cumsum(keep ** (count - 1.0), dtype=np.float64)
    also = charges or Charges()
    return Rounds(
        weight=weight,
        num_drafts=count,
        num_tokens=reached + (whole if rule.adds_bonus else 0.0),
        all_kept=whole,
        kept_tokens=count + float(rule.adds_bonus),
        draft_bit=count * draft_bit,
        entries=count * also.entries,
        bias=reached * also.bias,
    )


def _steady(step: Floats) -> Floats:
    """Law that a chain keeps, from its first state on; the least such law where there are several."""
    size = len(step)
    equations = np.vstack([step.T - np.eye(size), np.ones(size)])
    law = np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]
    return np.clip(law, 0.0, None) / np.clip(law, 0.0, None).sum()
