"""The page of statements is generated, and this is what keeps it from drifting."""

from pathlib import Path

import pytest

from derivations import registry, table

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def every():
    return registry.statements()


@pytest.fixture(scope="module")
def page():
    return table.page()


def test_the_page_is_the_one_that_the_objects_give(page):
    written = table.PAGE.read_text(encoding="utf-8")
    assert page == written, "run: python -m derivations.table"


def test_the_page_names_every_statement_and_every_departure(every, page):
    tables, _, departures = page.partition("## Where this departs")
    for statement in every:
        assert tables.count(f"| `{statement.name}` | [") == 1
        assert (f"`{statement.name}`" in departures) == bool(statement.departs), statement.name


def test_links_of_the_page_lead_to_files(page):
    links = [part.split(")")[0] for part in page.split("](")[1:]]
    assert len(links) > 100
    for link in set(links):
        assert (table.PAGE.parent / link).is_file(), link


def test_the_readme_leads_to_the_page():
    assert "(derivations/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_statement_has_two_tests_of_its_own_numbers_the_first_joined_to_the_derivation(every):
    for statement in every:
        assert len(set(statement.tests)) >= 2, statement.name
        for name in statement.tests:
            assert len(table.test_files().get(name, ())) == 1, f"{statement.name}: {name} is not one test"
        (join,) = table.test_files()[statement.tests[0]]
        assert join == f"joins/test_{statement.module}.py", statement.name


def test_a_page_that_drifted_is_rewritten(tmp_path, page):
    file = tmp_path / "page.md"
    file.write_text("stale", encoding="utf-8")
    table.main(str(file))
    assert file.read_text(encoding="utf-8") == page
