"""Record a trace: one model answers prompts, the other scores the same text, a row a token.

The contexts are those of the writer's text. The small model's text is what a device alone would say, and its
drafts are the text. The large model's is what every exact scheme says, since verified text has the large
model's law; there each context gets a draft that verification would have turned into the text's token.
Hybrid text is what a skipping device says: both models run in step, drafts whose uncertainty is at most a
threshold are kept, and the server answers the others with what the kept law leaves of its own.

Prompts are handled in batches. Each batch is stored as soon as it is done, so that an interrupted run goes
on where it stopped and ends in the trace that an uninterrupted one gives. All draws of a prompt come from
the seed and the prompt's index alone; the last bits of the logits, and so now and then a token and what
follows it, are those of the machine, its number of threads and the batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration import trace
from calibration.answers import admit, needs_attention, reads_anew
from calibration.finding import TRACE_FILE
from calibration.prompts import Prompt
from cuhlm_theory import presets, truncation
from cuhlm_theory._checks import as_count, as_positive, as_probability
from cuhlm_theory._files import whole
from cuhlm_theory._laws import entropy_nat
from cuhlm_theory._workers import Workers
from cuhlm_theory.kept_law import most_kept_tokens
from cuhlm_theory.rejection import SAME, Line
from cuhlm_theory.uncertainty import ContextUncertainty
from cuhlm_theory.verification import kept_given_token

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from calibration.pairs import Pair

__all__ = ["Settings", "collect", "describe", "describe_scored", "k_grid", "score"]

Floats = NDArray[np.float64]

_COARSE_K = (1, 4, 16, 30, 64, 256, 1024)
_THRESHOLDS = (
    0.0,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.07,
    0.081,
    0.1,
    0.125,
    0.15,
    0.175,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
)
_THRESHOLDS += (0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
_BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
_NUM_DRAWS = 100
_NUM_PARTS = (64, 1024)  # into which a row is cut to bound its normaliser
_LEAST = 1e-300  # mean of a tail that holds nothing
_ROWS, _ROW_FLOATS = 8, 400_000  # most tokens of an answer, and most of their logits, taken at once
_CACHE_FLOATS = 50_000  # of these are described at once: their laws stay in the processor's nearest cache
_GROUP = 4  # contexts of like length that are read at once
_WARM_UP, _TIMED = 3, 6  # tokens of a latency measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a trace depends on, beside the models and the prompts."""

    max_new_tokens: int = 64
    """Longest answer [token]."""
    temperature: float = 0.7
    """T of both models [-]."""
    max_temperature: float = 2.0
    """theta_max of the uncertainty [-]."""
    writer: Literal["slm", "llm", "hybrid"] = "slm"
    """Who writes the text: one model, or both by the kept-law rule."""
    threshold: float | None = None
    """u_th of hybrid text: drafts of at most this uncertainty are kept [-]; None for other text."""
    seed: int = 0
    """Seed of every draw."""
    batch_size: int = 8
    """Prompts answered at once; it decides the last bits of the logits."""

    def __post_init__(self) -> None:
        as_count("max_new_tokens", self.max_new_tokens, at_least=1)
        as_positive("temperature", self.temperature)
        as_positive("max_temperature", self.max_temperature)
        if self.writer not in ("slm", "llm", "hybrid"):
            raise ValueError(f"writer must be slm, llm or hybrid; got {self.writer!r}")
        if (self.writer == "hybrid") != (self.threshold is not None):
            raise ValueError(
                f"threshold must be given for hybrid text and no other; got {self.threshold!r} "
                f"for writer {self.writer!r}"
            )
        if self.threshold is not None:
            as_probability("threshold", self.threshold)
        as_count("seed", self.seed, at_least=0)
        as_count("batch_size", self.batch_size, at_least=1)


def k_grid(vocab_size: int) -> tuple[int, ...]:
    """Return the truncation sizes that the profiles of a trace are recorded at.

    Parameters
    ----------
    vocab_size : int
        V.

    Returns
    -------
    tuple of int
        1 to 8, then geometric steps of about a quarter, with 16, 30, 64, 256, 832 and 1024; the last is V.

    Examples
    --------
    >>> k_grid(20)
    (1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20)
    """
    sizes = {*range(1, 9), 30, 64, 256, 832, 1024, vocab_size}
    size = 8.0
    while size < vocab_size:
        size *= 2.0 ** (1 / 3) if size < 2000 else 2.0
        sizes.add(round(size))
    return tuple(sorted(size for size in sizes if size <= vocab_size))


def _coarse_k(vocab_size: int) -> tuple[int, ...]:
    return (*(k for k in _COARSE_K if k < vocab_size), vocab_size)


