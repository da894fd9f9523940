"""Files and terminals that are not as they should be: one line of at most 300 characters, no harm."""

import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cuhlm_theory import _arrays, _checks, _files, rooms
from cuhlm_theory.cli import main, output, terminal
from cuhlm_theory.errors import CuhlmError

ROOT = Path(__file__).parents[1]
LINE = ("optimize", "--slm-latency-s", "0.03", "--llm-latency-s", "0.05")


def in_a_new_process(*arguments, folder=ROOT, **environment):
    code = "import sys; from cuhlm_theory.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
        timeout=120,
    )


# ----------------------------------------------------------------------------------------------------- arrays


def npy(path, array, **header):
    with path.open("wb") as file:
        np.save(file, array)
    if header:
        raw = path.read_bytes()
        size = int.from_bytes(raw[8:10], "little")
        told = eval(raw[10 : 10 + size]) | header
        text = repr(told).encode().ljust(size - 1) + b"\n"
        path.write_bytes(raw[:8] + len(text).to_bytes(2, "little") + text + raw[10 + size :])
    return path


BAD_ARRAYS = {
    "complex": np.array([1j, 2.0]),
    "text": np.array(["0.1", "0.2"]),
    "bytes": np.array([b"x"]),
    "bool": np.array([True, False]),
    "date": np.array(["2020-01-01"], dtype="M8[D]"),
    "record": np.zeros(3, dtype=[("u", "f4"), ("beta", "f4")]),
    "bfloat16 of ml_dtypes": np.zeros(4, dtype="V2"),
    "object": np.array([1, "x", None], dtype=object),
    "empty": np.zeros((0, 5)),
    "number": np.array(1.0),
    "cube": np.zeros((2, 2, 2)),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
@pytest.mark.parametrize("command", [("uncertainty", "--draft", "0"), ("truncate", "--budget", "0.1")])
def test_arrays_that_are_no_numbers_are_one_line(assert_refused, tmp_path, name, command):
    path = tmp_path / "a.npy"
    np.save(path, BAD_ARRAYS[name], allow_pickle=True)
    assert_refused(command[0], path, *command[1:], words=["a.npy"])
    assert_refused(*LINE, "--calibration", "cu-hlm", "--uncertainty", path, words=["--uncertainty must"])


@pytest.mark.parametrize(
    "header",
    [
        {"shape": (10**12, 40)},
        {"shape": (2**62, 2**62)},
        {"shape": (-3, 2)},
        {"shape": (3,), "descr": "|O"},
        {"shape": (3,), "descr": "nonsense"},
        {"shape": "x"},
        {"shape": (30,)},
    ],
)
def test_headers_that_promise_what_is_not_there_take_no_memory(assert_refused, tmp_path, header):
    path = npy(tmp_path / "a.npy", np.zeros(3), **header)
    assert_refused("uncertainty", path, "--draft", "0", words=["file must be a whole .npy file"])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x01\x00\xff\xff{", b"\x80\x04K\x01.", b"nonsense"],
)
def test_what_is_no_array_file_is_no_interrupt(assert_refused, tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    assert_refused("uncertainty", path, "--draft", "0", words=["file must be a whole .npy file"])


def test_what_is_no_regular_file_is_not_waited_for(assert_refused, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        assert_refused("uncertainty", path, "--draft", "0", words=["must exist and be a regular file"])
        assert_refused("optimize", path)


def test_bits_of_bfloat16_are_no_logits(assert_refused, tmp_path):
    for kind in (np.uint16, np.uint8, np.uint32):
        path = npy(tmp_path / "a.npy", np.array([16000, 16100, 400], dtype=np.uint32).astype(kind))
        assert_refused("uncertainty", path, "--draft", "0", words=["must hold signed numbers"])


@pytest.mark.parametrize("size", [2, 1000, 151_936])
def test_half_precision_sums_are_those_of_its_rounding(size):
    rng = np.random.default_rng(size)
    logits = rng.normal(0.0, 2.5, size)
    law = np.exp(logits - logits.max())
    law /= law.sum()
    got = _checks.as_distribution("p", law.astype(np.float16))
    assert got.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(got, law, atol=1e-3)
    with pytest.raises(ValueError, match=r"must be probabilities that sum to 1"):
        _checks.as_distribution("p", (0.98 * law).astype(np.float16))
    with pytest.raises(ValueError, match=r"within 0.0001"):
        _checks.as_distribution("p", (0.998 * law).astype(np.float32))


def test_masked_logits_count_as_those_of_no_probability(cuhlm_json, tmp_path):
    masked = npy(tmp_path / "a.npy", np.array([[2.0, 1.0, 0.0, -np.inf]], np.float32))
    finite = npy(tmp_path / "b.npy", np.array([[2.0, 1.0, 0.0, -1e30]], np.float32))
    found = [cuhlm_json("uncertainty", file, "--draft", "0", "--samples", "50") for file in (masked, finite)]
    assert found[0] == found[1]
    assert found[0]["mean_uncertainty"] == [pytest.approx(0.285287, abs=1e-6)]


def test_two_columns_are_u_and_beta_everywhere(cuhlm_json, tmp_path):
    rng = np.random.default_rng(0)
    u = rng.uniform(size=300)
    one = npy(tmp_path / "u.npy", u)
    two = npy(tmp_path / "U.NPY", np.column_stack([u, 0.8 * u]))
    found = [
        cuhlm_json(*LINE, "--calibration", "cu-hlm", "--uncertainty", file)["thresholds"]["risk_averse"]
        for file in (one, two)
    ]
    assert found[0] == found[1]
    law = _arrays.load(two)
    assert law.shape == (300, 2)


# -------------------------------------------------------------------------------------- files of its own kind


DEEP = 100_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * DEEP, ["scenario"]),
        ("snr-db = 1\nsnr_db = 2\n", ["must be there once"]),
        ("x" * 1_000_000 + " = 1", ["unknown"]),
        ('"\x1b[31mred" = 1', ["not TOML"]),
        ('"\\u001b[31mred" = 1', ["unknown", r"\x1b[31mred"]),
        ("snr-db = [1, 2]", ["must be one value"]),
        ("snr-db = nan", ["--snr-db must be a number"]),
        ("snr-db = '" + "9" * 10_000 + "'", ["--snr-db must"]),
    ],
)
def test_scenarios_of_every_bad_kind_are_one_short_line(run_cuhlm, tmp_path, text, words):
    path = tmp_path / "s.toml"
    path.write_text(text)
    code, out, err = run_cuhlm("optimize", path)
    assert (code, out) == (2, "")
    assert len(err) <= 301
    assert err.count("\n") == 1
    assert "\x1b" not in err
    for word in words:
        assert word in err


