"""What several test files share: the command line in this process, and how property tests draw."""

import json
import os

import pytest
from hypothesis import Phase, settings

from calibration import load, trace
from calibration.finding import TRACE_FILE
from calibration.fit import fit_folder
from cuhlm_theory.cli import main

# Models of a few neurons: threads would only wait for each other, on a busy machine for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no deadline on a busy machine.
settings.register_profile("cuhlm", deadline=None, derandomize=True, database=None)
# A mutant is killed by any example that fails, the smallest one would take as long as a timeout.
settings.register_profile(
    "mutation", parent=settings.get_profile("cuhlm"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("cuhlm")


@pytest.fixture
def run_cuhlm(capsys):
    """Run `cuhlm` with the arguments given; returns the exit code, stdout and stderr."""

    def run(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def cuhlm_json(run_cuhlm):
    """Run `cuhlm … --json`, which must succeed and say nothing else; returns the object."""

    def run(*arguments):
        code, out, err = run_cuhlm(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


@pytest.fixture
def assert_refused(run_cuhlm):
    """Run `cuhlm`, which must end with ``code`` and one line on stderr that contains ``words``."""

    def check(*arguments, code=2, words=()):
        got_code, out, err = run_cuhlm(*arguments)
        assert (got_code, out) == (code, "")
        assert err.startswith("cuhlm: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        for word in words:
            assert word in err

    return check


@pytest.fixture(scope="session")
def few_texts(tmp_path_factory):
    """A calibration folder of the first texts of the shipped real pair, both models' text."""
    folder = tmp_path_factory.mktemp("few-texts")
    pair = load("qwen2.5-coder")
    for name in ("slm", "llm"):
        recorded, place = pair.text(name), folder / name
        some = recorded.columns["prompt"] < 8
        columns = {key: column[some] for key, column in recorded.columns.items()}
        place.mkdir(exist_ok=True)
        trace.write(place / TRACE_FILE, recorded.header, columns)
    fit_folder(folder, name="few texts")
    return folder