def collect(
    pair: Pair,
    prompts: Sequence[Prompt],
    settings: Settings,
    out: str | Path,
    *,
    command: str = "",
    load: Callable[[], Pair] | None = None,
    workers: Workers = Workers(),  # noqa: B008 - frozen
) -> Path:
    """Run a pair over prompts and write ``trace.parquet`` into the folder of the text.

    Parameters
    ----------
    pair : Pair
        Models that share a tokenizer.
    prompts : sequence of Prompt
        At least one.
    settings : Settings
        How to run them.
    out : str or Path
        Folder of the calibration; the folder of the text in it is made if it is not there.
    command : str, default ""
        Command line for the header.
    load : callable, optional
        Gives the pair to other processes, and keeps it there; by default it is sent to them.
    workers : Workers, optional
        Who records, a batch each, with the threads of this process; the models are then timed here, before.

    Returns
    -------
    Path
        The trace.

    Raises
    ------
    ValueError
        If there is no prompt, a prompt does not fit the models, ``out`` cannot be a folder, or the large
        model does not tell what the settings take.
    CuhlmError
        If a logit is not finite, or a model keeps a recurrent state.
    OSError
        If the disk is full or not writable.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not prompts:
        raise ValueError("prompts must hold at least 1 prompt; got 0")
    for model in (pair.slm, pair.llm):
        needs_attention(model, "recorded and timed")
    if not pair.tells_laws:
        _check_scored(settings)
    contexts = [pair.context(prompt, settings.max_new_tokens) for prompt in prompts]
    header = _header(pair, prompts, settings, command)
    out = Path(out) / header.text
    store = out / f".{TRACE_FILE}.batches"
    try:
        _open_store(store, _fingerprint(header, contexts))
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"out must be a folder; got the file {str(out.parent)!r}") from None
    batches = [
        range(i, min(i + settings.batch_size, len(prompts)))
        for i in range(0, len(prompts), settings.batch_size)
    ]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("prompts"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )
    with bar:
        files = [store / f"{number:05d}.npz" for number in range(len(batches))]
        todo = [number for number, file in enumerate(files) if _stored(file, header.columns, bar) is None]
        task = bar.add_task("recording", total=len(prompts))
        bar.advance(task, len(prompts) - sum(len(batches[number]) for number in todo))
        timed = _timed(pair, contexts[0]) if workers.elsewhere and todo else None
        given = load if workers.elsewhere and load else partial(_itself, pair)
        work = partial(_recorded, given, contexts, settings, timed, _num_threads())
        for place, part in workers.each(work, [batches[number] for number in todo]):
            _save(files[todo[place]], part)
            bar.advance(task, len(batches[todo[place]]))
        parts = [part for file in files if (part := _stored(file, header.columns, bar)) is not None]
    assert len(parts) == len(batches), "what was just written can be read"
    columns = {name: np.concatenate([part[name] for part in parts]) for name in header.columns}
    trace.write(out / TRACE_FILE, header, columns)
    shutil.rmtree(store)
    return out / TRACE_FILE


def _header(pair: Pair, prompts: Sequence[Prompt], settings: Settings, command: str) -> trace.TraceHeader:
    import platform
    from importlib.metadata import version

    sizes = k_grid(pair.vocab_size)
    return trace.TraceHeader(
        slm=pair.slm_id,
        llm=pair.llm_id,
        slm_sha256=pair.slm_sha256,
        llm_sha256=pair.llm_sha256,
        vocab_size=pair.vocab_size,
        temperature=settings.temperature,
        max_temperature=settings.max_temperature,
        seed=settings.seed,
        dtype=pair.dtype,
        device=pair.device,
        max_new_tokens=settings.max_new_tokens,
        writer=settings.writer,
        threshold=settings.threshold,
        prompt_names=tuple(prompt.name for prompt in prompts),
        k_grid=sizes,
        coarse_k_grid=_coarse_k(pair.vocab_size),
        threshold_grid=_THRESHOLDS,
        budgets=_BUDGETS,
        printed_line=_printed_line(),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy", "pyarrow")},
        },
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=command,
        llm_laws=pair.tells_laws,
    )


def _check_scored(settings: Settings) -> None:
    """Refuse what a large model that scores given tokens cannot be asked for."""
    why = "where llm tells the probabilities of given tokens alone, for it takes whole laws"
    if settings.writer != "slm":
        raise ValueError(f"writer must be slm {why}; got {settings.writer}")
    if settings.temperature != 1.0:
        raise ValueError(f"temperature must be 1 {why}; got {settings.temperature:g}")


def _printed_line() -> tuple[float, float]:
    """Slope and intercept of [CU] for k_printed: a trace is recorded before its own line is fitted."""
    published = presets.PUBLISHED_LINES["cu-hlm"]
    return published.slope.value, published.intercept.value


def _fingerprint(header: trace.TraceHeader, contexts: list[list[int]]) -> str:
    """Hash what stored batches must agree in to belong to this run: all but when and how it was called."""
    entries = dataclasses.asdict(header)
    del entries["date"], entries["command"]
    stated = [entries, contexts, header.columns]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _open_store(store: Path, fingerprint: str) -> None:
    """Keep the batches of the same run, drop those of another."""
    mark = store / "run"
    if store.is_dir() and (not mark.is_file() or mark.read_text() != fingerprint):
        shutil.rmtree(store)
    store.mkdir(parents=True, exist_ok=True)
    mark.write_text(fingerprint)


def _stored(path: Path, names: Sequence[str], bar: Progress) -> dict[str, NDArray[Any]] | None:
    """Columns of a stored batch; None where there is none, or a damaged one, which is said."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        bar.console.print(f"{path.name} is damaged and is recorded again", markup=False)
        return None


