"""The README's table of statements is generated, and this is what keeps it from drifting."""

from pathlib import Path

import pytest

from derivations import registry, table

ROOT = Path(__file__).parent.parent


def test_the_readme_holds_the_table_that_the_objects_give():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.updated(readme) == readme, "run: python -m derivations.table"


def test_every_row_names_a_test_that_uses_the_derivation():
    for statement in registry.statements():
        file = ROOT / statement.test
        assert file.exists(), statement.test
        assert statement.name.split(".")[0] in file.read_text(encoding="utf-8")


def test_a_text_without_markers_is_refused():
    with pytest.raises(ValueError, match="must contain"):
        table.updated("no table here")


def test_a_table_that_drifted_is_rewritten(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{table.BEGIN}\nstale row\n{table.END}\nafter\n", encoding="utf-8")
    table.main(str(file))
    written = file.read_text(encoding="utf-8")
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "stale row" not in written
    assert written.count("\n| §") == len(registry.builders())