def calibration(**changes):
    told = {
        "format": "cuhlm-calibration/1",
        "name": "x",
        "slope": 0.8,
        "intercept": -0.05,
        "delta": 0.5,
        "num_tokens": 10,
        "uncertainty_quantile": [0.0, 0.5, 1.0],
    }
    return json.dumps(told | changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":' * DEEP, ["nested too deep"]),
        ('{"format": 1, "format": 2}', ["'format' is there twice"]),
        (calibration(slope=float("nan")), ["must be a finite number; got nan"]),
        (calibration(slope=float("inf")), ["must be a finite number; got inf"]),
        (calibration(vocab_size=-1), ["must be a count of at least 2; got -1"]),
        (calibration(temperature=-0.7), ["temperature must be a number in [0, inf]"]),
        (calibration(delta=1.5), ["delta must be a number in [0, 1]; got 1.5"]),
        (calibration(slope_ci95=[2.0, 1.0]), ["slope_ci95 must be null or [low, high]"]),
        (calibration(slm_latency_s=0), ["must be positive; got 0"]),
        (calibration(uncertainty_quantile=[0.5, 0.2]), ["rising list"]),
        (calibration(uncertainty_quantile=[0.0, 7.0]), ["in [0, 1]"]),
        (calibration(name="x" * 10**6, slope="y" * 10**6), ["slope must be a finite number"]),
        (calibration(**{"\x1b[2J": 1}), ["unknown key"]),
        ("", ["is not JSON"]),
        ("[]", ["must have format"]),
    ],
)
def test_calibrations_are_checked_for_what_they_mean(run_cuhlm, tmp_path, text, words):
    path = tmp_path / "c.json"
    path.write_text(text)
    code, out, err = run_cuhlm(*LINE, "--calibration", path)
    assert (code, out) == (2, "")
    assert len(err) <= 301
    assert err.count("\n") == 1
    assert "\x1b" not in err
    for word in words:
        assert word in err


def test_the_right_calibration_is_read(cuhlm_json, tmp_path):
    (tmp_path / "c.json").write_text(calibration())
    assert cuhlm_json(*LINE, "--calibration", tmp_path / "c.json")["inputs"]["slope"] == 0.8