def _save(path: Path, columns: dict[str, Any]) -> None:
    with whole(path) as part, part.open("wb") as file:
        np.savez(file, **columns)


# ------------------------------------------------------------------------------------------------- the models


def _itself(pair: Pair) -> Pair:
    return pair


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def _timed(pair: Pair, context: list[int]) -> dict[str, float]:
    """Seconds of a token of each model, alone."""
    llm_s = decode_latency_s(pair.llm, context) if pair.tells_laws else pair.llm.token_latency_s(context)
    return {"slm_latency_s": decode_latency_s(pair.slm, context), "llm_latency_s": llm_s}


def _recorded(
    load: Callable[[], Pair],
    contexts: list[list[int]],
    settings: Settings,
    timed: Mapping[str, float] | None,
    num_threads: int,
    batch: range,
) -> dict[str, NDArray[Any]]:
    """`_record`, wherever it is done."""
    import torch

    torch.set_num_threads(num_threads)  # the last bits of the logits depend on it
    return _record(load(), batch, contexts, settings, timed)


def _record(
    pair: Pair,
    batch: range,
    contexts: list[list[int]],
    settings: Settings,
    timed: Mapping[str, float] | None,
) -> dict[str, NDArray[Any]]:
    """Rows of one batch of prompts."""
    import torch

    given = [contexts[i] for i in batch]
    with torch.inference_mode():
        write = _write_both if settings.writer == "hybrid" else _write_one
        parts = write(pair, given, settings, batch)
        latency = _timed(pair, given[0]) if timed is None else timed
    for part, prompt in zip(parts, batch, strict=True):
        num = len(part["draft"])
        part["prompt"] = np.full(num, prompt)
        part["position"] = np.arange(num)
        for name, value in latency.items():
            part[name] = np.full(num, value)
    return {
        name: np.concatenate([part[name] for part in parts]).astype(trace.number_type(name))
        for name in parts[0]
    }


def _write_one(
    pair: Pair, contexts: list[list[int]], settings: Settings, batch: range
) -> list[dict[str, NDArray[Any]]]:
    """Let one model answer and the other read it; columns of each answer."""
    writer, reader = (pair.slm, pair.llm) if settings.writer == "slm" else (pair.llm, pair.slm)
    text, written = _write(pair, writer, contexts, settings, batch)
    if pair.tells_laws:
        read = score(pair, reader, contexts, text)
        told = [logits[: len(one)].cpu().numpy() for logits, one in zip(read, text, strict=True)]
    else:
        told = [np.exp(reader.log_prob(*one)) for one in zip(contexts, text, strict=True)]
    drawn = [logits[: len(one)].cpu().numpy() for logits, one in zip(written, text, strict=True)]
    slm_logits, llm_told = (drawn, told) if settings.writer == "slm" else (told, drawn)
    with _threads() as threads:
        return list(
            threads.map(
                lambda row: _describe_answer(
                    slm_logits[row],
                    llm_told[row],
                    np.array(text[row]),
                    settings,
                    np.random.default_rng([settings.seed, batch[row], 1]),
                ),
                range(len(batch)),
            )
        )


def _write_both(
    pair: Pair, contexts: list[list[int]], settings: Settings, batch: range
) -> list[dict[str, NDArray[Any]]]:
    """Let both models answer in step by the kept-law rule; columns of each answer.

    Every context is described as soon as both laws are there, so no logits are held beyond a step.
    """
    slm, llm = (_steps(pair, model, contexts) for model in (pair.slm, pair.llm))
    rngs = [[np.random.default_rng([settings.seed, prompt, use]) for use in (0, 1)] for prompt in batch]
    parts: list[list[dict[str, NDArray[Any]]]] = [[] for _ in contexts]
    open_rows = list(range(len(contexts)))
    tokens = None
    with _threads() as threads:
        while open_rows:
            slm_logits, llm_logits = (model.send(tokens).cpu().numpy() for model in (slm, llm))
            described = threads.map(
                lambda row, z, w: _hybrid_token(z[row : row + 1], w[row : row + 1], settings, *rngs[row]),
                open_rows,
                itertools.repeat(slm_logits),
                itertools.repeat(llm_logits),
            )
            tokens = np.zeros(len(contexts), dtype=np.int64)
            for row, part in zip(list(open_rows), described, strict=True):
                parts[row].append(part)
                tokens[row] = part["token"][0]
                if tokens[row] in pair.stop_tokens or len(parts[row]) == settings.max_new_tokens:
                    open_rows.remove(row)
    return [{name: np.concatenate([part[name] for part in row]) for name in row[0]} for row in parts]


def _threads() -> ThreadPoolExecutor:
    """One thread a core, since numpy leaves the interpreter while it works; more would share their caches."""
    return ThreadPoolExecutor(os.cpu_count())


