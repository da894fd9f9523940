"""The front door: exit codes, one-line errors, scenario files, and what a command may import."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import click
import numpy as np
import pytest

from cuhlm_theory import capacity, rooms
from cuhlm_theory._fields import quantities, renamed
from cuhlm_theory.cli import app, options, output
from cuhlm_theory.errors import DivergentError, InfeasibleError, MissingInputError
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, Passes, System

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
    for name in rooms.commands():
        assert f"\n  {name} " in out


def test_it_reads_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cuhlm", "payload", "--json"])
    app.main()
    assert json.loads(capsys.readouterr().out)["printed_bit"] == 690


@pytest.mark.parametrize("name", rooms.commands())
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
        *([name, "--help"] for name in rooms.commands()),
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
        ("bits = true\n", ["--bits", "must be a number [bit]; got 'True'"]),
        ('bits = "many"\n', ["--bits", "must be a number [bit]; got 'many'"]),
        ("snr-db = true\n", ["--snr-db must be a number", "'True'"]),
        ("snr-db = nan\n", ["--snr-db must be a number", "'nan'"]),
        ("bandwidth-hz = -1\n", ["--bandwidth-hz must be positive; got -1"]),
        ("mean = 7\n", ["--mean", "'7' is not a valid boolean"]),
        ("help = true\n", ["'help' is unknown"]),
    ],
)
def test_refuses_scenarios_that_say_nothing_sensible(assert_refused, scenario, text, words):
    assert_refused("channel", scenario(text), "--json", words=words)


def test_a_scenario_truncates_no_number_to_make_it_fit(assert_refused, scenario):
    assert_refused("payload", scenario("k = 2.5\n"), words=["--k must be a whole number; got '2.5'"])


# options and output


KINDS = (Link, FixedRate, Codec, Latency, System, Budget)


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_of_a_description_are_its_fields(kind):
    made = click.command()(options.of(kind)(lambda **_: None))
    fields = quantities(kind)
    assert [option.name for option in made.params] == list(fields)
    for option, one in zip(made.params, fields.values(), strict=True):
        assert option.opts == [one.option]
        assert option.default is None  # the ladder knows the default
        assert one.help in option.help
        assert one.kind is bool or not one.fallback or one.fallback in option.help


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("5e6", "Hz", 5e6),
        ("5M", "Hz", 5e6),
        ("180k", "Hz", 180e3),
        ("180 kHz", "Hz", 180e3),
        ("60ms", "s", 0.06),
        ("1Mbit/s", "bit/s", 1e6),
        ("1Mbps", "bit/s", 1e6),
        ("92kB", "bit", 736e3),
        ("2kB/s", "bit/s", 16e3),
        ("23dBm", "W", 10 ** (2.3) / 1e3),
        ("200mW", "W", 0.2),
        ("5%", "-", 0.05),
        ("-3dB", "dB", -3.0),
        ("inf", "bit/s", np.inf),
    ],
)
def test_numbers_as_people_write_them(text, unit, number):
    assert options.Number(unit).convert(text, None, None) == pytest.approx(number)


def test_whole_numbers_as_people_write_them():
    got = options.WHOLE.convert("32k", None, None)
    assert (got, type(got)) == (32_000, int)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("60ms", "Hz"), ("5 min", "s"), ("23dBm", "dB"), ("1:2", "s"), ("a = 3", "s"), ("5MM", "Hz"), ("", "s")],
)
def test_another_unit_is_refused(text, unit):
    with pytest.raises(click.UsageError, match=rf"must be a number \[{unit}\]; got '{text}'"):
        options.Number(unit).convert(text, None, None)


def test_numbers_sweep_only_where_a_sweep_makes_sense():
    sweep, single = options.Sweep("dB"), options.Number("dB")
    np.testing.assert_allclose(sweep.convert("-1:1:0.5", None, None), [-1.0, -0.5, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(options.Sweep("Hz").convert("1k:3kHz:1k", None, None), [1e3, 2e3, 3e3])
    assert (
        sweep.convert("7", None, None)
        == single.convert("7", None, None)
        == single.convert(7.0, None, None)
        == 7.0
    )
    assert len(sweep.convert("0:99999:1", None, None)) == 100_000
    for bad in ("0:100000:1", "0:inf:1", "nan", "", ":", "1:2:3:4"):
        with pytest.raises(Exception, match="A:B:STEP with A <= B, STEP > 0 and at most 100000 points; got"):
            sweep.convert(bad, None, None)
    with pytest.raises(Exception, match=r"must be a number \[dB\]; got '0:10:5'$"):
        single.convert("0:10:5", None, None)


# the ladder


def test_every_number_is_that_of_the_highest_rung():
    known = SimpleNamespace(vocab_size=50, slm_latency_s=0.5, llm_latency_s=None)
    ladder = Ladder({"vocab_size": 40, "snr_db": 20.0, "codec": "dense"}, {"calibration": known})
    system, budget = ladder.system(), ladder.build(Budget)
    assert system == System(
        link=Link(bandwidth_hz=1e6, snr_db=20.0),
        codec=Codec(vocab_size=40, kind="dense"),
        latency=Latency(slm_s=0.5, llm_s=0.1046),
    )
    assert budget == Budget()
    rungs = ladder.provenance
    assert {key for key, rung in rungs.items() if rung == "option"} == {"vocab_size", "snr_db", "codec"}
    assert rungs["slm_latency_s"] == "calibration"
    assert ladder.assumed == ["bandwidth_hz", "fading", "llm_latency_s"]
    assert set(rungs) == {key for kind in KINDS if kind is not FixedRate for key in quantities(kind)}
    assert ladder.told["snr_db"] == 20.0
    assert {rungs[key] for key in ("prob_bits", "round_trip_s", "bias_budget")} == {"default"}


def test_what_a_further_token_takes_belongs_to_the_pass_that_was_timed():
    known = {"calibration": SimpleNamespace(slm_latency_s=0.5, llm_latency_s=0.4, llm_per_token_s=0.3)}
    assert Ladder({}, known).build(Latency).llm.per_token_s == 0.3
    ladder = Ladder({"llm_latency_s": 0.1}, known)
    assert ladder.build(Latency) == Latency(slm_s=0.5, llm_s=0.1)
    assert ladder.provenance["llm_per_token_s"] == "default"
    said = Ladder({"llm_latency_s": 0.1, "llm_per_token_s": 0.05}, known).build(Latency)
    assert said.llm == Passes(fixed_s=0.05, per_token_s=0.05)


def test_a_zero_is_a_number_that_was_given():
    for key, text in (("vocab_size", "at least 2"), ("slm_latency_s", "positive"), ("prob_bits", "[1, 64]")):
        with pytest.raises(ValueError, match=re.escape(f"{key} must ")) as caught:
            Ladder({key: 0}, {"calibration": SimpleNamespace(vocab_size=50, slm_latency_s=0.5)}).system()
        assert text in str(caught.value)


def test_what_is_measured_is_not_assumed():
    known = SimpleNamespace(vocab_size=50, slm_latency_s=0.5, llm_latency_s=None)
    with pytest.raises(MissingInputError, match=r"^llm_latency_s is not known; give it, or a calibration"):
        Ladder({}, {"calibration": known}, assume=False).system()
    assert Ladder({"llm_latency_s": 0.1}, {"calibration": known}, assume=False).system().latency.llm_s == 0.1


def test_a_rate_stands_instead_of_bandwidth_and_snr():
    assert Ladder({"rate_bit_per_s": 1e6}).link() == FixedRate(rate_bit_per_s=1e6)
    with pytest.raises(ValueError, match=r"^rate_bit_per_s stands instead of snr_db; got both$"):
        Ladder({"rate_bit_per_s": 1e6, "snr_db": 3.0}).link()
    both = {"rate_bit_per_s": 1e6, "snr_db": 3.0}
    assert isinstance(Ladder(both, scenario=["snr_db"]).link(), FixedRate)  # the command line overrides
    assert isinstance(Ladder(both, scenario=["rate_bit_per_s"]).link(), Link)
    assert isinstance(Ladder({"rate_bit_per_s": 1e6}, scenario=["rate_bit_per_s"]).link(), FixedRate)
    with pytest.raises(ValueError, match="got both"):
        Ladder(both, scenario=["rate_bit_per_s", "snr_db"]).link()


def test_a_rate_at_the_command_line(cuhlm_json, assert_refused):
    got = cuhlm_json("channel", "--rate-bit-per-s", "1Mbit/s", "--bits", "500kbit")
    assert (got["rate_bit_per_s"], got["latency_s"], got["assumed"]) == (1e6, 0.5, [])
    assert (got["bandwidth_hz"], got["snr_db"], got["fading"]) == (None, None, None)
    words = ["--rate-bit-per-s stands instead of --bandwidth-hz; got both"]
    assert_refused("channel", "--rate-bit-per-s", "1M", "--bandwidth-hz", "1M", words=words)


def test_an_option_is_named_as_it_is_typed():
    names = {"k": "--k", "slm_s": "--slm-latency-s", "snr": "--snr", "snr_db": "--snr-db"}
    for text, typed in (
        ("k must be at least 1; got 0", "--k must be at least 1; got 0"),
        ("the best k must be 1", "the best k must be 1"),
        ("give slm_s, or snr_db", "give --slm-latency-s, or --snr-db"),
        ("give --snr_db", "give --snr_db"),
        ("my_slm_s is not slm_s_", "my_slm_s is not slm_s_"),
    ):
        assert str(renamed(ValueError(text), names)) == typed
    odd = UnicodeDecodeError("utf-8", b"k", 0, 1, "k must")
    assert renamed(odd, names) is odd


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
