r"""Laws that can be written: every probability is a multiple of :math:`1/\ell`.

A law that was rounded by `truncation.quantise`, `kept_law.round_down` or
`schemes.payload.round_to_lattice` becomes whole numbers by `LatticeLaw.of`. Whole numbers survive a link, and
both ends divide them alike: what the server decodes is bit for bit what the device drafted from.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count, as_distribution, as_nonnegative
from cuhlm_theory.codec.bits import Ints
from cuhlm_theory.truncation import drop_tail, quantise

MOST_LEVELS = 2**48  # where float64 still tells levels apart
_OFF = 1e-3  # of a level; float64 leaves less than 0.07 of one of 2^48, and a law of its own hundreds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LatticeLaw:
    """Levels of the tokens that have any; all of them, or all but those of a rest.

    >>> LatticeLaw.of([0.0, 0.75, 0.25], levels=4)
    LatticeLaw of 2 of 3 tokens, 4 of 4 levels
    """

    vocab_size: int
    """V [token]."""
    levels: int
    """ell: a probability is a multiple of 1/ell [-]."""
    index: Ints
    """Tokens with a probability, ascending, shape [k]."""
    count: Ints
    """Their levels, at least 1 each and at most ell together, shape [k] [-]."""
    tag: int = 0
    """A number that goes with the law: which of the tokens was drafted, or a random number [-]."""

    def __post_init__(self) -> None:
        as_count("vocab_size", self.vocab_size, at_least=2)
        as_count("levels", self.levels, at_most=MOST_LEVELS)
        as_count("tag", self.tag, at_least=0)
        if self.index.shape != self.count.shape or self.index.ndim != 1:
            raise ValueError(
                f"count must have the shape of index, {self.index.shape}; got {self.count.shape}"
            )
        ends = np.concatenate([[-1], self.index, [self.vocab_size]])
        if np.any(np.diff(ends) < 1):
            raise ValueError(f"index must ascend within [0, {self.vocab_size - 1}]; got {self.index}")
        if np.any(self.count < 1) or self.rest < 0:
            raise ValueError(f"count must be at least 1 each and {self.levels} in all; got {self.count}")

    def __repr__(self) -> str:
        used = f"{self.levels - self.rest} of {self.levels} levels"
        return f"LatticeLaw of {self.index.size} of {self.vocab_size} tokens, {used}"

    @classmethod
    def of(cls, law: ArrayLike, levels: int, *, tag: int = 0) -> "LatticeLaw":
        """Return a law, or a part of one, whose probabilities are multiples of 1/levels, shape [V]."""
        scaled = _one_law("law", as_nonnegative("law", law)) * levels
        count = np.rint(scaled)
        if np.any(off := np.abs(scaled - count) > _OFF):
            got = scaled[off][0] / levels
            raise ValueError(f"law must hold multiples of 1/{levels}, as rounding leaves; got {got:g}")
        index = np.flatnonzero(count)
        return cls(
            vocab_size=scaled.size,
            levels=levels,
            index=index,
            count=count[index].astype(np.int64),
            tag=tag,
        )

    @property
    def rest(self) -> int:
        """Levels that no token of the law has [-]."""
        return self.levels - int(self.count.sum())

    def only(self, token: int) -> "LatticeLaw":
        """Return what the law says of one token, which must have a probability."""
        here = self.index == token
        if not here.any():
            raise ValueError(f"token must have a probability in the law; got {token}")
        return replace(self, index=self.index[here], count=self.count[here])

    def kept(self) -> Floats:
        """Probabilities without the rest, shape [V] [-]: a kept law."""
        out = np.zeros(self.vocab_size)
        out[self.index] = self.count / self.levels
        return out

    def law(self) -> Floats:
        """Probabilities, with the rest spread evenly over the tokens that have none, shape [V] [-]."""
        others = self.vocab_size - self.index.size
        if self.rest and not others:
            raise ValueError(
                f"count must be {self.levels} in all where every token has a probability; got less"
            )
        out = np.full(self.vocab_size, self.rest / (self.levels * max(others, 1)))
        out[self.index] = self.count / self.levels
        return out


def round_truncated(dist: ArrayLike, k: int, prob_bits: int) -> LatticeLaw:
    r"""Law that a server has when the k largest probabilities arrive with b bits each.

    .. math:: \mathrm{TV}(x, x') \le TV_k + \frac{k + 1}{4\,\ell}, \qquad \ell = 2^{b_\mathrm{prob}} - 1
              \qquad \text{new here}

    Derivation: ``derivations.codec.truncated_rounding``.

    Parameters
    ----------
    dist : array_like, shape [V]
        :math:`x` [-].
    k : int
        Entries kept at most, between 1 and V [token].
    prob_bits : int
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].

    Returns
    -------
    LatticeLaw
        Its ``law()`` is :math:`x'`.

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution, k is not a whole number in [1, V], or the bits are outside [1, 48].

    Notes
    -----
    The k entries and the mass of the tail are rounded by largest remainders (`truncation.quantise`: on ties
    the lower token first, the tail last). An entry that is left with nothing joins the tail, which is nearer
    to it than 0 is; so fewer than k entries may be sent. A law that was quantised before is only truncated.
    With k = V it is `truncation.quantise`.

    Examples
    --------
    >>> round_truncated([0.1, 0.6, 0.3], k=1, prob_bits=2).law().round(6)
    array([0.166667, 0.666667, 0.166667])
    """
    x = _one_law("dist", as_distribution("dist", dist))
    kept = drop_tail(x, k) > 0.0
    cells = quantise(np.append(x[kept], x[~kept].sum()), prob_bits)
    entries = np.zeros(x.size)
    entries[kept] = cells[:-1]
    return LatticeLaw.of(entries, 2**prob_bits - 1)


def _one_law(name: str, value: Floats) -> Floats:
    if value.ndim != 1:
        raise ValueError(f"{name} must be one law, shape [V]; got shape {value.shape}")
    return value
