"""The paper on the kept law: its results, computed; its text, a template that holds no number."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cuhlm_theory import comparison
from cuhlm_theory._progress import track
from cuhlm_theory.capacity import rate_bit_per_s
from cuhlm_theory.cli.output import plain
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rooms import hook
from cuhlm_theory.schemes import SCHEMES
from cuhlm_theory.table import Table as Rows
from figures import catalogue, style
from figures.frame import SUFFIXES, Source, Tables
from figures.report import number

TEMPLATES = Path(__file__).parent / "templates"

DRAWN = ("phase_diagram", "fronts")
"""Figures of the paper."""

_PROVED = ("converse", "achievability", "support", "newsvendor", "several_drafts")
_STATED = ("equals_risk", "quantised_down", "tokens_per_round", "downlink", "beats_llm_alone")
_BIASED = ("kept-law", "kept-law, quantile", "cu-hlm-exact")
_PACKET_BIT = 1000.0  # of which the rate is told; only that of a short packet depends on it
_WRITERS = {"slm": "small model's text", "llm": "large model's text"}


def write(
    out: Path, source: Source, others: Sequence[Source] = (), *, assumed: Iterable[str] = ()
) -> list[Path]:
    """Write the paper: Markdown, LaTeX, a PDF where LaTeX is there, the results, and the figures.

    Parameters
    ----------
    out : Path
        Folder to write into; its files are replaced once everything is made.
    source : Source
        The pair that the paper is about, in its setting.
    others : sequence of Source, optional
        Pairs of which the paper says who wins.
    assumed : iterable of str, optional
        Numbers of the setting that nobody gave or measured.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    CuhlmError
        If a statement does not hold, the pair has no recorded tokens, or the text does not compile.
    """
    found, drawn = results(source, others, assumed=assumed)
    text = markdown(found)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".paper-", dir=out) as folder:
        part = Path(folder)
        for name, tables in drawn.items():
            catalogue.figure(name).write(tables, part)
        (part / "paper.md").write_text(text, encoding="utf-8")
        (part / "paper.tex").write_text(latex(text), encoding="utf-8")
        (part / "results.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
        names = ["paper.md", "paper.tex", *_compiled(part), "results.json"]
        names += [f"{name}{suffix}" for name in drawn for suffix in SUFFIXES]
        return [(part / name).replace(out / name) for name in names]


# ---------------------------------------------------------------------------------------------------- results


def results(
    source: Source, others: Sequence[Source] = (), *, assumed: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, Tables]]:
    """Compute everything that the paper says.

    Parameters
    ----------
    source : Source
        The pair that the paper is about, in its setting.
    others : sequence of Source, optional
        Pairs of which the paper says who wins.
    assumed : iterable of str, optional
        Numbers of the setting that nobody gave or measured.

    Returns
    -------
    found : dict
        What the template takes, as JSON types.
    drawn : dict of str to Tables
        What the figures draw.

    Raises
    ------
    CuhlmError
        If a statement does not hold, or the pair has no recorded tokens.
    """
    tokens, budgets = source.need(), sorted({*comparison.BUDGETS, source.bias_budget})
    todo: dict[str, Callable[[], Any]] = {
        "theorems": _theorems,
        "sends": lambda: _sends(source),
        "stop_rules": lambda: _stop_rules(tokens, source.system),
        "held_out": lambda: _held_out(tokens, source),
    }
    for one in (source, *others):
        for text in one.calibration.texts:
            todo[f"{one.calibration.name}, {text}"] = lambda one=one, text=text: _at(one, text, budgets)
    todo |= {name: lambda name=name: catalogue.figure(name).compute(source) for name in DRAWN}
    done = {key: todo[key]() for key in track(todo, len(todo), "computing")}
    drawn = {name: _without_accuracy(done.pop(name)) for name in DRAWN}
    kept = ("theorems", "sends", "stop_rules", "held_out")
    found = {key: done.pop(key) for key in kept}
    texts = list(done.values())
    found |= {
        "software": f"cuhlm {metadata.version('cuhlm')}",
        "level": 95,
        "budget": source.bias_budget,
        "budgets": budgets,
        "pair": _pair(source),
        "setting": _setting(source, assumed),
        "full_bit": float(distribution_bit(source.system.codec, source.system.codec.vocab_size)),
        "texts": texts,
        "num_pairs": 1 + len(others),
        "cases": _cases(texts),
        "claims": _claims(texts[0], source.bias_budget),
        "panels": [_panel(name, drawn["phase_diagram"]) for name in _panels()],
        "figures": {name: catalogue.figure(name).caption for name in DRAWN},
        "sources": _sources(),
    }
    return plain(found), drawn


def _theorems() -> dict[str, Any]:
    theorem = hook("theorem")
    found = {name: theorem(f"kept_law.{name}", proof=name in _PROVED) for name in (*_PROVED, *_STATED)}
    if failed := [one["name"] for one in found.values() if not one["holds"]]:
        raise CuhlmError(f"not proved: {', '.join(failed)}; see `cuhlm derive {failed[0]}`")
    return found


def _sends(source: Source) -> list[dict[str, Any]]:
    """Bits of a transmission of every scheme within the bias, fastest first."""
    marks = {"bound": "≤ ", "estimate": "≈ "}
    rows = []
    for row in source.question().answer().schemes:
        calls = row["llm_calls_per_token"] or np.nan
        rows.append(
            {
                "name": row["name"],
                "label": style.scheme_label(row["name"]),
                "reference": SCHEMES[row["name"]].reference,
                "up_bit": row["uplink_bit_per_token"] / calls,
                "down_bit": row["downlink_bit_per_token"] / calls,
                "skip_rate": row["skip_rate"],
                "bias": row["bias"],
                "mark": marks.get(row["bias_account"], ""),
                "rate": row["throughput_token_per_s"],
            }
        )
    return rows


def _at(source: Source, text: str, budgets: Sequence[float]) -> dict[str, Any]:
    """Compare the schemes on one text of a pair."""
    recorded = source.calibration.text(text)
    assert recorded is not None
    tokens = recorded.tokens()
    table = comparison.at_budgets(tokens, source.system, budgets=budgets)
    kind, _, threshold = text.partition("-")
    said = _WRITERS.get(kind, f"text decoded at a threshold of {harmless(threshold)}")
    return {
        "pair": harmless(source.calibration.name),
        "name": f"{harmless(source.calibration.name)}, {said}",
        "num_tokens": len(tokens),
        "num_prompts": len(np.unique(tokens.need("prompt"))),
        "fastest": comparison.fastest_at(table),
        "schemes": _by_scheme(table),
    }


def _by_scheme(table: Rows) -> dict[str, list[dict[str, Any]]]:
    """Rows of each scheme in the order of the budgets; what cannot be told from the fastest is marked."""
    keys = ("budget", "throughput_token_per_s", "throughput_ci95", "bits", "bits_ci95", "bias", "behind_best")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        first = row["behind_best_ci95"] is None or row["behind_best_ci95"][0] <= 0.0
        found.setdefault(row["scheme"], []).append({**{key: row[key] for key in keys}, "first": first})
    return found


def _stop_rules(tokens: Tokens, system: System) -> list[dict[str, Any]]:
    keys = ("name", "throughput_token_per_s", "throughput_ci95", "over_first", "over_first_ci95")
    return [{key: row[key] for key in keys} for row in comparison.stop_rules(tokens, system)]


def _held_out(tokens: Tokens, source: Source) -> dict[str, Any]:
    """Rate and bias of the kept law on half of the texts, its numbers tuned on the others."""
    tune, judge = comparison.halves(tokens)
    names, budgets = ("kept-law", "kept-law, quantile"), [source.bias_budget]
    table = comparison.at_budgets(judge, source.system, budgets=budgets, names=names, tuned_on=tune)
    return {row["scheme"]: {key: row[key] for key in ("throughput_token_per_s", "bias")} for row in table}


def _cases(texts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count who is the fastest over texts and biases."""
    every = [{"text": text["name"], **first} for text in texts for first in text["fastest"]]
    kept = [one for one in every if one["scheme"].startswith("kept-law")]
    biased = sum(one["scheme"] in _BIASED for one in kept)
    return {
        "all": len(every),
        "kept": len(kept),
        "kept_biased": biased,
        "kept_exact": len(kept) - biased,
        "num_lost": len(every) - len(kept),
        "lost": [one for one in every if one not in kept],
    }