def parquet(path, change=lambda table: table, **header):
    import pyarrow.parquet as pq

    from calibration import trace
    from calibration.trace import _KEY
    from tests.test_trace import HEADER, _columns

    trace.write(path, HEADER, _columns())
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[_KEY]) | header
    table = change(table).replace_schema_metadata({_KEY: json.dumps(told).encode()})
    pq.write_table(table, path)
    return path


def column(name, values):
    import pyarrow as pa

    def change(table):
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(values(table.column(name).to_pylist())))

    return change


TRACES = [
    ({"vocab_size": -1}, None, "vocab_size must be at least 2; got -1"),
    ({"temperature": -1.0}, None, "temperature must be at least 0"),
    ({"seed": -1}, None, "seed must be at least 0"),
    ({"threshold_grid": [0.0, 1.0, 2.0]}, None, "threshold_grid must rise and end at 1"),
    ({"k_grid": [2, 4, 100]}, None, "k_grid must rise and end at 50"),
    ({"k_grid": [1, 1, 50]}, None, "k_grid must rise"),
    ({"budgets": [1.5]}, None, r"budgets must lie in \[0, 1\]"),
    ({"prompt_names": []}, None, "prompt_names must be texts"),
    ({"writer": "me"}, None, "writer must be slm, llm or hybrid"),
    ({"format": 2}, None, "another version"),
    ({}, column("prompt", lambda v: [99] * len(v)), r"column 'prompt' must lie in \[0, "),
    ({}, column("draft", lambda v: [50] * len(v)), r"column 'draft' must lie in \[0, 49\]"),
    ({}, column("uncertainty", lambda v: [None, *v[1:]]), "column 'uncertainty' must have no nulls"),
    ({}, column("uncertainty", lambda v: [float("nan"), *v[1:]]), "column 'uncertainty' must lie in"),
    ({}, column("rejection", lambda v: [1.5, *v[1:]]), "column 'rejection' must lie in"),
    (
        {},
        column("uncertainty", lambda v: ["x" for _ in v]),
        "column 'uncertainty' must hold float32; got string",
    ),
    ({}, column("draft", lambda v: [0.5 for _ in v]), "column 'draft' must hold int32; got double"),
    ({}, column("tv", lambda v: [[0.5] for _ in v]), "column 'tv' must hold float32; got list"),
    ({}, column("tv_profile", lambda v: [0.5 for _ in v]), "column 'tv_profile' must have 3 entries a row"),
    ({}, column("tv_profile", lambda v: [one[:2] for one in v]), "must have 3 entries a row"),
]


@pytest.mark.parametrize(("header", "change", "message"), TRACES)
def test_traces_are_checked_for_what_they_mean(tmp_path, header, change, message):
    from calibration import trace

    path = parquet(tmp_path / "trace.parquet", change or (lambda table: table), **header)
    with pytest.raises(ValueError, match=message) as caught:
        trace.read(path)
    assert "\n" not in str(caught.value)


def test_a_trace_knows_its_hash_and_a_calibration_the_trace_it_was_fitted_on(tmp_path):
    from dataclasses import replace

    from calibration import load, trace
    from calibration.fit import fit_trace
    from tests.recording import record

    made = record(1, num_prompts=6, length=5)
    trace.write(tmp_path / "trace.parquet", made.header, made.columns)
    fitted = fit_trace(trace.read(tmp_path / "trace.parquet"), name="x", num_resamples=20)
    fitted.save(tmp_path / "calibration.json")
    assert load(tmp_path).trace is not None
    other = record(2, num_prompts=6, length=5)  # of as many tokens
    trace.write(tmp_path / "trace.parquet", replace(other.header, seed=7), other.columns)
    with pytest.raises(ValueError, match=r"was fitted on another trace than .*trace.parquet"):
        _ = load(tmp_path).trace


