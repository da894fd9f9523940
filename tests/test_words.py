"""Words of the project: no book that is not here, no sentence whose pieces were broken."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cuhlm_theory", "calibration", "derivations", "figures", "tests")
PAGES = ("README.md", "NOTICE", "CITATION.cff", "pyproject.toml")
BOOKS = re.compile(r"\b(?:THEORY|PEERS|REVIEW)\b|\b(?:DESIGN|STYLE|CLI|PAPERS)(?:\.md|,? (?:[Ss]ec|§|\d))")
"""Books that are not in the repository; a statement is named instead, as `truncation.exact_rule`."""
SECTIONS = re.compile(r"§ ?\d|\b[Ss]ections? \d")


def files(*places: str, suffixes: tuple[str, ...] = (".py", ".md", ".html", ".txt")) -> list[Path]:
    """Files of rooms, and pages; this file quotes what it forbids and the data is not ours to word."""
    paths = [ROOT / place for place in places]
    found = [p for path in paths for p in ([path] if path.is_file() else sorted(path.rglob("*")))]
    data = ROOT / "calibration" / "data"
    return [
        p
        for p in found
        if (p in paths or p.suffix in suffixes) and p != Path(__file__) and data not in p.parents
    ]


@pytest.mark.parametrize("file", files(*ROOMS, *PAGES), ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_explained_by_the_section_of_a_book_that_is_not_here(file):
    text = file.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if BOOKS.search(line)] == []
    if file.relative_to(ROOT).parts[0] != "tests":
        assert [line for line in text.splitlines() if SECTIONS.search(line)] == []


def _pieces(source: str) -> list[tuple[int, str]]:
    """Lines that are a piece of a string in several pieces, but for its last one."""
    lines, found = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        several = isinstance(node, ast.Constant | ast.JoinedStr) and (node.end_lineno or 0) > node.lineno
        first = lines[node.lineno - 1][node.col_offset :] if several else ""
        if several and not first.lstrip("rRfFbB").startswith('"""') and "\n" not in _value(node):
            found += [(number, lines[number - 1]) for number in range(node.lineno, node.end_lineno)]
    return sorted(set(found))


def _value(node: ast.Constant | ast.JoinedStr) -> str:
    parts = [node] if isinstance(node, ast.Constant) else node.values
    return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def _orphans(source: str) -> list[str]:
    """Pieces that end far from the margin although the next word would have fitted."""
    lines = source.splitlines()
    return [
        f"{number}: {line.strip()}"
        for number, line in _pieces(source)
        if "{" not in line  # what holds a value is cut where it reads best
        and (following := re.match(r'\s*f?"([^" ]+ ?)', lines[number]))
        and len(line.rstrip(",")) + len(following.group(1)) < 95
    ]


@pytest.mark.parametrize(
    "file", files(*ROOMS, suffixes=(".py",)), ids=lambda file: str(file.relative_to(ROOT))
)
def test_sentences_are_not_broken_into_fragments(file):
    assert _orphans(file.read_text(encoding="utf-8")) == []


def test_a_fragment_is_seen():
    whole = "x = (\n" + '    "' + "word " * 18 + '"\n    "and the rest"\n)\n'
    broken = 'x = (\n    "words before "\n    "the "\n    "rest"\n)\n'
    assert _orphans(whole) == []
    assert len(_orphans(broken)) == 2


def test_the_pattern_sees_a_book():
    for line in (
        "(THEORY section 9)",
        "[THEORY, Sec. 9], new",
        "see REVIEW.md",
        "DESIGN, section 3",
        "THEORY",
    ):
        assert BOOKS.search(line), line
    for line in ("style.PREDICTED, label", "STYLE = 3", "CLI options"):
        assert not BOOKS.search(line), line
