"""The README's table of statements is generated, and this is what keeps it from drifting."""

from pathlib import Path

import pytest

from derivations import registry, table

ROOT = Path(__file__).parent.parent


def test_the_readme_holds_the_table_that_the_objects_give():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.updated(readme) == readme, "run: python -m derivations.table"


def test_every_statement_has_two_tests_of_its_own_numbers_the_first_joined_to_the_derivation():
    for statement in registry.statements():
        assert len(set(statement.tests)) >= 2, statement.name
        for name in statement.tests:
            assert len(table.test_files().get(name, ())) == 1, f"{statement.name}: {name} is not one test"
        (join,) = table.test_files()[statement.tests[0]]
        assert join == f"joins/test_{statement.module}.py", statement.name


def test_the_readme_names_every_departure():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Where this departs", 1)[1].split("\n## ", 1)[0]
    for statement in registry.statements():
        if statement.departs:
            assert f"`{statement.name}`" in section or f"cuhlm derive {statement.name}`" in section, (
                statement.name
            )


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