# ---------------------------------------------------------------------------------------------------- writing


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    with pytest.raises(RuntimeError), _files.whole(path) as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with _files.whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "a.txt")
    with _files.whole(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path, tmp_path / "loop"):
        with pytest.raises((ValueError, OSError)), _files.whole(path) as part:
            part.write_text("x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_has_one_writer(tmp_path):
    code = (
        "import sys, time; from cuhlm_theory._files import alone\n"
        "with alone(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(CuhlmError, match="another process writes into"), _files.alone(tmp_path):
        pass
    other.kill()  # as a crash would; the lock goes with the process
    other.wait()
    other.stdout.close()
    with _files.alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------- terminals


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437", "utf-8"])
@pytest.mark.parametrize("style", ["table", "csv", "json", "markdown"])
def test_output_is_whole_in_any_encoding(encoding, style):
    done = in_a_new_process("schemes", "--format", style, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    if style == "json":
        assert json.loads(text)
    assert "cascade" in text or "kept-law" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\u202eb", r"a\u202eb"),
        ("half \ud800", r"half \ud800"),
        ("line\n\tτ ≤ 151\u202f936", "line\n\tτ ≤ 151\u202f936"),
        ("\x9b2J\x7f\r", r"\x9b2J\x7f\r"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(text, shown):
    assert terminal.printable(text) == shown


def test_tables_show_what_names_would_do(capsys):
    output.table("title \x1b[2J", ["a"], [["\x1b]0;x\x07"]], note="\x1b[0m")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("Unable to allocate 2.8 PiB"), 1),
        (RecursionError("maximum recursion depth exceeded"), 1),
        (TypeError("unhashable"), 1),
        (KeyError("x" * 10_000), 1),
        (ZeroDivisionError(), 1),
        (gzip.BadGzipFile("not a gzipped file"), 1),
        (EOFError("EOF when reading"), 2),
        (ValueError("\x1b[31m" + "y" * 100_000), 2),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 2),
    ],
)
def test_whatever_fails_is_one_short_line(run_cuhlm, monkeypatch, error, code):
    from cuhlm_theory import capacity

    def fail(*_):
        raise error

    monkeypatch.setattr(capacity, "rate_bit_per_s", fail)
    got, out, err = run_cuhlm("channel")
    assert (got, out) == (code, "")
    assert err.startswith("cuhlm: ")
    assert err.count("\n") == 1
    assert len(err) <= 301
    assert "\x1b" not in err


def test_where_a_fault_lies_can_be_seen(monkeypatch):
    from cuhlm_theory import capacity

    monkeypatch.setattr(capacity, "rate_bit_per_s", lambda *_: 1 // 0)
    monkeypatch.setenv("CUHLM_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["channel"])


@pytest.mark.parametrize("room", ["calibration", "figures", "derivations"])
def test_a_file_of_the_users_own_is_not_taken_for_a_room(tmp_path, room):
    (tmp_path / f"{room}.py").write_text("print('ran')")
    done = subprocess.run(
        [sys.executable, "-c", "from cuhlm_theory import load; load('smollm2')"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        check=False,
    )
    assert "ran" not in done.stdout
    assert f"{room}.py is found instead of cuhlm's own {room}; rename it" in done.stderr
    assert rooms.loaded.__module__ == "cuhlm_theory.rooms"


def test_too_many_samples_are_refused(assert_refused, tmp_path):
    path = npy(tmp_path / "a.npy", np.array([0.0, 1.0]))
    for many in (10**7 + 1, 2 * 10**9, 10**15):
        assert_refused(
            "uncertainty",
            path,
            "--draft",
            "0",
            "--samples",
            many,
            words=["--samples must lie in [1, 10000000]"],
        )


# ---------------------------------------------------------------------------------------------------- numbers


BETA = ("thresholds", "--slope", ".8", "--intercept", "0", "--risk-budget", ".1", "--uncertainty")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("channel", "--bandwidth-hz", "1e308"), 2, "--bandwidth-hz must be at most 1e+15; got 1e+308"),
        (("channel", "--rate-bit-per-s", "5e30"), 2, "must be at most 1e+15"),
        (("thresholds", "--slope", ".8", "--intercept", "0", "--risk-budget", ".1", "--uncertainty",
          "beta:1e308,1e308"), 2, "must be at most 1e+15; got 1e+308"),
        (("drafts", "--acceptance", ".7", "--latency-ratio", "5e-324"), 2, "must be at least 1e-150; got"),
        (("channel", "--snr-db", "nan"), 2, "--snr-db must be a number"),
    ],
)  # fmt: skip
def test_numbers_beyond_what_can_be_computed_are_refused_by_name(assert_refused, arguments, code, words):
    assert_refused(*arguments, "--json", code=code, words=[words])


