"""Accuracy of decoding that was really run: one row a run, from ``front.csv``."""

import csv
from pathlib import Path
from typing import Any

_WORDS = ("run", "scheme")


def read_front(path: str | Path) -> list[dict[str, Any]]:
    """Read ``front.csv``.

    Parameters
    ----------
    path : str or Path
        File written by ``cuhlm runs``.

    Returns
    -------
    list of dict
        A row a run: ``run``, ``scheme``, numbers (None where a cell is empty), and for each number with half
        an interval its ``_ci95``. ``cosine_to_llm`` is the similarity of sentence embeddings to the large
        model's answer [-], ``llm_log_likelihood`` the large model's own mean over the tokens [nat/token].

    Raises
    ------
    ValueError
        If the file is missing, or a cell is not a number.

    Examples
    --------
    >>> from importlib.resources import files
    >>> rows = read_front(files("calibration") / "data" / "smollm2" / "decoded" / "front.csv")
    >>> rows[0]["run"], rows[0]["cosine_to_llm"] < rows[1]["cosine_to_llm"]
    ('slm', True)
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"front must be an existing file; got {str(file)!r}")
    with file.open(newline="", encoding="utf-8") as lines:
        cells = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    try:
        rows: list[dict[str, Any]] = [
            {
                key: text if key in _WORDS else (float(text) if text else None)
                for key, text in row.items()
                if key is not None
            }
            for row in cells
        ]
    except ValueError as error:
        raise ValueError(f"front {file} must hold numbers; {error}") from None
    for row in rows:
        for key in [key.removesuffix("_ci95_half") for key in row if key.endswith("_ci95_half")]:
            value, half = row.get(key), row.pop(f"{key}_ci95_half")
            row[f"{key}_ci95"] = None if value is None or half is None else (value - half, value + half)
    return rows
