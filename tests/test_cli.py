"""The front door: exit codes, one-line errors, scenario files, and what a command may import."""

import importlib.metadata
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cuhlm_theory import capacity
from cuhlm_theory.cli import app, options, output
from cuhlm_theory.errors import DivergentError, InfeasibleError, MissingInputError

NARROW_SPACE = "\u202f"  # between the digits of a table
HEAVY = ("torch", "transformers", "sympy", "cvxpy", "matplotlib", "pandas", "sklearn")


def in_a_new_process(code, *arguments, **more):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, **more)


# the door itself


def test_version_is_that_of_the_package(run_cuhlm):
    assert run_cuhlm("--version") == (0, f"cuhlm, version {importlib.metadata.version('cuhlm')}\n", "")


def test_without_arguments_it_shows_its_help(run_cuhlm):
    code, out, err = run_cuhlm()
    assert (code, err) == (0, "")
    assert (0, out, "") == run_cuhlm("--help") == run_cuhlm("-h")
    assert "Example: cuhlm optimize" in out
    for name in app._COMMANDS:
        assert f"\n  {name} " in out


def test_it_reads_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cuhlm", "payload", "--json"])
    app.main()
    assert json.loads(capsys.readouterr().out)["printed_bit"] == 690


@pytest.mark.parametrize("name", app._COMMANDS)
def test_every_command_has_help_with_an_example(run_cuhlm, name):
    code, out, err = run_cuhlm(name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: cuhlm {name} " in out
    assert f"Example: cuhlm {name}" in out
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimise"], ["No such command 'optimise'"]),
        (["--nope"], ["--nope"]),
        (["payload", "--nope"], ["--nope"]),
        (["payload", "--k"], ["--k"]),
        (["payload", "--k", "a", "--json"], ["--k", "'a'"]),
        (["payload", "--k", "0", "--json"], ["k must lie in [1, 32000]; got 0"]),
        (["payload", "no-such-file.toml"], ["no-such-file.toml"]),
        (["payload", "a.toml", "b.toml"], ["toml"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, arguments, words):
    assert_refused(*arguments, words=words)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("k must be\ngood; got bad"), 2),
        (DivergentError("it diverges: turn the knob"), 1),
        (InfeasibleError("nothing fits"), 1),
        (MissingInputError("give it"), 1),
        (
            ModuleNotFoundError(
                "this needs torch; install it with: pip install 'cuhlm[calibration]'", name="torch"
            ),
            1,
        ),
        (OSError("disk full"), 1),
    ],
)
def test_every_failure_is_one_line_and_its_exit_code(assert_refused, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(capacity, "rate_bit_per_s", fail)
    assert_refused("channel", "--json", code=code, words=[" ".join(str(error).split())])


def test_an_interrupt_is_no_traceback(run_cuhlm, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(capacity, "rate_bit_per_s", stop)
    assert run_cuhlm("channel") == (130, "", "\ncuhlm: interrupted\n")  # on a line of its own, after the ^C


def test_a_reader_that_stops_reading_is_no_error():
    code = (
        "import os, sys\n"
        "from cuhlm_theory.cli import main\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "main(['payload', '--json'])"
    )
    done = in_a_new_process(code)
    assert done.returncode == 1
    assert done.stderr == ""


# what it may import


def test_light_commands_import_nothing_heavy(tmp_path):
    """One process runs each light command in turn and lists what it has loaded so far."""
    law, logits = tmp_path / "law.npy", tmp_path / "logits.npy"
    np.save(law, [0.5, 0.25, 0.125, 0.125])
    np.save(logits, [2.0, 1.0, 0.0, 0.0])
    commands = [
        ["--version"],
        ["channel", "--json"],
        ["payload", "--json"],
        ["uncertainty", str(logits), "--draft", "0", "--json"],
        ["thresholds", "--slope", "0.8", "--intercept", "-0.1", "--json"],
        ["truncate", str(law), "--budget", "0.1", "--json"],
        ["drafts", "--acceptance", "0.8", "--latency-ratio", "0.1", "--json"],
        ["optimize", "--json"],
        *([name, "--help"] for name in app._COMMANDS),
    ]
    code = (
        "import contextlib, io, json, sys\n"
        "from cuhlm_theory.cli import main\n"
        "heavy, seen = json.loads(sys.argv[2]), []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    code = 0\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        try: main(arguments)\n"
        "        except SystemExit as stop: code = stop.code\n"
        "    seen.append([arguments, code or 0, [name for name in heavy if name in sys.modules]])\n"
        "print(json.dumps(seen))"
    )
    done = in_a_new_process(code, json.dumps(commands), json.dumps(HEAVY))
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[arguments, 0, []] for arguments in commands]


# scenario files


@pytest.fixture
def scenario(tmp_path):
    def write(text):
        path = tmp_path / "scenario.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_scenario_sets_options_and_the_command_line_overrides_it(cuhlm_json, scenario):
    path = scenario('bandwidth-hz = 1e6\nsnr_db = 20\nfading = "short-packet"\nbits = 690\nmean = true\n')
    got = cuhlm_json("channel", path)
    assert (got["bandwidth_hz"], got["snr_db"], got["fading"], got["bits"]) == (
        1e6,
        20.0,
        "short-packet",
        690,
    )
    assert "mean_latency_s" in got
    assert got["assumed"] == []
    over = cuhlm_json("channel", path, "--snr-db", "10", "--fading", "awgn")
    assert (over["bandwidth_hz"], over["snr_db"], over["fading"], over["bits"]) == (1e6, 10.0, "awgn", 690)
    assert cuhlm_json("channel", "--snr-db", "10", path)["snr_db"] == 10.0


def test_a_scenario_may_sweep_and_ask_for_json(run_cuhlm, scenario):
    code, out, err = run_cuhlm("channel", scenario('snr-db = "0:10:5"\njson = true\n'))
    assert (code, err) == (0, "")
    assert json.loads(out)["snr_db"] == [0.0, 5.0, 10.0]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("bandwith-hz", "bandwidth-hz"),
        ("snr_dB", "snr-db"),
        ("block_eror", "block-error"),
        ("bit", "bits"),
        ("zzz", ""),
    ],
)
def test_an_unknown_key_gives_the_nearest_known_one(assert_refused, scenario, key, near):
    words = [f"scenario key '{key}' is unknown", f"the nearest known key is '{near}"]
    assert_refused("channel", scenario(f"{key} = 1\n"), words=words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bits = \n", ["is not TOML", "scenario.toml"]),
        (b"\xff\xfe\x00", ["is not TOML", "scenario.toml"]),
        ("bits = [1, 2]\n", ["scenario key 'bits' must be one value; got a list"]),
        ("[snr-db]\nstart = 1\n", ["scenario key 'snr-db' must be one value; got a dict"]),
        ("bits = true\n", ["--bits", "'True' is not a valid float"]),
        ('bits = "many"\n', ["--bits", "'many' is not a valid float"]),
        ("snr-db = true\n", ["snr_db must be a number", "'True'"]),
        ("snr-db = nan\n", ["snr_db must be a number", "'nan'"]),
        ("bandwidth-hz = -1\n", ["bandwidth_hz must be positive; got -1"]),
        ("mean = 7\n", ["--mean", "'7' is not a valid boolean"]),
        ("help = true\n", ["'help' is unknown"]),
    ],
)
def test_refuses_scenarios_that_say_nothing_sensible(assert_refused, scenario, text, words):
    assert_refused("channel", scenario(text), "--json", words=words)