def _hybrid_token(
    slm_logits: NDArray[np.floating],
    llm_logits: NDArray[np.floating],
    settings: Settings,
    rng: np.random.Generator,
    description_rng: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """Draw the next token of hybrid text from logits of shape [1, V]; columns of its context."""
    assert settings.threshold is not None, "hybrid text has a threshold"
    mean = ContextUncertainty(slm_logits[0], max_temperature=settings.max_temperature)
    x, y = (_softmax(logits, settings.temperature)[0] for logits in (slm_logits, llm_logits))
    likely = mean.candidates(settings.threshold)
    skips = np.zeros(len(x), dtype=bool)
    skips[likely] = mean(likely) <= settings.threshold
    draft, token = _keep_or_ask(x, y, skips, rng)
    drawn = {"draft": np.array([draft]), "uncertainty": [mean]}
    return describe(slm_logits, llm_logits, np.array([token]), settings, description_rng, **drawn)


def _keep_or_ask(x: Floats, y: Floats, skips: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    r"""Draw a draft from x and the token it leads to, by the kept-law rule in one context.

    A draft that skips is kept. For any other the server draws from what the kept law
    :math:`m_d = x_d 1[d\text{ skips}]` leaves of y, so that the token has the law

    .. math:: q = m + (1 - \sigma) \frac{(y - m)_+}{\sum (y - m)_+}, \qquad \sigma = \sum m
    """
    draft = _draw(x, rng)
    if skips[draft]:
        return draft, draft
    return draft, _draw(np.maximum(y - np.where(skips, x, 0.0), 0.0), rng)


def _describe_answer(
    slm_logits: NDArray[np.floating],
    llm_told: NDArray[Any],
    text: NDArray[np.integer],
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """`describe`, or `describe_scored` where one probability a token was told, some rows at a time."""
    rows = min(_ROWS, max(1, _ROW_FLOATS // slm_logits.shape[1]))
    found = describe if llm_told.ndim == 2 else describe_scored
    parts = [
        found(slm_logits[i : i + rows], llm_told[i : i + rows], text[i : i + rows], settings, rng)
        for i in range(0, len(text), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _padded(rows: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows aligned at their ends, and where they are, shape [B, longest]."""
    import torch

    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = torch.tensor(row)
        mask[i, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)


def _by_length(contexts: list[list[int]]) -> list[list[int]]:
    """Rows in groups of like length, so that little of what a model reads is padding."""
    rows = sorted(range(len(contexts)), key=lambda row: len(contexts[row]))
    return [rows[i : i + _GROUP] for i in range(0, len(rows), _GROUP)]


def _prefill(pair: Pair, model: Any, contexts: list[list[int]]) -> tuple[torch.Tensor, Any]:
    """Logits after each context, shape [B, V], and the cache of all of them, aligned at their ends."""
    import torch
    from transformers import DynamicCache

    groups = _by_length(contexts)
    longest = max(map(len, contexts))
    logits, layers = [], []
    for group in groups:
        given = [contexts[row] for row in group]
        ids, mask = _padded(given, model.device)
        step = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=mask.cumsum(-1).sub(1).clamp_min(0),
            past_key_values=DynamicCache(),  # keeps what lies outside a sliding window, so that lengths agree
            use_cache=True,
            logits_to_keep=1,
        )
        logits.append(admit(step.logits[:, -1:], pair.vocab_size, pair.side(model), given)[:, 0])
        before = (0, 0, longest - ids.shape[1], 0)  # [g, heads, length, head size]: entries that stay masked
        pad = torch.nn.functional.pad
        layers.append(
            [(pad(layer.keys, before), pad(layer.values, before)) for layer in step.past_key_values.layers]
        )
    back = torch.tensor([row for group in groups for row in group]).argsort()
    cache = DynamicCache()
    for index, parts in enumerate(zip(*layers, strict=True)):
        keys, values = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        cache.update(keys, values, index)
    return torch.cat(logits)[back], cache


def _steps(
    pair: Pair, model: Any, contexts: list[list[int]]
) -> Generator[torch.Tensor, NDArray[np.int64] | None, None]:
    """Logits of the next token of each row, shape [B, V]; send the tokens that follow, shape [B]."""
    import torch

    if reads_anew(model):
        yield from _steps_anew(pair, model, contexts)
        return
    logits, cache = _prefill(pair, model, contexts)
    _, mask = _padded(contexts, model.device)
    position = mask.sum(-1, keepdim=True)
    while True:
        tokens = yield logits
        assert tokens is not None  # nothing to send is for the first step alone
        ids = torch.from_numpy(tokens[:, None]).to(model.device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        step = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = step.past_key_values
        fed = tokens[:, None].tolist()
        before = position[:, 0].tolist()
        logits = admit(step.logits[:, -1:], pair.vocab_size, pair.side(model), fed, before)[:, 0]
        position = position + 1


def _steps_anew(
    pair: Pair, model: Any, contexts: list[list[int]]
) -> Generator[torch.Tensor, NDArray[np.int64] | None, None]:
    """As `_steps`, of a model that reads its whole text at every step."""
    texts = [list(context) for context in contexts]
    while True:
        ids, mask = _padded(texts, model.device)
        answer = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
        tokens = yield admit(answer.logits[:, -1:], pair.vocab_size, pair.side(model), texts)[:, 0]
        assert tokens is not None  # nothing to send is for the first step alone
        for text, token in zip(texts, tokens.tolist(), strict=True):
            text.append(token)


def _write(
    pair: Pair, model: Any, contexts: list[list[int]], settings: Settings, batch: range
) -> tuple[list[list[int]], torch.Tensor]:
    """Let a model answer; tokens of each row and their logits, shape [B, steps, V]."""
    import torch

    rngs = [np.random.default_rng([settings.seed, prompt, 0]) for prompt in batch]
    stop = pair.stop_tokens
    text: list[list[int]] = [[] for _ in contexts]
    open_rows = set(range(len(contexts)))
    steps, drawn, logits = _steps(pair, model, contexts), None, []
    while open_rows:
        scores = steps.send(drawn)  # [B, V]
        logits.append(scores)
        law = (scores.double() / settings.temperature).softmax(-1).cpu().numpy()
        drawn = np.zeros(len(contexts), dtype=np.int64)
        for row in sorted(open_rows):
            token = _draw(law[row], rngs[row])
            text[row].append(token)
            drawn[row] = token
            if token in stop or len(text[row]) == settings.max_new_tokens:
                open_rows.remove(row)
    return text, torch.stack(logits, dim=1)


def _draw(law: Floats, rng: np.random.Generator) -> int:
    """Token from a law by inversion; never one of probability 0."""
    cumulative = np.cumsum(law)
    return int(
        np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right").clip(max=len(law) - 1)
    )


def score(pair: Pair, model: Any, contexts: list[list[int]], text: list[list[int]]) -> torch.Tensor:
    """Return the logits of a model at every token of a text, shape [B, steps, V].

    Texts are padded to the longest; what stands behind a shorter one means nothing.

    Parameters
    ----------
    pair : Pair
        Models and vocabulary.
    model : PreTrainedModel
        The one of the two that reads.
    contexts : list of list of int, B entries
        What each text follows [token].
    text : list of list of int, B entries
        Texts [token].

    Returns
    -------
    torch.Tensor
        Float32 logits [nat].
    """
    import torch

    num_steps = max(map(len, text))
    logits = torch.empty(len(text), num_steps, pair.vocab_size)
    for group in _by_length(contexts):
        ids, mask = _padded([contexts[row] for row in group], model.device)
        answer = torch.zeros(len(group), num_steps - 1, dtype=torch.int64)  # nothing follows the last token
        for place, row in enumerate(group):
            kept = text[row][: num_steps - 1]
            answer[place, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
        answer = answer.to(ids.device)
        ids = torch.cat([ids, answer], dim=1)
        mask = torch.cat([mask, torch.ones_like(answer)], dim=1)  # what follows a short answer is never read
        scored = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=mask.cumsum(-1).sub(1).clamp_min(0),
            use_cache=False,
            logits_to_keep=num_steps,
        )
        read = [contexts[row] + told for row, told in zip(group, answer.tolist(), strict=True)]
        logits[group] = admit(scored.logits, pair.vocab_size, pair.side(model), read).cpu()
    return logits


def decode_latency_s(model: Any, context: list[int]) -> float:
    """Median time of one token with a key-value cache, batch 1, after a warm-up.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model.
    context : list of int
        Tokens that the cache holds before.

    Returns
    -------
    float
        Seconds a token [s].
    """
    import torch

    def finish() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    ids = torch.tensor([context], device=model.device)
    step = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    times = []
    for _ in range(_WARM_UP + _TIMED):
        last = step.logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, last], dim=1)
        cached = {} if reads_anew(model) else {"past_key_values": step.past_key_values}
        finish()
        start = time.perf_counter()
        step = model(input_ids=last if cached else ids, use_cache=True, logits_to_keep=1, **cached)
        finish()
        times.append(time.perf_counter() - start)
    return float(np.median(times[_WARM_UP:]))


# --------------------------------------------------------------------------------------------- the statistics


def describe(
    slm_logits: NDArray[np.floating],
    llm_logits: NDArray[np.floating],
    text: NDArray[np.integer],
    settings: Settings,
    rng: np.random.Generator,
    *,
    draft: NDArray[np.integer] | None = None,
    uncertainty: Sequence[ContextUncertainty] | None = None,
) -> dict[str, NDArray[Any]]:
    """Columns of a trace that follow from the two models' logits, softmax and sums in float64.

    Parameters
    ----------
    slm_logits, llm_logits : ndarray, shape [N, V]
        Logits of the small and the large model [nat].
    text : ndarray of int, shape [N]
        Tokens that the writer drew; the drafts, if the small model wrote [token].
    settings : Settings
        Temperatures and writer.
    rng : numpy.random.Generator
        Source of the perturbed draws, and of the drafts if the large model wrote.
    draft : ndarray of int, shape [N], optional
        Drafts of hybrid text, which are drawn as it is written [token].
    uncertainty : sequence of ContextUncertainty, shape [N], optional
        u-bar of each context's tokens, where its normalisers are known already.

    Returns
    -------
    dict of str to ndarray
        Columns as in `calibration.trace.COLUMNS`, shape [N] or [N, grid].

    Raises
    ------
    ValueError
        If the drafts are missing for hybrid text, or given for other text.
    """
    if (draft is None) == (settings.writer == "hybrid"):
        raise ValueError(
            f"draft must be given for hybrid text and no other; the writer is {settings.writer!r}"
        )
    x = _softmax(slm_logits, settings.temperature)  # [N, V]
    y = _softmax(llm_logits, settings.temperature)
    if draft is None:
        draft = text if settings.writer == "slm" else _couple(x, y, text, rng)
    few = max(1, _CACHE_FLOATS // x.shape[1])
    parts = []
    for first in range(0, len(x), few):
        rows = slice(first, first + few)
        known = None if uncertainty is None else uncertainty[rows]
        parts.append(_of_laws(x[rows], y[rows], slm_logits[rows], draft[rows], settings, rng, known))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if settings.writer == "llm":
        columns["kept"] = draft == text
    return columns | {"token": text}


def _of_laws(
    x: Floats,
    y: Floats,
    slm_logits: NDArray[np.floating],
    draft: NDArray[np.integer],
    settings: Settings,
    rng: np.random.Generator,
    uncertainty: Sequence[ContextUncertainty] | None,
) -> dict[str, NDArray[Any]]:
    """Columns that follow from the laws, the drafts and the perturbed draws."""
    order, u = _order_and_uncertainty(x, slm_logits, draft, settings, uncertainty)
    x_sorted, y_sorted = _ordered(x, order), _ordered(y, order)
    return {
        **_of_drafts(x, x_sorted, draft, y[np.arange(len(y)), draft], u[:, 0]),
        **_of_both(x_sorted, y_sorted),
        **_skip_profiles(x_sorted, y_sorted, u[:, 1:]),
        **_candidates(x_sorted, y_sorted, u[:, 1 : trace.NUM_CANDIDATES + 1]),
        **_sampled(slm_logits, order, draft, settings, rng),
    }


def describe_scored(
    slm_logits: NDArray[np.floating],
    llm_prob: Floats,
    text: NDArray[np.integer],
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """Columns of a trace that do not take the large model's whole law: the small model wrote the text.

    Parameters
    ----------
    slm_logits : ndarray, shape [N, V]
        Logits of the small model [nat].
    llm_prob : ndarray of float64, shape [N]
        What the large model gives each token of the text [-].
    text : ndarray of int, shape [N]
        Tokens that the small model drew, which are the drafts [token].
    settings : Settings
        Temperatures.
    rng : numpy.random.Generator
        Source of the perturbed draws.

    Returns
    -------
    dict of str to ndarray
        Columns as in `calibration.trace.COLUMNS` but for `calibration.trace.OF_LAWS`, shape [N] or [N, grid].
    """
    x = _softmax(slm_logits, settings.temperature)
    order, u = _order_and_uncertainty(x, slm_logits, text, settings)
    x_sorted = _ordered(x, order)
    mass = np.einsum("nv,nvj->nj", x_sorted[:, : u.shape[1] - 1], _skips(u[:, 1:]))
    return {
        **_of_drafts(x, x_sorted, text, llm_prob, u[:, 0]),
        "token": text,
        **_sampled(slm_logits, order, text, settings, rng),
        "skip_mass": _to_all(mass.clip(max=1.0), np.ones(len(x))),
    }


def _order_and_uncertainty(
    x: Floats,
    logits: NDArray[np.floating],
    draft: NDArray[np.integer],
    settings: Settings,
    uncertainty: Sequence[ContextUncertainty] | None = None,
) -> tuple[NDArray[np.intp], Floats]:
    """Tokens in falling order of x, shape [N, V], and u-bar of the draft and of the first of them."""
    if uncertainty is None:
        uncertainty = [ContextUncertainty(row, max_temperature=settings.max_temperature) for row in logits]
    order = _falling_order(logits)
    few = 1 + int(most_kept_tokens(_THRESHOLDS[-2], x.shape[1]))
    asked = np.column_stack([draft, order[:, :few]])
    return order, np.stack([mean(tokens) for mean, tokens in zip(uncertainty, asked, strict=True)])


def _of_drafts(
    x: Floats, x_sorted: Floats, draft: NDArray[np.integer], y_d: Floats, u_d: Floats
) -> dict[str, NDArray[Any]]:
    """Columns of the drafts and of the small model's laws."""
    x_d = x[np.arange(len(x)), draft]
    rejection = np.maximum(0.0, 1.0 - y_d / x_d)
    rejection[rejection < SAME] = 0.0
    fitted, budgets = Line(*_printed_line())(u_d), np.broadcast_to(_BUDGETS, (len(x), len(_BUDGETS)))
    printed = truncation.printed_budget(budgets, x_d[:, None], fitted[:, None])
    k = truncation.exact_k(x_sorted[:, None], np.concatenate([budgets, printed], axis=1))
    return {
        "draft": draft,
        "draft_prob": x_d,
        "llm_prob": y_d,
        "rejection": rejection,
        "kept": 1.0 - rejection,
        "uncertainty": u_d,
        "entropy": entropy_nat(x),
        **_of_sizes(x_sorted),
        "k_exact": k[:, : len(_BUDGETS)],
        "k_printed": k[:, len(_BUDGETS) :],
    }


def _sampled(
    logits: NDArray[np.floating],
    order: NDArray[np.intp],
    draft: NDArray[np.integer],
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Columns of the uncertainty as it is estimated from perturbed draws."""
    falling = _ordered(logits, order)
    gaps = (falling[:, :1] - falling).astype(np.float64)
    draft_gap = (falling[:, 0] - logits[np.arange(len(draft)), draft]).astype(np.float64)
    agree = _agreements(gaps, draft_gap, settings.max_temperature, rng)  # [N, draws]
    return {
        "sampled_uncertainty": 1.0 - agree[:, :20].mean(axis=1),
        "sampled_uncertainty_1": 1.0 - agree[:, :1].mean(axis=1),
        "sampled_uncertainty_5": 1.0 - agree[:, :5].mean(axis=1),
        "sampled_uncertainty_100": 1.0 - agree.mean(axis=1),
    }


def _of_sizes(x: Floats) -> dict[str, Floats]:
    """Columns of the largest entries and of keeping only k of them, from laws in falling order."""
    sizes = np.array(k_grid(x.shape[1]))
    last = np.zeros((len(x), 1))  # the last size is V
    tail = np.concatenate([np.add.reduceat(x, sizes[:-1], axis=1), last], axis=1)  # from a size to the next
    return {
        "max_prob": x[:, 0],
        "margin": x[:, 0] - x[:, 1],
        "tv_profile": truncation.tv_profile(x, sizes),
        "tail_mass": np.cumsum(tail[:, ::-1], axis=1)[:, ::-1],
        "sorted_prob": x[:, sizes - 1],
    }


def _of_both(x: Floats, y: Floats) -> dict[str, Floats]:
    """Columns of keeping only k entries that take both laws, in the falling order of x."""
    acceptance, bias = _truncated(x, y, _coarse_k(x.shape[1]))
    return {"truncated_acceptance": acceptance, "output_bias": bias}


def _falling_order(logits: NDArray[np.floating]) -> NDArray[np.intp]:
    """Tokens in falling order of their logits, equal ones in the vocabulary's, shape [N, V].

    A float32 logit and the token make one 64-bit key, and keys sort five times as fast as a stable argsort.
    """
    if logits.dtype != np.float32:
        return np.argsort(-logits, axis=1, kind="stable")
    bits = (0.0 - logits).view(np.int32)  # not -logits, whose zeros have two signs
    rising = np.where(bits < 0, ~bits, bits | np.int32(-(2**31))).view(np.uint32)  # order of the floats
    key = rising.astype(np.uint64) << np.uint64(32) | np.arange(logits.shape[1], dtype=np.uint64)
    key.sort(axis=1)
    return (key & np.uint64(2**32 - 1)).astype(np.intp)


def _ordered(values: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    """Return each row in an order of its own; take_along_axis is three times as slow."""
    return np.stack([row.take(places) for row, places in zip(values, order, strict=True)])


def _candidates(x: Floats, y: Floats, u: Floats) -> dict[str, Floats]:
    """Columns of the tokens with least uncertainty, from laws in the falling order of x.

    A token's probability at every temperature rises with its logit, so the least uncertain are the likeliest;
    ties keep that order.
    """
    num = u.shape[1]
    order = np.argsort(u, axis=1, kind="stable")
    columns = {"uncertainty": u, "prob": x[:, :num], "llm_prob": y[:, :num]}
    padding = ((0, 0), (0, trace.NUM_CANDIDATES - num))
    return {
        f"candidate_{name}": np.pad(
            np.take_along_axis(column, order, axis=1), padding, constant_values=float(name == "uncertainty")
        )
        for name, column in columns.items()
    }


def _couple(x: Floats, y: Floats, text: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.integer]:
    """Drafts that verification would have turned into this text, shape [N]; each has the law x.

    The text's token is a kept draft with chance min(1, x_w / y_w); else the draft is one that was rejected.
    """
    index = np.arange(len(text))
    kept = rng.random(len(text)) < kept_given_token(x[index, text], y[index, text])
    refused = np.maximum(x - y, 0.0)
    drawn = [w if keep else _draw(law, rng) for w, keep, law in zip(text, kept, refused, strict=True)]
    return np.array(drawn)


def _softmax(logits: NDArray[np.floating], temperature: float) -> Floats:
    scaled = logits.astype(np.float64)
    scaled /= temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def _agreements(
    gaps: Floats, draft_gap: Floats, max_temperature: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whether each of the perturbed draws gives the draft again, shape [N, draws].

    ``gaps`` are how far the logits lie below the largest, in rising order, shape [N, V], and ``draft_gap``
    those of the drafts. Given theta a draw agrees with probability softmax(z / theta)_d, and nothing else of
    it matters. The first and the last gap of each part of the row bound its share of the normaliser; of the
    draws that coarse parts leave open, finer ones leave few.
    """
    agree = np.empty((len(gaps), _NUM_DRAWS), dtype=bool)
    partitions = [_parts(gaps.shape[1], num) for num in _NUM_PARTS]
    for row, (gap, own_gap) in enumerate(zip(gaps, draft_gap, strict=True)):
        rate = 1.0 / (max_temperature * (1.0 - rng.random(_NUM_DRAWS)))  # 1 / theta, theta in (0, theta_max]
        coin = rng.random(_NUM_DRAWS)
        open_ = np.arange(_NUM_DRAWS)
        with np.errstate(over="ignore", under="ignore"):
            own = np.exp(-rate * own_gap)
            for first, size in partitions:
                ends = np.stack([gap[first], gap[first + size - 1]])
                most, least = coin[open_] * (size @ np.exp(np.multiply.outer(ends, -rate[open_])))
                agree[row, open_] = most < own[open_]
                open_ = open_[(least < own[open_]) & (most >= own[open_])]
            for draw in open_:
                agree[row, draw] = coin[draw] * np.exp(-rate[draw] * gap).sum() < own[draw]
    return agree


def _parts(vocab_size: int, num: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First places and sizes of parts of a row, in steps that grow."""
    edge = np.unique(np.rint(np.geomspace(1, vocab_size + 1, num)).astype(np.int64)) - 1
    return edge[:-1], np.diff(edge)


def _truncated(x: Floats, y: Floats, sizes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return the acceptance of drafts from the k largest and the bias of verifying with x-hat_k, [N, C] each.

    ``x`` is sorted in falling order, ``y`` in the same order. The bias is the total variation between y and
    `cuhlm_theory.verification.output_law`, with the sums over the k largest taken once for all k: there the
    output is y where y <= x, and otherwise misses y by (y - x) times the share of the residual not given out.
    Of the others, those with x and y at most their mean m are kept with y / m and never given out, so that
    two sums tell all of them.
    """
    acceptance = np.empty((len(x), len(sizes)))
    bias = np.empty_like(acceptance)
    both, ends = x * y, (0, *sizes[:-1])
    accepted = np.add.reduceat(np.minimum(x, y), ends, axis=1).cumsum(axis=1)  # by so many of the largest
    missing = np.add.reduceat(np.maximum(y - x, 0.0), ends, axis=1).cumsum(axis=1)
    for column, k in enumerate(sizes):
        top = x[:, :k]
        acceptance[:, column] = np.minimum(top / top.sum(axis=1, keepdims=True), y[:, :k]).sum(axis=1)
        x_tail, y_tail = x[:, k:], y[:, k:]
        mean = np.maximum(x_tail.sum(axis=1, keepdims=True) / max(x.shape[1] - k, 1), _LEAST)
        above = np.flatnonzero(((x_tail > mean) | (y_tail > mean)).any(axis=0))
        x_above, y_above = x_tail[:, above], y_tail[:, above]
        kept = x_above * np.minimum(1.0, y_above / mean)
        spare = np.maximum(y_above - mean, 0.0)
        y_below = y_tail.sum(axis=1) - y_above.sum(axis=1)
        kept_below = (both[:, k:].sum(axis=1) - (x_above * y_above).sum(axis=1)) / mean[:, 0]
        rejected = np.maximum(1.0 - accepted[:, column] - kept.sum(axis=1) - kept_below, 0.0)
        residual = missing[:, column] + spare.sum(axis=1)
        given = np.divide(rejected, residual, out=np.zeros(len(x)), where=residual > 0.0)
        off = np.abs(kept + given[:, None] * spare - y_above).sum(axis=1)
        off += np.maximum(y_below - kept_below, 0.0)
        bias[:, column] = 0.5 * (np.abs(1.0 - given) * missing[:, column] + off)
    return acceptance, bias


def _skip_profiles(x: Floats, y: Floats, u: Floats) -> dict[str, Floats]:
    """TV(x, y), and skipped mass, risk and bias of server sampling over the thresholds, [N, J] each.

    The laws are in the falling order of x, and u-bar is that of the first tokens, which are all that a
    threshold below 1 can skip. At t = 1 everything is skipped.
    """
    surplus = np.maximum(0.0, x - y)  # x_d beta_d of every token
    tv = surplus.sum(axis=1)
    x, y, surplus = (law[:, : u.shape[1]] for law in (x, y, surplus))
    skip = _skips(u)
    mass = np.einsum("nv,nvj->nj", x, skip)
    risk = np.einsum("nv,nvj->nj", surplus, skip)
    bias = np.maximum(0.0, x[..., None] * skip - mass[:, None] * y[..., None]).sum(axis=1)
    return {
        "tv": tv,
        "skip_mass": _to_all(mass.clip(max=1.0), np.ones(len(x))),
        "skip_risk": _to_all(risk, tv),
        "server_bias": _to_all(bias, tv),
    }


def _skips(u: Floats) -> NDArray[np.bool_]:
    """Whether each threshold below 1 skips each token, shape [N, few, J - 1]."""
    return u[..., None] <= np.array(_THRESHOLDS[:-1])


def _to_all(profile: Floats, at_one: Floats) -> Floats:
    """Add what holds at t = 1, where everything is skipped, shape [N, J]."""
    return np.concatenate([profile, at_one[:, None]], axis=1)
