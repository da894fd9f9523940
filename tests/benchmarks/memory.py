"""Peak memory of each command that reads a calibration; ``python -m tests.benchmarks.memory`` prints it.

The largest calibration that is shipped is the default one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

CALL = (sys.executable, "-c", "import sys; from cuhlm_theory.cli import main; main(sys.argv[1:])")
COMMANDS = {
    "optimize": (),
    "optimize --all --certify": ("optimize", "--all", "--certify"),
    "optimize --joint": ("optimize", "--joint"),
    "budgets": (),
    "thresholds": ("thresholds", "--calibration", "qwen2.5-coder", "--risk-budget", "0.05"),
    "schemes": (),
    "sweep, 9 points": ("sweep", "--over", "snr-db=-10:10:10", "--over", "round-trip-s=0,0.1,0.3"),
    "compare": (),
    "predict": (),
    "figures": (),
    "report": (),
    "paper": (),
}
OUT = {"sweep": "map.csv", "predict": "predicted.json", "figures": "figures", "report": "report.html"}
OUT |= {"paper": "paper"}


def peak_mb(arguments: tuple[str, ...], folder: Path) -> float:
    """Most memory that a command held at once [MB]."""
    name = arguments[0]
    out = ("--out", str(folder / OUT[name])) if name in OUT else ()
    with subprocess.Popen([*CALL, *arguments, *out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as at:
        assert at.stderr is not None
        said = at.stderr.read().decode()
        _, status, used = os.wait4(at.pid, 0)
        at.returncode = os.waitstatus_to_exitcode(status)
    assert at.returncode == 0, said
    return used.ru_maxrss / 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            (f"`{called}`", round(peak_mb(given or (called,), Path(folder))))
            for called, given in COMMANDS.items()
        ]
    print(tabulate(rows, ["command", "peak memory, MB"], "github"))
