"""Arrays that a command reads: `.npy` files of numbers, checked before anything is computed."""

from pathlib import Path

import numpy as np


def load(path: Path, *, max_axes: int = 2, name: str = "file") -> np.ndarray:
    """Read the numbers of a ``.npy`` file, of one axis up to ``max_axes``; what is wrong is one line."""
    if not path.is_file():
        raise ValueError(f"{name} must exist; got {path}")
    try:
        with path.open("rb") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{name} must be a whole .npy file; got {path}, {error}") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers; got {path} with type {array.dtype}")
    if not 1 <= array.ndim <= max_axes or array.size == 0:
        raise ValueError(
            f"{name} must have 1 to {max_axes} axes, none empty; got {path}, shape {array.shape}"
        )
    return array
