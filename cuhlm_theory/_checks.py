"""Validation shared by every module: one line that names the argument, the bound and the value."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_MAX_COUNT = 2**53  # where float64 stops counting
LARGEST = 1e150  # amounts whose products and quotients float64 still holds
SUM_TOLERANCE = 1e-4  # a float32 softmax over 150 000 tokens is off by less than this


def _sum_tolerance(value: ArrayLike) -> float:
    """How far probabilities of this type may be from a sum of 1: each is rounded, the least ones to zero."""
    kind = np.asarray(value).dtype
    if kind.kind != "f":
        return SUM_TOLERANCE
    limits, size = np.finfo(kind), np.shape(value)[-1]
    return max(SUM_TOLERANCE, 0.5 * float(limits.eps) + 0.5 * size * float(limits.smallest_subnormal))


def as_numbers(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as float64 that need not be finite, shape [...]."""
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value
    try:
        if type(value) not in (int, float) and np.iscomplexobj(value):  # numpy would drop the imaginary part
            raise TypeError
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers; got {value!r}") from None
    except OverflowError:
        bounds = f"[{-LARGEST:g}, {LARGEST:g}]"
        raise ValueError(f"{name} must lie in {bounds}; got a whole number beyond float64") from None


def _check_tokens(name: str, array: Floats) -> None:
    if array.ndim < 1 or array.shape[-1] < 2:
        size = array.shape[-1] if array.ndim else 1
        raise ValueError(f"{name} must have a last axis of at least 2 tokens; got {size}")


def as_floats(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as finite float64, shape [...]."""
    array = as_numbers(name, value)
    if not np.all(np.isfinite(array)):
        bad = array[~np.isfinite(array)].flat[0]
        raise ValueError(f"{name} must be finite; got {bad}")
    return array


def inside(array: Floats, low: float, high: float) -> bool:
    """Whether all lies within finite bounds, which NaN does not."""
    if not array.ndim:
        return bool(low <= array <= high)
    return not array.size or bool(array.min() >= low and array.max() <= high)


def _within(
    name: str, array: Floats, low: float, high: float, what: str, *, open_low: bool = False
) -> Floats:
    if not array.size or (
        (array.min() > low or (array.min() == low and not open_low)) and array.max() <= high
    ):
        return array
    below = array <= low if open_low else array < low
    outside = below | (array > high)
    raise ValueError(f"{name} must {what}; got {array[outside].flat[0]:g}")


def as_probability(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as float64 in [0, 1], shape [...]."""
    array = as_numbers(name, value)
    if inside(array, 0.0, 1.0):
        return array
    return _within(name, as_floats(name, value), 0.0, 1.0, "lie in [0, 1]")


def as_coefficient(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as float64 of either sign that can be computed with, shape [...]."""
    array = as_floats(name, value)
    return _within(name, array, -LARGEST, LARGEST, f"lie in [{-LARGEST:g}, {LARGEST:g}]")


def as_nonnegative(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as finite float64 of at least 0, shape [...]."""
    array = as_numbers(name, value)
    if inside(array, 0.0, LARGEST):
        return array
    array = _within(name, as_floats(name, value), 0.0, math.inf, "be at least 0")
    return _within(name, array, 0.0, LARGEST, f"be at most {LARGEST:g}")


def as_positive(name: str, value: ArrayLike, *, at_most: float = math.inf) -> Floats:
    """Return ``value`` as finite float64 above 0, shape [...]."""
    array = as_numbers(name, value)
    if inside(array, 1.0 / LARGEST, min(at_most, LARGEST)):
        return array
    array = _within(name, as_floats(name, value), 0.0, math.inf, "be positive", open_low=True)
    array = _within(name, array, 1.0 / LARGEST, math.inf, f"be at least {1.0 / LARGEST:g}")
    at_most = min(at_most, LARGEST)
    return _within(name, array, 0.0, at_most, f"be at most {at_most:g}")


def as_count(
    name: str, value: ArrayLike, *, at_least: int = 1, at_most: int | None = None
) -> NDArray[np.int64]:
    """Return ``value`` as int64 within [at_least, at_most], shape [...]."""
    numbers = as_numbers(name, value)
    if not inside(numbers, at_least, _MAX_COUNT if at_most is None else min(at_most, _MAX_COUNT)):
        as_floats(name, value)
        what = f"be at least {at_least}" if at_most is None else f"lie in [{at_least}, {at_most}]"
        _within(name, numbers, at_least, math.inf if at_most is None else at_most, what)
        _within(name, numbers, -math.inf, _MAX_COUNT, f"be at most {_MAX_COUNT}")
    whole = np.asarray(numbers).astype(np.int64)
    if (whole != numbers).any():
        raise ValueError(f"{name} must be a whole number; got {numbers[whole != numbers].flat[0]:g}")
    return whole


def as_distribution(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as probability vectors along the last axis, shape [..., V], V >= 2.

    The sums may be off by float32 rounding (1e-4), or by float16's; what is off by more than float64's is
    renormalised.
    """
    array = as_numbers(name, value)
    if array.ndim < 1 or array.shape[-1] < 2:
        _check_tokens(name, as_floats(name, array))
    tolerance = _sum_tolerance(value)
    with np.errstate(over="ignore", invalid="ignore"):  # 1e308 twice is no sum of 1 either
        total = array.sum(axis=-1, keepdims=True)
        off = np.abs(total - 1.0)
    if not (np.min(array, initial=0.0) >= 0.0 and np.all(off <= tolerance)):  # NaN is neither
        as_floats(name, array)
        got = (
            f"an entry of {array.min():g}" if array.min() < 0.0 else f"a sum of {total.flat[off.argmax()]:g}"
        )
        raise ValueError(
            f"{name} must be probabilities that sum to 1 within {tolerance:g} (not logits); got {got}"
        )
    return array if np.all(off <= 4.0 * np.finfo(np.float64).eps) else array / total


def check_vocabulary(first: str, p: Floats, second: str, q: Floats) -> None:
    """Raise ValueError unless ``q`` has as many tokens along its last axis as ``p``."""
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"{second} must have the vocabulary of {first}, {p.shape[-1]} tokens; got {q.shape[-1]}"
        )


def as_logits(name: str, value: ArrayLike) -> Floats:
    """Return ``value`` as logits along the last axis, shape [..., V], V >= 2; -inf is probability 0."""
    array = as_numbers(name, value)
    _check_tokens(name, array)
    if np.any(bad := np.isnan(array) | np.isposinf(array)):
        raise ValueError(f"{name} must be finite; got {array[bad].flat[0]}")
    if np.any(np.isneginf(array.max(axis=-1))):
        raise ValueError(f"{name} must leave a token in every row; got one whose logits are all -inf")
    return array
