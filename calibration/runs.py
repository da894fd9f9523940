"""Decode prompts with many schemes, keep every token, and set the schemes side by side.

``cuhlm runs --out DIR`` decodes the shipped prompts with the built-in pair. A file a run is written as it
goes, so an interrupted call goes on where it stopped and ends with the same result:

``decoded.parquet``
    one row a committed token: the columns of `calibration.decoding.records`, with ``run`` and ``prompt``
``answers.parquet``
    one row an answer: its text, its totals, its similarity to the large model's answer, its likelihood
``front.csv``
    one row a run: throughput against accuracy; lines that start with ``#`` say how it was made
"""

import contextlib
import csv
import functools
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.decoding import (
    Clock,
    Decoded,
    Remote,
    Settings,
    decode,
    decode_together,
    settings_of,
    system_of,
)
from calibration.decoding.plan import offline_size, recommended, sizes, skip_rate
from calibration.decoding.records import (
    ACCEPTED,
    DECODED_FORMAT,
    RESAMPLED,
    SKIPPED,
    charged,
    columns,
    new_row,
)
from calibration.prompts import Prompt
from cuhlm_theory._checks import as_count
from cuhlm_theory._files import alone, read_rows, whole
from cuhlm_theory._progress import track
from cuhlm_theory._workers import Workers
from cuhlm_theory.cli.output import plain
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Budget, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, resolved

if TYPE_CHECKING:
    from calibration.pairs import Pair

DECODED_FILE, ANSWERS_FILE, FRONT_FILE = "decoded.parquet", "answers.parquet", "front.csv"
METADATA_KEY = b"cuhlm"
"""Where a parquet file keeps its header, a JSON object; `calibration.compare.read_decoded` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way to decode all prompts."""

    name: str
    """What to call it; the scheme and, where it has one, the threshold."""
    settings: Settings
    """How to decode."""


def default_runs(
    tokens: Tokens,
    system: System,
    line: Line,
    *,
    thresholds: Sequence[float] = (0.1, 0.3, 0.6),
    bias_budget: float = 0.05,
    temperature: float = 0.7,
    max_new_tokens: int = 48,
) -> list[Run]:
    """Return the runs of the throughput-accuracy front: each scheme that skips at several thresholds.

    The fixed and the exact rule of truncation are held to one bias, a TV of 0.02; the printed rule has a
    scale of its own and gets the budget 0.1. The recommended operating point is a run of its own, and the
    large model answers twice: how alike two of its own answers are bounds what any scheme can reach. The
    number of drafts is the best on these tokens.
    """
    common = {"temperature": temperature, "max_new_tokens": max_new_tokens, "k_grid": sizes(tokens)}

    def run(name: str, called: str | None = None, **numbers: Any) -> Run:
        scheme = resolved(SCHEMES[name].using(**numbers), tokens, system)
        return Run(name=called or name, settings=Settings(scheme=scheme, **common))

    point = recommended(tokens, system, Budget(bias=bias_budget))
    runs = [run("slm"), run("llm"), run("llm", "llm-again"), run("hlm")]
    for name, row in SCHEMES.items():
        if row.draft.several and not row.draft.triggered:
            with contextlib.suppress(MissingInputError):  # what was not recorded cannot choose its drafts
                runs.append(run(name))
    for t in thresholds:
        kept = {
            "u-hlm": {"threshold": t},
            "floor": {"threshold": t},
            "verify-on-sync": {"threshold": t},
            "cu-hlm-exact": {"threshold": t, "truncation_budget": 0.02},
            "cu-hlm-offline": {"threshold": t, "offline_k": offline_size(tokens, 0.02)},
            "cu-hlm-online": {"threshold": t, "truncation_budget": 0.1, "line": line},
            "rand-hlm": {"skip_rate": skip_rate(tokens, system, t)},
            "kept-law": {"threshold": t},
            "kept-law-exact": {"threshold": t},
        }
        runs += [run(name, f"{name}@{t:g}", **numbers) for name, numbers in kept.items()]
    price = {name: point[name] for name in ("threshold", "truncation_price_s")}
    return [*runs, run("cu-hlm-exact", "operating-point", **price)]


# ---------------------------------------------------------------------------------------------------- running