def test_a_scenario_truncates_no_number_to_make_it_fit(assert_refused, scenario):
    assert_refused("payload", scenario("k = 2.5\n"), words=["'2.5' is not a valid integer"])


# options and output


def test_the_shared_link_ends_the_decibels():
    link = options.build_link(
        bandwidth_hz=1e6, snr_db=20.0, fading="short-packet", outage=0.2, block_error=0.3
    )
    assert (link.bandwidth_hz, link.fading, link.outage, link.block_error) == (1e6, "short-packet", 0.2, 0.3)
    assert link.snr == pytest.approx(100.0)


def test_decibels_sweep_only_where_a_sweep_makes_sense():
    sweep, single = options.Decibels(sweep=True), options.Decibels()
    np.testing.assert_allclose(sweep.convert("-1:1:0.5", None, None), [-1.0, -0.5, 0.0, 0.5, 1.0])
    assert (
        sweep.convert("7", None, None)
        == single.convert("7", None, None)
        == single.convert(7.0, None, None)
        == 7.0
    )
    assert len(sweep.convert("0:99999:1", None, None)) == 100_000
    for bad in ("0:100000:1", "0:inf:1", "inf", "", ":", "1:2:3:4"):
        with pytest.raises(Exception, match="A:B:STEP with A <= B, STEP > 0 and at most 100000 points; got"):
            sweep.convert(bad, None, None)
    with pytest.raises(Exception, match=r"^snr_db must be a number; got '0:10:5'$"):
        single.convert("0:10:5", None, None)


def test_results_become_plain_json():
    result = {
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "scalar": np.float64(0.5),
        "zero-dimensional": np.array(3),
        "bool": np.bool_(True),
        "ragged": [1, [2.0, -np.inf], (3,)],
        "nested": {"none": None, 5: "text"},
        "int": np.int64(2**53),
        "empty": [],
    }
    assert output.plain(result) == {
        "array": [[1.0, None], [None, 2.0]],
        "scalar": 0.5,
        "zero-dimensional": 3,
        "bool": True,
        "ragged": [1, [2.0, None], [3]],
        "nested": {"none": None, "5": "text"},
        "int": 2**53,
        "empty": [],
    }
    json.dumps(output.plain(result), allow_nan=False)


def test_tables_round_numbers_and_keep_units(capsys):
    rows = [
        ["row", 1234567, 0.123456789, None, True, np.int64(5), [1.0, 2.5]],
        ["[b]", 1, np.nan, "x", False, 2, ()],
    ]
    columns = ["name", "count", "value [bit]", "none", "flag", "int", "list"]
    output.table("A title [Hz]", columns, rows, note="A note.")
    out = capsys.readouterr().out.replace(NARROW_SPACE, " ")
    for word in (
        "A title [Hz]",
        "value [bit]",
        "1 234 567",
        "0.1235",
        " - ",
        "yes",
        "no",
        "1, 2.5",
        "nan",
        "[b]",
        "A note.",
    ):
        assert word in out
