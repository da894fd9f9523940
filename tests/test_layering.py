"""No room imports a room above it, and a function fits on a screen."""

import ast
import importlib.util
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(importlib.util.find_spec("cuhlm_theory").origin).parent.parent
MAY_IMPORT = {
    "cuhlm_theory": set(),
    "derivations": set(),
    "calibration": {"cuhlm_theory"},
    "figures": {"cuhlm_theory", "calibration"},
}
FRONT_DOOR = {"cuhlm_theory.cli", "cuhlm_theory.errors"}
"""What the commands of any room may import: how a result leaves, and how it fails."""
MOST_LINES, MOST_ARGUMENTS = 60, 8

FILES = [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


def imported(tree):
    """Modules that a file imports anywhere, with the names it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_room_imports_a_room_above_it(path):
    room = path.relative_to(ROOT).parts[0]
    is_command = "cli" in path.relative_to(ROOT).with_suffix("").parts
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        other = name.split(".")[0]
        if other in MAY_IMPORT and other != room and other not in MAY_IMPORT[room]:
            assert is_command, name
            assert any(f"{name}.".startswith(f"{door}.") for door in FRONT_DOOR), name


def functions(path):
    """Every function of a file with its qualified name, and the lines that hold code."""
    text = path.read_text(encoding="utf-8")
    kinds = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (*kinds, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    }

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}"
                if not isinstance(child, ast.ClassDef):
                    yield name, child, code
                yield from walk(child, name)
            else:
                yield from walk(child, prefix)

    yield from walk(ast.parse(text), ".".join(path.relative_to(ROOT).with_suffix("").parts))


def size(node, code):
    """Lines of code of a function, without its docstring."""
    said = node.body[0] if ast.get_docstring(node) is not None else None
    words = set() if said is None else set(range(said.lineno, said.end_lineno + 1))
    return len(code & set(range(node.lineno, node.end_lineno + 1)) - words)


def test_no_function_is_too_long_or_asks_for_too_much():
    found = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] != "derivations":
            for name, node, code in functions(path):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([one for one in arguments if one.arg not in ("self", "cls")])
                if size(node, code) > MOST_LINES or count > MOST_ARGUMENTS:
                    found.append(name)
    assert found == []
