"""Where calibrations are found: built in, published, or in a folder that `cuhlm calibrate` wrote."""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from calibration.calibration import Calibration
from cuhlm_theory import presets
from cuhlm_theory.rejection import Line
from cuhlm_theory.texts import threshold_of

DATA = Path(__file__).parent / "data"
"""Where the built-in calibrations live, a folder each."""
TRACE_FILE = "trace.parquet"
"""Name of the trace inside the folder of a text."""
CALIBRATION_FILE = "calibration.json"
"""Name of the calibration inside its folder, beside the folders of its texts."""
_ONE_TEXT = re.compile(r"(.+)-(slm|llm|hybrid)-text")


@lru_cache
def built_in() -> dict[str, Path]:
    """Return the built-in calibrations by the names of their folders."""
    return {at.parent.name: at.parent for at in sorted(DATA.glob(f"*/{CALIBRATION_FILE}"))}


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
    .. [U] U-HLM, arXiv:2412.12687: a = 0.82, b = -0.06 (printed), Delta = 0.301 (printed).

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


def load(name_or_path: str | Path, *, text: str = "auto") -> Calibration:
    """Find a calibration by name or path; its traces are read when they are asked for.

    Parameters
    ----------
    name_or_path : str or Path
        ``smollm2``, ``qwen2.5-coder`` (built in; with ``-llm-text`` behind it, its LLM's text alone),
        ``cu-hlm``, ``u-hlm`` (published lines), a folder written by ``cuhlm calibrate``, its
        ``calibration.json``, or a trace (``.parquet``), which is then fitted.
    text : str, default "auto"
        Whose texts are kept, ``slm``, ``llm`` or ``hybrid``; ``auto`` keeps all.

    Returns
    -------
    Calibration
        The fit, with the texts of the pair that lie in folders beside it.

    Raises
    ------
    ValueError
        If there is no such name or file, or a file is damaged.
    MissingInputError
        If the calibration has no text of that writer.

    Examples
    --------
    >>> load("u-hlm").line.intercept
    -0.06
    >>> load("smollm2")
    Calibration(smollm2: beta = 0.9011 u -0.2201, 11254 tokens of 128 prompts, texts slm, llm, hybrid-0.5)
    >>> load("no-such-pair")
    Traceback (most recent call last):
    ...
    ValueError: calibration must be ... smollm2, cu-hlm, u-hlm, or an existing file or ...
    """
    name = str(name_or_path)
    if text != "auto":
        return load(name_or_path).only(text)
    if name in presets.PUBLISHED_LINES:
        return published(name)
    if (one := _ONE_TEXT.fullmatch(name)) and one[1] in built_in():
        return load(one[1], text=one[2])
    path = built_in().get(name) or Path(name_or_path)
    if path.is_dir():
        if not (path / CALIBRATION_FILE).is_file():
            raise ValueError(f"calibration folder {path} must hold {CALIBRATION_FILE}; it does not")
        path = path / CALIBRATION_FILE
    if not path.is_file():
        names = ", ".join((*built_in(), *presets.PUBLISHED_LINES))
        raise ValueError(f"calibration must be {names}, or an existing file or folder; got {name!r}")
    if path.suffix == ".parquet":
        from calibration import trace
        from calibration.fit import fit_trace

        recorded = trace.read(path)
        texts = {recorded.header.text: path}
        return replace(fit_trace(recorded, name=path.stem), folder=path.parent, texts=texts)
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"calibration {path} is neither JSON text nor a .parquet trace") from None
    fitted = Calibration.from_json(content, origin=f"calibration {path}")
    if path.name != CALIBRATION_FILE:
        return fitted
    lone = path.parent / TRACE_FILE  # as the first edition laid a calibration out
    own = {fitted.own_text: lone} if lone.is_file() else {}
    return replace(fitted, folder=path.parent, texts=own | texts_in(path.parent))


def texts_in(folder: Path) -> dict[str, Path]:
    """Return the traces in a calibration folder by the text they were recorded on, each in its own folder.

    Parameters
    ----------
    folder : Path
        Folder of a calibration.

    Returns
    -------
    dict of str to Path
        ``slm``, ``llm``, then ``hybrid-<threshold>``, those that are there.
    """
    hybrid = (at.name for at in folder.glob("hybrid-*"))
    names = ("slm", "llm", *sorted(hybrid, key=threshold_of))
    return {name: file for name in names if (file := folder / name / TRACE_FILE).is_file()}
