"""Files: one writer, whose files are there whole or not at all, and readers of JSON."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cuhlm_theory.errors import CuhlmError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and put what was written in its place when all went well.

    A link is followed, a file that is replaced keeps its mode, and what is no regular file is refused. An
    `OSError` on the way is one line that names the file that was wanted.
    """
    try:
        target = Path(path).resolve()
        if target.is_symlink():  # where resolving it raises nothing
            raise OSError("the link leads to itself")
    except (OSError, RuntimeError) as error:
        raise OSError(f"cannot write {path}: {error}") from None
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        if mode is not None and not target.is_file():
            raise OSError("it is no regular file")
        try:
            yield part
            if mode is not None:
                part.chmod(mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Make a folder and hold it for one writer; another process is refused until this one has ended.

    Where the system cannot lock a folder, nothing is refused.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CuhlmError(
                f"another process writes into {folder}; wait for it, or give another folder"
            ) from None
        yield
    finally:
        os.close(held)


def read_json(text: str | bytes, origin: str) -> Any:
    """Return what a JSON text says, or one line that names ``origin``; each key once."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{origin} is not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError(f"{origin} is not JSON that can be read (nested too deep)") from None
    except ValueError as error:
        raise ValueError(f"{origin} is not JSON ({error})") from None


def read_rows(part: Path) -> list[Any] | None:
    """Return rows that were stored as JSON; None where they are not there, or damaged."""
    try:
        rows = read_json(part.read_bytes(), str(part))
    except (OSError, ValueError):
        return None
    return rows if isinstance(rows, list) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found