def _claims(text: Mapping[str, Any], budget: float) -> dict[str, Any]:
    """Ratios of the faster kept law to what stands beside it, at the budget."""
    at = {
        name: row
        for name, rows in text["schemes"].items()
        for row in rows
        if row["budget"] == budget and row["throughput_token_per_s"] > 0.0
    }
    rates = {name: row["throughput_token_per_s"] for name, row in at.items()}
    kept = max(("kept-law", "kept-law, quantile"), key=lambda name: rates[name])
    exact = max(
        (name for name in rates if name not in _BIASED and name != "llm"), key=lambda name: rates[name]
    )
    against = {"cu": "cu-hlm-exact", "llm": "llm", "exact": exact}
    ratios = {f"over_{key}": rates[kept] / rates[name] for key, name in against.items() if name in rates}
    return {"kept": kept, "exact": exact, **at[kept], **ratios}


def _panels() -> dict[str, str]:
    free, slow = "a free downlink", "a downlink as fast as the uplink"
    said = (f"no bias and {free}", f"the bias allowed and {free}")
    return dict(
        zip(
            catalogue.figure("phase_diagram").panels,
            (*said, *(one.replace(free, slow) for one in said)),
            strict=True,
        )
    )


def _panel(name: str, tables: Tables) -> dict[str, Any]:
    """Share of the links, evenly spread over the logarithms, that each scheme is the fastest on."""
    rates = {key.removesuffix(" [token/s]"): rate for key, rate in tables[name].items() if "token/s" in key}
    first = np.array([*rates])[np.argmax([*rates.values()], axis=0)]
    share = {key: 100.0 * float(np.mean(first == key)) for key in rates}
    others = [
        {"scheme": key, "share": one} for key, one in share.items() if key[:4] != "kept" and key != "llm"
    ]
    return {
        "what": _panels()[name],
        "kept": sum(one for key, one in share.items() if key.startswith("kept-law")),
        "llm": share.get("llm", 0.0),
        "others": sorted((one for one in others if one["share"] > 0.0), key=lambda one: -one["share"]),
    }