KILLED = """
import sys
from cuhlm_theory._files import whole
path = sys.argv[1]
print("ready", flush=True)
while True:
    with whole(path) as part:
        part.write_text("new" * 100_000)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    import random
    import signal
    import time

    path = tmp_path / "a.txt"
    states = {"old", "new" * 100_000}
    rng = random.Random(0)
    for _ in range(20):
        path.write_text("old")
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert path.read_text() in states


# -------------------------------------------------------------------------------------------------- any input


LIGHT = {  # arguments that are always there, FILE for one of the files, and options
    "channel": ("", "bits bandwidth-hz snr-db fading outage block-error rate-bit-per-s"),
    "payload": ("", "k vocab-size prob-bits index-bits"),
    "drafts": ("", "acceptance latency-ratio slm-latency-s llm-latency-s bandwidth-hz snr-db survival"),
    "thresholds": ("", "slope intercept delta risk-budget uncertainty bias-price-s"),
    "truncate": ("FILE", "budget rule uncertainty draft slope intercept prob-bits"),
    "uncertainty": ("FILE", "draft samples seed"),
}
HEAVY = {  # a hundredth of the cases
    "optimize": (
        "--calibration=cu-hlm --uncertainty=beta:1,3",
        "bandwidth-hz snr-db fading outage vocab-size prob-bits index-bits codec slm-latency-s llm-latency-s "
        "round-trip-s downlink-bit-per-s slm-per-token-s bias-budget risk-budget truncation-budget "
        "bias-price-s tx-power-w slm-energy-j keep preset calibration uncertainty",
    ),
    "sweep": ("--calibration=cu-hlm --uncertainty=uniform --out=OUT", "over snr-db bias-budget"),
    "predict": ("--calibration=cu-hlm --out=OUT", "num-prompts thresholds only seed resamples prompts"),
    "calibrate": (
        "--slm=./nowhere --llm=./nowhere --out=OUT",
        "num-prompts temperature threshold texts prompts",
    ),
    "decode": (
        "--slm=./nowhere --llm=./nowhere --scheme=hlm",
        "prompt temperature seed slm-latency-s scheme",
    ),
    "fit": ("FILE", "seed name"),
}
WORDS = [
    "0",
    "-1",
    "1e308",
    "-1e308",
    "5e-324",
    "inf",
    "-inf",
    "nan",
    "1e18",
    "5e30",
    "",
    "9" * 400,
    "-0.0",
    "x",
]
WORDS += [
    "uniform",
    "beta:1,1",
    "beta:1e-308,1e-308",
    "beta:nan,1",
    "short-packet",
    "rayleigh-outage",
    "5M",
    "3dB",
]
WORDS += ["\x1b[31m", "\u202e", "1:2:3", "0:1e9:1e-9", "0.5", "2", "0.9", "50", "1e6"]


WORDS += ["hlm", "u-hlm@0.3", "exact", "quantile", "slm,llm", "snr-db=0,5", "snr-db=1:0:1", "FILE"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of every kind, most of them wrong wherever they are given."""
    folder = tmp_path_factory.mktemp("files")
    arrays = {"logits": np.arange(24.0).reshape(3, 8), "law": np.full(8, 0.125), "nan": np.full(8, np.nan)}
    arrays |= {"pairs": np.full((5, 2), 0.25), "none": np.zeros(0), "words": np.array(["a", "b"])}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    texts = {
        "a.json": "[" * 100_000,
        "b.json": '{"prompt": 1}',
        "c.toml": "snr-db = 'x'",
        "d.txt": "\ud7ff\n",
    }
    for name, text in (texts | {"e.csv": "u,beta\n0.1,0.2\n", "empty": ""}).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "raw.npy").write_bytes(bytes(range(256)))
    return [*map(str, sorted(folder.iterdir())), str(folder), str(folder / "nowhere"), "/dev/null"]


@pytest.mark.slow
def test_any_option_with_any_word_ends_in_a_result_or_one_line(run_cuhlm, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    counts: dict[str, dict[int, int]] = {name: {0: 0, 1: 0, 2: 0} for name in LIGHT | HEAVY}
    for _ in range(100_000):
        known = HEAVY if rng.random() < 0.01 else LIGHT
        name = str(rng.choice(list(known)))
        always, options = known[name]
        names = options.split()
        chosen = rng.choice(names, size=rng.integers(1, len(names) + 1), replace=False)
        given = [*always.split(), *(f"--{option}={rng.choice(WORDS)}" for option in chosen)]
        given = [word.replace("FILE", str(rng.choice(files))).replace("OUT", "out") for word in given]
        code, out, err = run_cuhlm(name, *given, "--json")
        counts[name][code] += 1
        if code == 0:
            assert err == "", (name, given)
            assert "NaN" not in out, (name, given)
            assert json.loads(out), (name, given)
        else:
            assert out == "", (name, given)
            assert err.startswith("cuhlm: "), (name, given)
            assert err.count("\n") == 1, (name, given, err)
            assert len(err) <= 301, (name, given)
            assert "CUHLM_TRACEBACK" not in err, (name, given, err)
    print({name: tuple(ended.values()) for name, ended in counts.items()})
