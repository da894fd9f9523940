"""Bits on the uplink: a truncated distribution, one index, a run of indices.

Every count is exact. The size k itself, which a receiver of variable k must be told, is charged by no codec,
as printed.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import _special as special
from cuhlm_theory._checks import Floats, as_count
from cuhlm_theory.parameters import Codec, CodecKind

Bits = NDArray[np.int64]

_MAX_VOCAB = 2**31  # keeps every payload within int64
_LN2 = math.log(2.0)


def printed_bit(k: ArrayLike, vocab_size: int, prob_bits: int = 8, index_bits: int | None = None) -> Bits:
    r"""Payload of the k largest probabilities, each with the index of its token.

    .. math:: B(k) = k\,(b_\mathrm{prob} + \lceil \log_2 V \rceil)
              \qquad \text{[CU, v1, eq. (5)], printed}

    Derivation: ``derivations.payload.printed``.

    Parameters
    ----------
    k : array_like of int, shape [...]
        Entries kept [token], between 1 and V.
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    prob_bits : int, default 8
        :math:`b_\mathrm{prob}`, bits a probability [bit].
    index_bits : int, optional
        Bits a token index [bit]; by default :math:`\lceil \log_2 V \rceil`. With 0 the whole distribution is
        sent in token order, as [U] prints, wherever that is shorter.

    Returns
    -------
    ndarray of int64, shape [...]
        :math:`B(k)` [bit].

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V], V is below 2, or a width is too small.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1.
    .. [U] U-HLM, arXiv:2412.12687.

    Examples
    --------
    >>> printed_bit([30, 32_000], vocab_size=32_000)
    array([   690, 736000])
    """
    codec = _codec(vocab_size, prob_bits, index_bits)
    listed = _kept(k, codec) * (codec.prob_bits + codec.bits_per_index)
    return np.asarray(np.minimum(listed, dense_bit(vocab_size, prob_bits)) if index_bits == 0 else listed)


def dense_bit(vocab_size: int, prob_bits: int = 8) -> Bits:
    r"""Payload of the whole distribution in token order, which needs no indices.

    .. math:: B = V b_\mathrm{prob}      \qquad \text{new here}

    Derivation: ``derivations.payload.dense``.

    Parameters
    ----------
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    prob_bits : int, default 8
        :math:`b_\mathrm{prob}`, bits a probability [bit].

    Returns
    -------
    ndarray of int64, shape []
        Payload [bit].

    Raises
    ------
    ValueError
        If V is below 2 or the width is outside [1, 64].

    Examples
    --------
    >>> int(dense_bit(32_000))
    256000
    """
    codec = _codec(vocab_size, prob_bits, None)
    return np.asarray(codec.vocab_size * codec.prob_bits, dtype=np.int64)


def enumerative_bit(k: ArrayLike, vocab_size: int, prob_bits: int = 8) -> Bits:
    r"""Payload of the k largest probabilities in token order, with the number of their index set.

    .. math:: B(k) = k\, b_\mathrm{prob} + \lceil \log_2 \tbinom{V}{k} \rceil      \qquad \text{new here}

    Derivation: ``derivations.payload.enumerative``.

    Parameters
    ----------
    k : array_like of int, shape [...]
        Entries kept [token], between 1 and V.
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    prob_bits : int, default 8
        :math:`b_\mathrm{prob}`, bits a probability [bit].

    Returns
    -------
    ndarray of int64, shape [...]
        Payload [bit], exact.

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V], V is below 2, or the width is outside [1, 64].

    Notes
    -----
    The logarithm comes from log-gamma; wherever it lies so close to a whole number that rounding could move
    the ceiling, the binomial coefficient is computed in integers instead.

    Examples
    --------
    >>> enumerative_bit([1, 30, 32_000], vocab_size=32_000)
    array([    23,    582, 256000])
    """
    codec = _codec(vocab_size, prob_bits, None)
    kept = _kept(k, codec)
    return np.asarray(kept * codec.prob_bits + _index_set_bit(kept, codec.vocab_size))


def index_only_bit(vocab_size: int, index_bits: int | None = None) -> Bits:
    r"""Payload of one token index.

    .. math:: B = \lceil \log_2 V \rceil      \qquad \text{new here}

    Derivation: ``derivations.payload.index_only``.

    Parameters
    ----------
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    index_bits : int, optional
        Bits a token index [bit]; by default :math:`\lceil \log_2 V \rceil`.

    Returns
    -------
    ndarray of int64, shape []
        Payload [bit].

    Raises
    ------
    ValueError
        If V is below 2 or the width cannot name every token.

    Examples
    --------
    >>> int(index_only_bit(32_000))
    15
    """
    return np.asarray(_codec(vocab_size, 8, index_bits).bits_per_index, dtype=np.int64)


def resync_bit(num_tokens: ArrayLike, vocab_size: int, index_bits: int | None = None) -> Bits:
    r"""Payload that tells the server a run of skipped tokens.

    .. math:: B = n \lceil \log_2 V \rceil      \qquad \text{new here; neglected by [CU]}

    Derivation: ``derivations.payload.resync``.

    Parameters
    ----------
    num_tokens : array_like of int, shape [...]
        :math:`n`, tokens skipped since the last transmission [token].
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    index_bits : int, optional
        Bits a token index [bit]; by default :math:`\lceil \log_2 V \rceil`.

    Returns
    -------
    ndarray of int64, shape [...]
        Payload [bit].

    Raises
    ------
    ValueError
        If the number of tokens is not a whole number in [0, 2**31], V is below 2, or the width cannot name
        every token.

    Examples
    --------
    >>> int(resync_bit(4, 32_000))
    60
    """
    run = as_count("num_tokens", num_tokens, at_least=0, at_most=_MAX_VOCAB)
    return np.asarray(run * index_only_bit(vocab_size, index_bits))


def distribution_bit(codec: Codec, k: ArrayLike) -> Bits:
    r"""Payload of a distribution truncated to k entries, by the formula that the codec names.

    .. math:: B(k) \text{ printed, dense, enumerative, or the least of the three}

    Derivation: ``derivations.payload.best``.

    Parameters
    ----------
    codec : Codec
        Vocabulary, widths and kind.
    k : array_like of int, shape [...]
        Entries kept [token], between 1 and V.

    Returns
    -------
    ndarray of int64, shape [...]
        Payload [bit].

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V].

    Examples
    --------
    >>> distribution_bit(Codec(vocab_size=32_000, kind="best"), [30, 32_000])
    array([   582, 256000])
    """
    kept = _kept(k, codec)
    dense = np.full(kept.shape, dense_bit(codec.vocab_size, codec.prob_bits))
    if codec.kind == "dense":
        return dense
    if codec.kind == "printed":
        return printed_bit(kept, codec.vocab_size, codec.prob_bits, codec.index_bits)
    enumerative = enumerative_bit(kept, codec.vocab_size, codec.prob_bits)
    if codec.kind == "enumerative":
        return enumerative
    # C(V, k) <= V^k: numbering the set never costs more than listing it, so the printed codec never wins
    return np.asarray(np.minimum(dense, enumerative))


def compression(
    k: ArrayLike,
    vocab_size: int,
    prob_bits: int = 8,
    index_bits: int | None = None,
    *,
    kind: CodecKind = "printed",
) -> Floats:
    r"""Share of the untruncated printed payload that truncation and codec save.

    .. math:: 1 - B(k) / B_\mathrm{printed}(V) \quad (= 1 - k/V \text{ for the printed codec})
              \qquad \text{[CU, v1], reconstructed}

    Derivation: ``derivations.payload.compression``.

    Parameters
    ----------
    k : array_like of int, shape [...]
        Entries kept [token], between 1 and V.
    vocab_size : int
        :math:`V`, tokens in the vocabulary [token].
    prob_bits : int, default 8
        :math:`b_\mathrm{prob}`, bits a probability [bit].
    index_bits : int, optional
        Bits a token index [bit]; by default :math:`\lceil \log_2 V \rceil`.
    kind : str, default "printed"
        Codec of the numerator: printed, dense, enumerative or best.

    Returns
    -------
    ndarray of float64, shape [...]
        Share saved [-], in [0, 1) where the codec is no worse than the printed one at V.

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V], V is below 2, or a width is too small.

    Notes
    -----
    The abstract's 97.4 % is k = 832 at V = 32 000, not the offline k of 30, which saves 99.9 %.

    Examples
    --------
    >>> compression([832, 30], vocab_size=32_000)
    array([0.974    , 0.9990625])
    """
    codec = _codec(vocab_size, prob_bits, index_bits, kind)
    full = printed_bit(codec.vocab_size, codec.vocab_size, prob_bits, index_bits)
    return np.asarray(1.0 - distribution_bit(codec, k) / full)


def _codec(vocab_size: int, prob_bits: int, index_bits: int | None, kind: CodecKind = "printed") -> Codec:
    """Check the widths where they are checked for everyone."""
    size = int(as_count("vocab_size", vocab_size, at_least=2, at_most=_MAX_VOCAB))
    return Codec(vocab_size=size, prob_bits=prob_bits, index_bits=index_bits, kind=kind)


def _kept(k: ArrayLike, codec: Codec) -> Bits:
    return as_count("k", k, at_most=codec.vocab_size)


def _index_set_bit(kept: Bits, vocab_size: int) -> Bits:
    """ceil(log2 C(V, k)), exact."""
    whole = special.gammaln(vocab_size + 1.0)
    log2_sets = (whole - special.gammaln(kept + 1.0) - special.gammaln(vocab_size - kept + 1.0)) / _LN2
    bits = np.asarray(np.ceil(log2_sets), dtype=np.int64)
    # 1e-13 of the largest term is 250 times the largest error measured for V from 10^3 to 10^6
    doubtful = np.abs(log2_sets - np.rint(log2_sets)) <= 1e-13 * whole
    if np.any(doubtful):
        sizes, where = np.unique(kept[doubtful], return_inverse=True)
        exact = [(math.comb(vocab_size, int(size)) - 1).bit_length() for size in sizes]
        bits[doubtful] = np.asarray(exact, dtype=np.int64)[where]
    return bits
