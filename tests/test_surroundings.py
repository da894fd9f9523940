"""Full disks, sealed folders, no home, a plain locale, a narrow terminal, a reader that leaves."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALL = (sys.executable, "-c", "import sys; from cuhlm_theory.cli import main; main(sys.argv[1:])")
LAW = ("--calibration", "cu-hlm", "--uncertainty", "beta:1,3", "--slm-latency-s", "0.03")
LAW += ("--llm-latency-s", "0.05")
WRITERS = {
    "sweep": (("sweep", *LAW, "--over", "snr-db=0:5:0.01"), "out.csv"),
    "report": (("report", *LAW), "out.html"),
    "predict": (("predict", "--only", "u-hlm", "--num-prompts", "4", "--resamples", "100"), "out.json"),
    "figures": (("figures", "channel", "--jobs", "1"), "out"),
}


def run(*arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    environment = {key: value for key, value in environment.items() if value is not None}
    return subprocess.run(
        [*CALL, *map(str, arguments)], capture_output=True, env=environment, timeout=300, check=False
    )


@contextlib.contextmanager
def mounted(folder, options):
    """A file system of its own on a folder, where the machine allows that."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(call, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_one_line(done, *words):
    err = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), err
    assert err.startswith("cuhlm: ")
    assert err.count("\n") == 1
    assert "CUHLM_TRACEBACK" not in err
    for word in words:
        assert word in err


@pytest.mark.slow
@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, command):
    arguments, name = WRITERS[command]
    with mounted(tmp_path / "full", "size=64k") as folder:
        (folder / "filler").write_bytes(bytes(48 * 1024))
        before = folder / name
        if before.suffix:
            before.write_text("old")
        assert_one_line(run(*arguments, "--out", before), "No space left on device")
        if before.suffix:
            assert before.read_text() == "old"
        assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


@pytest.mark.slow
@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, command):
    arguments, name = WRITERS[command]
    with mounted(tmp_path / "sealed", "ro") as folder:
        assert_one_line(run(*arguments, "--out", folder / name), "Read-only file system")


def test_neither_a_home_nor_a_locale_is_needed():
    plain = run("optimize", *LAW, "--json")
    bare = run("optimize", *LAW, "--json", HOME=None, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (bare.returncode, bare.stderr) == (0, b"")
    assert bare.stdout == plain.stdout
    shown = run("optimize", *LAW, HOME=None, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (shown.returncode, shown.stderr) == (0, b"")


def test_a_terminal_of_forty_columns_is_enough():
    shown = run("optimize", *LAW, "--all", COLUMNS="40").stdout.decode()
    rows = [line for line in shown.splitlines() if not line[:1].isalpha()]
    assert max(map(len, rows)) <= 40


def test_a_reader_may_leave():
    call = [*CALL, "optimize", *LAW, "--all"]
    process = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_a_shell_completes_commands_and_options():
    words = {"_CUHLM_COMPLETE": "bash_complete", "COMP_WORDS": "cuhlm opti", "COMP_CWORD": "1"}
    assert run(**words).stdout.decode().split() == ["plain,optimize"]
    words |= {"COMP_WORDS": "cuhlm optimize --band", "COMP_CWORD": "2"}
    assert run(**words).stdout.decode().split() == ["plain,--bandwidth-hz"]
    assert b"_CUHLM_COMPLETE=bash_complete" in run(_CUHLM_COMPLETE="bash_source").stdout
