"""Arrays that a command reads: `.npy` files of numbers, checked before anything is computed."""

from pathlib import Path

import numpy as np

# a header may say anything
_UNREADABLE = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError)


def load(path: Path, *, max_axes: int = 2, name: str = "file", logits: bool = False) -> np.ndarray:
    """Read the numbers of a ``.npy`` file, of one axis up to ``max_axes``; what is wrong is one line.

    Logits are not unsigned: bits of bfloat16, which numpy does not have, are often kept so. The type is the
    file's, since a tolerance may depend on it.
    """
    if not path.is_file():
        raise ValueError(f"{name} must exist and be a regular file; got {path}")
    try:
        if path.stat().st_size == 0:
            raise ValueError("which is empty")
        with np.errstate(over="ignore"):  # of the product of a shape
            mapped = np.lib.format.open_memmap(path, mode="r")  # one larger than the file takes no memory
    except _UNREADABLE as error:
        raise ValueError(f"{name} must be a whole .npy file; got {path}, {error}") from None
    if mapped.dtype.kind not in ("fi" if logits else "fiu"):
        what = "signed numbers" if logits and mapped.dtype.kind == "u" else "real numbers"
        raise ValueError(f"{name} must hold {what}; got {path} with type {mapped.dtype}")
    if not 1 <= mapped.ndim <= max_axes or mapped.size == 0:
        raise ValueError(
            f"{name} must have 1 to {max_axes} axes, none empty; got {path}, shape {mapped.shape}"
        )
    return np.array(mapped)