@dataclass(frozen=True, slots=True, kw_only=True)
class LineUp:
    """What is decoded: every prompt with every run, over one system."""

    prompts: Sequence[Prompt]
    """What to answer."""
    runs: Sequence[Run]
    """How to answer it."""
    system: System
    """Link, codec and nominal latencies to charge."""
    seed: int = 0
    """Every (run, prompt) has its own stream of this seed."""
    note: str = ""
    """Goes into the header, such as where the calibration came from."""
    one_by_one: bool = False
    """Decode each prompt by itself and charge the wall clock of its passes, once the prompt is read, instead
    of the latencies of ``system``; together, the passes of all prompts are shared and their wall clock is
    nobody's own. The laws of skipped tokens are then not looked at, since that would be charged: no bias is
    measured."""
    batch: int = 24
    """Prompts that are decoded together, which is what memory depends on."""
    predictions_sha256: str | None = None
    """Hash of the predictions that were made of this line-up before it was decoded."""

    def __post_init__(self) -> None:
        if not self.prompts or not self.runs:
            raise ValueError(f"there must be prompts and runs; got {len(self.prompts)} and {len(self.runs)}")
        as_count("batch", self.batch)

    def described(self) -> dict[str, Any]:
        """Return what is decoded as JSON holds it, prompts by their names; `lineup_of` reads it back."""
        told = {
            "seed": self.seed,
            "note": self.note,
            "prompts": [prompt.name for prompt in self.prompts],
            "prompts_sha256": hashlib.sha256(
                "\0".join(p.system + p.text for p in self.prompts).encode()
            ).hexdigest(),
            "system": asdict(self.system),
            "runs": [{"name": run.name, **run.settings.described()} for run in self.runs],
            "measured_compute": self.one_by_one,
            "batch": self.batch,
            "predictions_sha256": self.predictions_sha256,
        }
        return plain(told)

    @property
    def clock(self) -> Clock:
        """What rounds are charged with."""
        return Clock(system=self.system, measured=self.one_by_one)


def lineup_of(told: Mapping[str, Any], texts: Sequence[str]) -> LineUp:
    """Return the line-up that `LineUp.described` wrote, given the texts of its prompts."""
    return LineUp(
        prompts=[Prompt(name, text) for name, text in zip(told["prompts"], texts, strict=True)],
        runs=[Run(name=run["name"], settings=settings_of(run)) for run in told["runs"]],
        system=system_of(told["system"]),
        one_by_one=told["measured_compute"],
        **{name: told[name] for name in ("seed", "note", "batch", "predictions_sha256")},
    )


def execute(
    load: Callable[[], "Pair"],
    lineup: LineUp,
    out: Path,
    *,
    workers: Workers = Workers(),  # noqa: B008 - frozen
    finished_only: bool = False,
) -> Path:
    """Decode every prompt with every run and join the results.

    Parameters
    ----------
    load : callable
        Gives the pair; asked once a run, so it keeps what it loaded, and it is sent to the workers.
    lineup : LineUp
        What to decode.
    out : Path
        Folder of the results; runs that an earlier call finished are not decoded again.
    workers : Workers, optional
        Who decodes, a run each, with the threads of this process.
    finished_only : bool, default False
        Decode nothing; join the runs that an earlier call finished.

    Returns
    -------
    Path
        ``decoded.parquet``.

    Raises
    ------
    ValueError
        If a prompt or the vocabulary does not fit, or nothing is finished where nothing is to be decoded.
    """
    import torch

    pair = load()
    if pair.vocab_size != (size := lineup.system.codec.vocab_size):
        raise ValueError(f"vocab_size must be that of the pair, {pair.vocab_size}; got {size}")
    header = _header(pair, lineup)
    parts = _parts(header, out / "parts")
    if finished_only:
        done = [run for run, part in enumerate(parts) if read_rows(part) is not None]
        if not done:
            raise ValueError(f"there must be a finished run in {out}; got 0 of {len(lineup.runs)}")
        lineup, parts = replace(lineup, runs=[lineup.runs[run] for run in done]), [parts[run] for run in done]
        header["runs"] = [header["runs"][run] for run in done]
    with alone(out):
        (out / "parts").mkdir(exist_ok=True)
        todo = [run for run, part in enumerate(parts) if read_rows(part) is None]
        decoded = workers.each(functools.partial(_decoded, load, lineup, torch.get_num_threads()), todo)
        for number, rows in track(decoded, len(todo), "runs"):
            _write_whole(parts[todo[number]], rows)
        return _join(pair, lineup, parts, header, out)


