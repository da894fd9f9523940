"""Where calibrations are found: built in, published, or in a folder that `cuhlm calibrate` wrote."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from calibration.calibration import Calibration
from cuhlm_theory import presets
from cuhlm_theory.rejection import Line

DATA = Path(__file__).parent / "data"
"""Where the built-in calibrations live, a folder each."""
TRACE_FILE = "trace.parquet"
"""Name of the trace inside a calibration folder, and inside the folder of another text of the same pair."""
CALIBRATION_FILE = "calibration.json"
"""Name of the calibration inside a calibration folder."""
VERIFIED_FOLDER = "llm-text"
"""Folder inside a calibration folder of the same pair's calibration on text that the large model wrote."""


@lru_cache
def built_in() -> dict[str, Path]:
    """Return the built-in calibrations by their folders; ``smollm2-llm-text`` is smollm2/llm-text."""
    return {
        "-".join(at.parent.relative_to(DATA).parts): at.parent for at in sorted(DATA.rglob(CALIBRATION_FILE))
    }


def published(name: str) -> Calibration:
    """Return a published rejection line as a calibration.

    Parameters
    ----------
    name : str
        ``cu-hlm`` or ``u-hlm``.

    Returns
    -------
    Calibration
        The line and delta; no intervals, no law of the uncertainty, no latencies: none were published.

    Raises
    ------
    ValueError
        If no such line was published.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1: a = 0.815, b = -0.066 (printed), Delta = 0.5955 (reconstructed).
    .. [U] U-HLM, arXiv:2412.12687: a = 0.82, b = -0.06 (printed), Delta = 0.2926 (reconstructed).

    Examples
    --------
    >>> found = published("cu-hlm")
    >>> found.line.slope, found.line.intercept, round(found.line.risk_averse, 4)
    (0.815, -0.066, 0.081)
    """
    if name not in presets.PUBLISHED_LINES:
        raise ValueError(f"calibration must be one of {', '.join(presets.PUBLISHED_LINES)}; got {name!r}")
    known = presets.PUBLISHED_LINES[name]
    numbers = {key: getattr(known, key) for key in ("slope", "intercept", "delta")}
    return Calibration(
        name=name,
        line=Line(**{key: number.value for key, number in numbers.items()}),
        vocab_size=int(presets.SETTINGS["vocab_size"].value),
        source={key: f"{number.provenance}: {number.source}" for key, number in numbers.items()},
    )


def load(name_or_path: str | Path) -> Calibration:
    """Find a calibration by name or path; its traces are read when they are asked for.

    Parameters
    ----------
    name_or_path : str or Path
        ``smollm2``, ``qwen2.5-coder``, with ``-llm-text`` their LLM's text (built in), ``cu-hlm``,
        ``u-hlm`` (published lines), a folder written by ``cuhlm calibrate``, its ``calibration.json``, or a
        trace (``.parquet``), which is then fitted.

    Returns
    -------
    Calibration
        The fit, with the texts of the pair that lie beside it.

    Raises
    ------
    ValueError
        If there is no such name or file, or a file is damaged.

    Examples
    --------
    >>> load("u-hlm").line.intercept
    -0.06
    >>> load("smollm2")
    Calibration(smollm2: beta = 0.8995 u -0.2211, 11341 tokens of 128 prompts, texts slm, llm)
    >>> load("no-such-pair")
    Traceback (most recent call last):
    ...
    ValueError: calibration must be ... smollm2, smollm2-llm-text, cu-hlm, u-hlm, or an existing file or ...
    """
    text = str(name_or_path)
    if text in presets.PUBLISHED_LINES:
        return published(text)
    path = built_in().get(text) or Path(name_or_path)
    if path.is_dir():
        if not (path / CALIBRATION_FILE).is_file():
            raise ValueError(f"calibration folder {path} must hold {CALIBRATION_FILE}; it does not")
        path = path / CALIBRATION_FILE
    if not path.is_file():
        names = ", ".join((*built_in(), *presets.PUBLISHED_LINES))
        raise ValueError(f"calibration must be {names}, or an existing file or folder; got {text!r}")
    if path.suffix == ".parquet":
        from calibration import trace
        from calibration.fit import fit_trace

        fitted = fit_trace(trace.read(path), name=path.stem)
        own = path
    else:
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"calibration {path} is neither JSON text nor a .parquet trace") from None
        fitted = Calibration.from_json(content, origin=f"calibration {path}")
        if path.name != CALIBRATION_FILE:
            return fitted
        own = path.parent / TRACE_FILE
    texts: dict[str, Path] = {}
    if own.is_file():
        texts = {fitted.writer: own}
        texts = {**texts, **_beside(path.parent), **texts}  # its own comes first, whoever wrote it
    return replace(fitted, folder=path.parent, texts=texts)


def _beside(folder: Path) -> dict[str, Path]:
    """Other texts of the same pair: what the large model wrote, and what hybrid decoding wrote."""
    folders = {"llm": folder / VERIFIED_FOLDER, **{one.name: one for one in sorted(folder.glob("hybrid-*"))}}
    return {name: one / TRACE_FILE for name, one in folders.items() if (one / TRACE_FILE).is_file()}
