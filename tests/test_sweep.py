"""Sweeps: each point is what `cuhlm optimize` answers, and the bytes are the same whoever worked on them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from cuhlm_theory import load, sweep
from cuhlm_theory._workers import Workers

LAW = ("--calibration", "cu-hlm", "--uncertainty", "uniform", "--vocab-size", "32000")
GRID = ("--over", "snr-db=-10:10:10", "--over", "bias-budget=0,0.05,0.1")  # 9 points


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(sweep, "_CHUNK", 4)


def rows_of(file):
    return pq.read_table(file).to_pylist()


def test_every_point_is_what_optimize_answers(run_cuhlm, cuhlm_json, tmp_path):
    file = tmp_path / "map.parquet"
    told = cuhlm_json("sweep", *LAW, *GRID, "--out", str(file))
    rows = rows_of(file)
    assert told["num_points"] == len(rows) == 9
    assert told["num_refused"] == 0
    assert [(row["snr_db"], row["bias_budget"]) for row in rows[:4]] == [
        (-10.0, 0.0), (-10.0, 0.05), (-10.0, 0.1), (0.0, 0.0)
    ]  # fmt: skip
    for row in rows[::4]:
        at = ("--snr-db", str(row["snr_db"]), "--bias-budget", str(row["bias_budget"]))
        found = cuhlm_json("optimize", *LAW, *at)
        assert row["scheme"] == found["recommendation"]["scheme"]
        assert row["throughput_token_per_s"] == found["recommendation"]["throughput_token_per_s"]
        (best,) = (one for one in found["schemes"] if one["name"] == row["scheme"])
        for key in ("threshold", "skip_rate", "bias", "uplink_bit_per_token"):
            assert row[key] == best[key]
        assert row["over_llm"] == found["recommendation"]["over_llm"]["ratio"]
        assert row["cu_hlm_threshold"] == found["operating_point"]["threshold"]


def test_the_bytes_are_the_same_on_one_worker_two_processes_and_a_cluster(run_cuhlm, tmp_path):
    made = []
    for how in ([], ["--jobs", "2"], ["--jobs", "2", "--backend", "dask"]):
        if "dask" in how:
            pytest.importorskip("distributed")
        file = tmp_path / f"{len(made)}.parquet"
        code, _, err = run_cuhlm("sweep", *LAW, *GRID, "--out", str(file), *how)
        assert code == 0, err
        made.append(file.read_bytes())
    assert made[0] == made[1] == made[-1]


def test_a_calibration_is_loaded_once_a_sweep(cuhlm_json, tmp_path, monkeypatch):
    module, loaded = sys.modules["cuhlm_theory.cli.sweep"], []
    monkeypatch.setattr(
        module, "load", lambda *given, **named: (loaded.append(given), load(*given, **named))[1]
    )
    for name in ("one.parquet", "other.parquet"):
        cuhlm_json("sweep", *LAW, *GRID, "--out", str(tmp_path / name))
    assert loaded == [("cu-hlm",), ("cu-hlm",)]


def test_an_answer_does_not_depend_on_those_before_it(cuhlm_json, tmp_path):
    found = []
    for snr in ("-12,-3,9", "9,-3,-12"):
        grid = ("--over", f"snr-db={snr}", "--over", "bias-budget=0.02,0.08")
        cuhlm_json("sweep", "--calibration", "smollm2", *grid, "--out", str(tmp_path / "map.parquet"))
        found.append(
            sorted(rows_of(tmp_path / "map.parquet"), key=lambda row: (row["snr_db"], row["bias_budget"]))
        )
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_worker_of_a_cluster_that_is_killed_changes_nothing(run_cuhlm, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "_CHUNK", 2)
    over = ("--over", "snr-db=-10:20:1", "--over", "bandwidth-hz=1e5,1e6")
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert run_cuhlm("sweep", *LAW, *over, "--out", str(whole))[0] == 0
    killed = []

    def kill(cluster):
        while not list((tmp_path / ".cut.csv.points").glob("*.json")):
            time.sleep(0.01)
        for worker in list(cluster.workers.values()):
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            time.sleep(0.5)

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        killer = threading.Thread(target=kill, args=(cluster,), daemon=True)
        killer.start()
        how = ("--backend", "dask", "--address", cluster.scheduler_address)
        code, _, err = run_cuhlm("sweep", *LAW, *over, *how, "--out", str(cut))
        killer.join(60)
    assert code == 0, err
    assert len(killed) == 2
    assert cut.read_bytes() == whole.read_bytes()


KILLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
from cuhlm_theory import load, sweep
from cuhlm_theory.cli import main
answer, sweep._CHUNK = sweep.row_of, 4
def slowly(question):
    time.sleep(0.3)
    return answer(question)
import cuhlm_theory.cli.sweep as command
command.row_of = slowly
main(sys.argv[1:])
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_what_was_found_before_a_kill_is_kept_and_ends_in_the_same_bytes(
    run_cuhlm, tmp_path, monkeypatch, stop
):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert run_cuhlm("sweep", *LAW, *GRID, "--out", str(whole))[0] == 0
    asked = ["sweep", *LAW, *GRID, "--out", str(cut)]
    working = subprocess.Popen([sys.executable, "-c", KILLED, *asked], stderr=subprocess.PIPE, text=True)
    store = tmp_path / ".cut.csv.points"
    while working.poll() is None and not list(store.glob("*.json")):
        time.sleep(0.01)
    working.send_signal(stop)
    err = working.communicate()[1]
    assert not cut.exists()
    assert list(store.glob("*.json"))
    if stop == signal.SIGINT:
        assert err.strip().splitlines()[-1].startswith("cuhlm: interrupted")
    kept = {part: os.stat(part).st_mtime_ns for part in store.glob("*.json")}
    (store / "damaged.json").write_text("{")
    touched = []
    each = Workers.each

    def noted(self, work, tasks):
        touched.extend(tasks)
        return each(self, work, tasks)

    monkeypatch.setattr(Workers, "each", noted)
    assert run_cuhlm("sweep", *LAW, *GRID, "--out", str(cut))[0] == 0
    assert len(touched) == 3 - len(kept)
    assert cut.read_bytes() == whole.read_bytes()
    assert not store.exists()


def test_a_data_set_is_the_table_in_files_and_keeps_those_that_are_there(cuhlm_json, tmp_path, monkeypatch):
    file, folder = tmp_path / "map.parquet", tmp_path / "map"
    cuhlm_json("sweep", *LAW, *GRID, "--out", str(file))
    monkeypatch.setattr(sweep, "_PARTITION", 4)
    told = cuhlm_json("sweep", *LAW, *GRID, "--out", str(folder))
    assert (told["num_points"], told["num_refused"]) == (9, 0)
    assert [path.name for path in sorted(folder.iterdir())] == [f"points-{n:06}.parquet" for n in range(3)]
    assert rows_of(folder) == rows_of(file)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    lost, damaged, kept = sorted(folder.iterdir())
    lost.unlink()
    damaged.write_bytes(b"PAR1")
    stamp = kept.stat().st_mtime_ns
    cuhlm_json("sweep", *LAW, *GRID, "--out", str(folder))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert kept.stat().st_mtime_ns == stamp
    cuhlm_json("sweep", *LAW, "--over", "snr-db=0,5", "--out", str(folder))
    assert len(rows_of(folder)) == 2


def test_a_point_without_an_answer_says_why(cuhlm_json, tmp_path):
    file = tmp_path / "map.csv"
    over = ("--over", "fading=awgn,rayleigh-ergodic", "--over", "snr-db=0,5")
    told = cuhlm_json("sweep", *LAW, *over, "--out", str(file))
    assert (told["num_points"], told["num_refused"]) == (4, 2)
    text = file.read_text()
    assert text.count("rayleigh-arq") == 2
    assert text.splitlines()[1].startswith('"awgn",0,')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--over", "snr-db"], "--over must be KEY=A:B:STEP or KEY=V,V; got 'snr-db'"),
        (["--over", "snr=1,2"], "--over must name a number of the setting, nearest snr-db; got 'snr'"),
        (["--over", "snr-db=a:b:c"], "--over must be a number"),
        (["--over", "snr-db=1", "--over", "snr_db=2"], "--over must name each key once"),
        (
            ["--over", "snr-db=1", "--out", "map.txt"],
            "--out must end in .parquet, .csv or nothing; got 'map.txt'",
        ),
        (["--over", "snr-db=1", "--address", "here:1"], "--address must be that of a dask or ray cluster"),
        (["--over", "bandwidth-hz=-1,1"], "--bandwidth-hz must be positive"),
        ([], "Missing option '--over'"),
    ],
)
def test_what_is_no_grid_is_one_line(run_cuhlm, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--out" in arguments else [*arguments, "--out", "map.csv"]
    code, out, err = run_cuhlm("sweep", *LAW, *given)
    assert (code, out) == (2, "")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_rows_that_were_stored_for_other_values_are_not_taken(run_cuhlm, tmp_path):
    file = tmp_path / "map.csv"
    store = tmp_path / ".map.csv.points"
    store.mkdir()
    digest = sweep._digest({}, [{"snr_db": 1.0}])
    (store / f"{digest}.json").write_text(json.dumps([{"scheme": "wrong"}]))
    assert run_cuhlm("sweep", *LAW, "--over", "snr-db=1", "--out", str(file))[0] == 0
    assert "wrong" not in file.read_text()