def _decoded(load: Callable[[], "Pair"], lineup: LineUp, num_threads: int, run: int) -> bytes:
    """Decode all prompts with one run, in step or one by one; its rows as JSON."""
    import torch

    torch.set_num_threads(num_threads)  # the last bits of the logits depend on it
    pair, clock = load(), lineup.clock
    settings, stream = lineup.runs[run].settings, zlib.crc32(lineup.runs[run].name.encode())
    contexts = [pair.context(prompt, settings.max_new_tokens) for prompt in lineup.prompts]
    rngs = [np.random.default_rng([lineup.seed, number, stream]) for number in range(len(contexts))]
    models, stop = (pair.slm, pair.llm), pair.stop_tokens
    if clock.measured:
        found = [
            decode(models, context, settings, clock, rng=rng, stop_tokens=stop, measure=False)
            for context, rng in zip(contexts, rngs, strict=True)
        ]
    else:
        found = [
            one
            for first in range(0, len(contexts), lineup.batch)
            for one in decode_together(
                models,
                contexts[first : first + lineup.batch],
                settings,
                clock,
                rngs=rngs[first : first + lineup.batch],
                stop_tokens=stop,
            )
        ]
    return json.dumps(
        [{name: column.tolist() for name, column in one.columns.items()} for one in found]
    ).encode()


def _header(pair: "Pair", lineup: LineUp) -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    return {
        "slm": pair.slm_id,
        "llm": pair.llm_id,
        "slm_sha256": pair.slm_sha256,
        "llm_sha256": pair.llm_sha256,
        "dtype": pair.dtype,
        "device": pair.device,
        **lineup.described(),
        "template_options": dict(pair.template_options),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy")},
        },
    }


def _parts(header: dict[str, Any], store: Path) -> list[Path]:
    """Return the file of each run, named by all that its tokens depend on, which latencies are not."""
    common = {key: header[key] for key in header if key not in ("runs", "note", "versions", "system")}
    common["system"] = {key: header["system"][key] for key in ("link", "codec")}
    keys = [json.dumps([common, run], sort_keys=True).encode() for run in header["runs"]]
    return [store / f"{hashlib.sha256(key).hexdigest()[:20]}.json" for key in keys]


def _write_whole(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)


# ---------------------------------------------------------------------------------------------------- joining


