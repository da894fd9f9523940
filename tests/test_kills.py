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
LAW += ("--llm-latency-s", "0.05", "--over", "snr-db=-10:9:1")
SEED = {"old": ("--seed", "1"), "new": ("--seed", "2")}
RISK = {"old": ("--bias-budget", "0.04"), "new": ("--bias-budget", "0.06")}
COMMANDS = {  # arguments, where they write, what makes an older result another one
    "calibrate": (RECORD, "out", None),  # a folder of another recording is refused, not overwritten
    "runs": (("runs", *PAIR, *LINEUP), "out", None),
    "predict": (("predict", *LINEUP), "out.json", SEED),
    "sweep": (("sweep", *LAW), "out.csv", RISK),
    "figures": (("figures", "headline", "channel", "--calibration", "pair"), "out", None),
    "report": (("report", "--calibration", "pair"), "out.html", RISK),
    "paper": (("paper", "--calibration", "pair"), "out", None),
}
"""What writes files that someone may have waited an hour for."""
OF_ITS_CALL = {"date", "command", "slm_latency_s", "llm_latency_s", "slm_measured_s", "llm_measured_s"}
"""What differs between two calls that are not disturbed."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with two tiny models, prompts and a calibration of them."""
    folder = tmp_path_factory.mktemp("kills")
    sharper = tiny.llama(seed=1)
    sharper.model.norm.weight.mul_(1.5)  # so that what is uncertain is rejected more often
    for name, made in (("slm", tiny.llama(seed=1)), ("llm", sharper)):
        tiny.save(folder / name, made)
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
    """Hash of what a file says, but for when it was said and for the seconds that were measured meanwhile."""
    said = path.read_bytes()
    if path.suffix == ".json":
        said = repr(lasting(json.loads(said)))
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        header = {key: lasting(json.loads(value)) for key, value in table.schema.metadata.items()}
        said = repr((header, lasting(table.to_pydict())))
    elif path.suffix == ".csv":
        said = b"".join(line for line in said.splitlines() if not line.startswith(b"# date"))
    return hashlib.sha256(said if isinstance(said, bytes) else said.encode()).hexdigest()


def lasting(said):
    if isinstance(said, dict):
        kept = {key: value for key, value in said.items() if key not in OF_ITS_CALL and "sha256" not in key}
        return {key: lasting(value) for key, value in kept.items()}
    return [lasting(value) for value in said] if isinstance(said, list) else said


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
        (tmp_path / which).mkdir()
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