def _pair(source: Source) -> dict[str, Any]:
    known = source.calibration
    return {
        "name": harmless(known.name),
        **{key: harmless(known.source.get(key, known.name)) for key in ("slm", "llm")},
        **{key: getattr(known, key) for key in ("num_tokens", "num_prompts", "temperature", "acceptance")},
        "acceptance_ci95": known.ci95.get("acceptance"),
        "vocab_size": source.system.codec.vocab_size,
    }


def _setting(source: Source, assumed: Iterable[str]) -> dict[str, Any]:
    latency = source.system.latency
    keys = ("slm_s", "llm_s", "round_trip_s", "downlink_bit_per_s", "charge_resync")
    return {
        "rate_bit_per_s": float(rate_bit_per_s(source.system.link, _PACKET_BIT)),
        **{key: getattr(latency, key) for key in keys},
        "assumed": [key.replace("_", " ") for key in assumed],
    }


def _sources() -> list[str]:
    """Name what others published, each source with its schemes."""
    by_source: dict[str, list[str]] = {}
    for row in SCHEMES.values():
        if row.status != "new":
            said = f"{style.scheme_label(row.name)} ({row.title})"
            by_source.setdefault(row.reference, []).append(said)
    return [f"{reference}: {', '.join(rows)}." for reference, rows in by_source.items()]


def _without_accuracy(tables: Tables) -> Tables:
    return {name: table for name, table in tables.items() if name != "accuracy"}


# ----------------------------------------------------------------------------------------------------- text


def markdown(found: Mapping[str, Any]) -> str:
    """Fill the template.

    Parameters
    ----------
    found : mapping
        What `results` found.

    Returns
    -------
    str
        Markdown with formulas between dollar signs.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - Markdown, and names are said by `harmless`
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

    text = environment.get_template("paper.md.j2").render(found, n=short, ci=interval)
    return re.sub(r"\n{3,}", "\n\n", text)


def harmless(name: Any) -> str:
    r"""Return a name out of a calibration with nothing in it that Markdown or LaTeX would obey.

    Parameters
    ----------
    name : object
        Name of a pair, a model or a text.

    Returns
    -------
    str
        The same, other marks than those of a path as question marks.

    Examples
    --------
    >>> harmless("Qwen2.5-Coder, 0.5B"), harmless(r"$\input{x}$")
    ('Qwen2.5-Coder, 0.5B', '??input?x??')
    """
    return re.sub(r"[^\w .,:/()+@=-]", "?", str(name), flags=re.ASCII)


def short(value: Any) -> str:
    """Write a number with three significant digits at most.

    Parameters
    ----------
    value : object
        A number, or None.

    Returns
    -------
    str
        As on the page of a scenario, without zeros at its end.

    Examples
    --------
    >>> short(0.05), short(1.999), short(None)
    ('0.05', '2', '–')
    """
    text = number(value)
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d*\.\d+", text) else text


def interval(ends: Sequence[float] | None) -> str:
    """Write an interval in brackets; nothing where there is none.

    Parameters
    ----------
    ends : sequence of float or None
        Its ends.

    Returns
    -------
    str
        Two numbers.

    Examples
    --------
    >>> interval((0.5, 1.25)), interval(None)
    ('[0.5, 1.25]', '')
    """
    return "" if ends is None else f"[{short(ends[0])}, {short(ends[1])}]"


def latex(text: str) -> str:
    """Turn the Markdown of the paper into LaTeX.

    Parameters
    ----------
    text : str
        Markdown; a paragraph ``Table: …`` is the caption of the table that follows.

    Returns
    -------
    str
        A document.
    """
    from mistletoe.block_token import Document

    from figures.latex import Renderer

    with Renderer() as renderer:
        body = renderer.render(Document(text))
    return (TEMPLATES / "paper.tex").read_text(encoding="utf-8").replace("@body", body)


def _compiled(folder: Path) -> list[str]:
    """Compile the LaTeX where there is a compiler; return the name of the PDF, or nothing."""
    if shutil.which("pdflatex") is None:
        return []
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    for _ in range(2):  # the second time its references are known
        done = subprocess.run(  # noqa: S603 - no word of the command is given
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            wrong = [line for line in done.stdout.splitlines() if line.startswith("!")]
            raise CuhlmError(f"pdflatex does not take paper.tex: {' '.join(wrong) or done.stdout[-200:]}")
    return ["paper.pdf"]