def _join(pair: "Pair", lineup: LineUp, files: Sequence[Path], header: dict[str, Any], out: Path) -> Path:
    runs, clock = lineup.runs, lineup.clock
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    tables, answers = [], []
    for run in range(len(runs)):
        for number, rows in enumerate(parts[run]):
            typed, length = _typed(rows, clock), len(rows["token"])
            tables.append(
                {"run": np.full(length, run, np.int16), "prompt": np.full(length, number, np.int32), **typed}
            )
            scheme, system = runs[run].settings.scheme, clock.system
            decoded = Decoded(tokens=rows["token"], columns=typed, scheme=scheme, system=system)
            answers.append(_answer(pair, run, number, decoded))
    if not isinstance(pair.llm, Remote):  # which cannot be fed
        _score(pair, lineup, parts, answers)
    _compare_texts(answers, runs)
    stamped = {"format": DECODED_FORMAT, **header, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    _write_parquet(out / DECODED_FILE, table, stamped)
    _write_parquet(out / ANSWERS_FILE, {name: [row[name] for row in answers] for name in answers[0]}, stamped)
    _write_front(out / FRONT_FILE, front(table, answers, runs), stamped)
    return out / DECODED_FILE


def _score(pair: "Pair", lineup: LineUp, parts: list[Any], answers: list[dict[str, Any]]) -> None:
    """Add the likelihood that the large model gives each answer."""
    from calibration.accuracy import log_likelihood

    first = lineup.runs[0].settings
    heat = first.temperature or 1.0
    for number, prompt in enumerate(lineup.prompts):
        context = pair.context(prompt, first.max_new_tokens)
        mine = [row for row in answers if row["prompt"] == number]
        said = [parts[row["run"]][number]["token"] for row in mine]
        for row, scores in zip(mine, log_likelihood(pair.llm, context, said, temperature=heat), strict=True):
            row["llm_log_likelihood"] = float(scores.mean())


def _typed(rows: dict[str, list[Any]], clock: Clock) -> dict[str, NDArray[Any]]:
    """Typed columns of an answer, charged again: its counts and bits are what was decoded, the clock's."""
    listed = [new_row(**{name: rows[name][i] for name in rows}) for i in range(len(rows["token"]))]
    for row in listed:
        row.update(charged(row, clock, row["slm_measured_s"], row["llm_measured_s"]))
    return columns(listed)


def _answer(pair: "Pair", run: int, prompt: int, decoded: Decoded) -> dict[str, Any]:
    text = pair.tokenizer.decode(decoded.tokens, skip_special_tokens=True)
    return {"run": run, "prompt": prompt, "text": text, **decoded.summary()}


def _compare_texts(answers: list[dict[str, Any]], runs: Sequence[Run]) -> None:
    """Similarity of each answer to the large model's and to HLM's answer to the same prompt."""
    from calibration.accuracy import cosine_similarity

    for reference in ("llm", "hlm"):
        numbers = [i for i, run in enumerate(runs) if run.name == reference]
        if not numbers:
            continue
        texts = {row["prompt"]: row["text"] for row in answers if row["run"] == numbers[0]}
        found = cosine_similarity([row["text"] for row in answers], [texts[row["prompt"]] for row in answers])
        for row, value in zip(answers, found, strict=True):
            row[f"cosine_to_{reference}"] = float(value)


def _write_parquet(path: Path, table: dict[str, Any], header: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = pa.table(table).replace_schema_metadata({METADATA_KEY: json.dumps(header)})
    with whole(path) as part:
        pq.write_table(made, part, compression="zstd", compression_level=19)


def front(
    table: dict[str, NDArray[Any]], answers: Sequence[dict[str, Any]], runs: Sequence[Run]
) -> list[dict[str, Any]]:
    """Summarise each run: what it skipped and sent, its bias, its throughput, its accuracy with intervals.

    Parameters
    ----------
    table : dict of ndarray
        Columns of ``decoded.parquet``.
    answers : sequence of dict
        Rows of ``answers.parquet``.
    runs : sequence of Run
        The runs.

    Returns
    -------
    list of dict
        ``tsr`` is the share of skipped tokens that verification would have kept, ``tr`` the transmissions a
        token; 95 % intervals are normal ones over prompts.
    """
    rows = []
    for number, run in enumerate(runs):
        here = table["run"] == number
        part = {name: column[here].astype(np.float64) for name, column in table.items()}
        mine = [row for row in answers if row["run"] == number]
        num, rounds = int(here.sum()), part["llm_calls"].sum()
        skipped = part["action"] == SKIPPED
        drafted = part["draft"] >= 0
        row = {
            "run": run.name,
            "scheme": run.settings.scheme.name,
            "threshold": run.settings.scheme.threshold,
            "num_prompts": len(mine),
            "num_tokens": num,
            "skip_rate": skipped.mean(),
            "tr": rounds / num,
            "tsr": _mean(1.0 - part["rejection"][skipped]),
            "resample_rate": (part["action"] == RESAMPLED).mean(),
            "acceptance": _mean(1.0 - part["rejection"][drafted]),
            "risk": _mean(part["risk"]),
            "truncation_tv": _mean(part["truncation_tv"]),
            "bias": _mean(part["tv"]),
            "k_mean": part["k"][part["k"] > 0].mean() if np.any(part["k"] > 0) else None,
            "kept_per_round": part["kept"].sum() / rounds
            if rounds and (part["action"] == ACCEPTED).any()
            else None,
            "uplink_bit_per_token": part["uplink_bit"].sum() / num,
            "slm_steps_per_token": part["drafted"].sum() / num,
            "latency_s": part["latency_s"].sum() / num,
            "throughput_token_per_s": num / part["latency_s"].sum(),
        }
        for name in ("cosine_to_llm", "cosine_to_hlm", "llm_log_likelihood"):
            values = np.array([answer[name] for answer in mine if name in answer])
            row[name] = values.mean() if len(values) else None
            half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
            row[f"{name}_ci95_half"] = half
        rows.append(row)
    return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean of what was measured; None where nothing was."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _write_front(path: Path, rows: list[dict[str, Any]], header: dict[str, Any]) -> None:
    import io

    text = io.StringIO()
    for key in ("slm", "llm", "dtype", "seed", "note", "date"):
        text.write(f"# {key}: {header[key]}\n")
    link = json.dumps({key: header["system"][key] for key in ("link", "latency")}, default=str)
    text.write(f"# prompts: {len(header['prompts'])}; system: {link}\n")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                key: f"{value:.6g}" if isinstance(value, float | np.floating) else value
                for key, value in row.items()
            }
        )
    _write_whole(path, text.getvalue().encode())
