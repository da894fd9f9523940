"""Killed at any moment, a command leaves old files or new ones, and the next call ends as if unharmed."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import tiny

ROOT = Path(__file__).parents[1]
NUM_KILLS = 20
PAIR = ("--slm", "slm", "--llm", "llm")
PROMPTS = ("--prompts", "prompts.txt", "--max-new-tokens", "12")
RECORD = ("calibrate", *PAIR, *PROMPTS, "--texts", "slm,llm")
LINEUP = ("--calibration", "pair", *PROMPTS, "--num-prompts", "4", "--only", "hlm,kept-law,dssd")
LAW = ("--calibration", "cu-hlm", "--uncertainty", "beta:1,3", "--slm-latency-s", "0.03")
LAW += ("--llm-latency-s", "0.05", "--over", "snr-db=-10:10:1", "--over", "bandwidth-hz=1e5,1e6")
SEED = {"old": ("--seed", "1"), "new": ("--seed", "2")}
RISK = {"old": ("--bias-budget", "0.04"), "new": ("--bias-budget", "0.06")}
COMMANDS = {  # arguments, where they write, what makes an older result another one
    "calibrate": (RECORD, "out", None),  # a folder of another recording is refused, not overwritten
    "runs": (("runs", *PAIR, *LINEUP), "out", None),
    "predict": (("predict", *LINEUP), "out.json", SEED),
    "sweep": (("sweep", *LAW), "out.csv", RISK),
    "figures": (("figures", "throughput", "headline", "--calibration", "pair"), "out", None),
    "report": (("report", "--calibration", "pair"), "out.html", RISK),
    "paper": (("paper", "--calibration", "pair"), "out", None),
}
"""What writes files that someone may have waited an hour for."""
MEASURED = ("slm_latency_s", "llm_latency_s")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with two tiny models, prompts and a calibration of them."""
    folder = tmp_path_factory.mktemp("kills")
    for name, seed in (("slm", 1), ("llm", 2)):
        tiny.save(folder / name, tiny.llama(seed=seed))
    (folder / "prompts.txt").write_text("".join(f"why is the sky {word}\n" for word in "abcdef"))
    finish(start(folder, *RECORD, "--out", "pair"))
    return folder


def start(folder, *arguments):
    code = "import sys; from cuhlm_theory.cli import main; main(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process):
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()


def told(path):
    """Hash of what a file says, but for the seconds that were measured meanwhile."""
    if path.name == "trace.parquet":
        table = pq.read_table(path).drop_columns(list(MEASURED))
        return hashlib.sha256(repr((table.to_pydict(), table.schema.names)).encode()).hexdigest()
    if path.name == "calibration.json":
        said = json.loads(path.read_text())
        said["source"] = {key: said["source"][key] for key in said["source"] if "sha256" not in key}
        return json.dumps({key: said[key] for key in said if key not in MEASURED}, sort_keys=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(place):
    """What a reader finds: every file whose name is not hidden."""
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return {
        str(path.relative_to(place.parent)): told(path)
        for path in files
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place.parent).parts)
    }


def copied(place, target):
    if place.is_dir():
        shutil.copytree(place, target)
    else:
        shutil.copy(place, target)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_kill_leaves_the_old_files_or_the_new_ones(workplace, tmp_path, command):
    arguments, name, variants = COMMANDS[command]
    made = {}
    for which in ("old", "new"):
        changed = variants[which] if variants else ()
        began = time.monotonic()
        finish(start(workplace, *arguments, *changed, "--out", str(tmp_path / which / name)))
        seconds = time.monotonic() - began
        made[which] = state(tmp_path / which / name)
        if variants is None:
            made["old"] = {}
    moments = random.Random(command)
    landed = 0
    for attempt in range(NUM_KILLS):
        place = tmp_path / f"{attempt}" / name
        place.parent.mkdir()
        if variants:
            copied(tmp_path / "old" / name, place)
        call = (*arguments, *(variants["new"] if variants else ()), "--out", str(place))
        process = start(workplace, *call)
        try:
            process.communicate(timeout=moments.uniform(0.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            landed += 1
        left = state(place)
        for file, content in left.items():
            assert content in (made["old"].get(file), made["new"].get(file)), (attempt, file)
        assert set(made["old"]) <= set(left)
        finish(start(workplace, *call))
        assert state(place) == made["new"], attempt
        shutil.rmtree(place.parent)
    print(f"{command}: {landed} of {NUM_KILLS} calls of {seconds:.1f} s were killed before they ended")
    assert landed >= NUM_KILLS // 2
