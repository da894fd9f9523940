"""``python -m tests.benchmarks.table`` runs the benchmarks and writes their table into `tests/README.md`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from quantiphy import Quantity
from tabulate import tabulate

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n"
BASELINES = ("one read", "np.sort", "np.sort of the truncation profiles", "closed form", "python -c pass")


def run(folder: Path) -> list[dict]:
    """Time everything, in one process that does nothing else."""
    told = folder / "benchmarks.json"
    call = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "tests/benchmarks", "--numprocesses=0"]
    subprocess.run([*call, "--benchmark-enable", f"--benchmark-json={told}"], check=True)
    return json.loads(told.read_text())["benchmarks"]


def table(benchmarks: Iterable[dict]) -> str:
    """Median seconds, and how many times each baseline of the same group that is."""
    groups: dict[str, dict[str, float]] = {}
    for one in benchmarks:
        told = one["extra_info"]
        group = groups.setdefault(one["group"], {})
        group[told["what"]] = one["stats"]["median"] / told.get("count", 1)
    blocks = []
    for name, seconds in groups.items():
        beside = [one for one in BASELINES if one in seconds]
        rows = [
            (what, amount(taken), *(f"{taken / seconds[one]:.3g}" for one in beside))
            for what, taken in seconds.items()
        ]
        heads = [name, "median", *(f"over {one}" for one in beside)]
        blocks.append(tabulate(rows, heads, "github", disable_numparse=True))
    return "\n\n".join(blocks) + "\n"


def amount(seconds: float) -> str:
    """Seconds as people read them."""
    return Quantity(seconds, "s").render(prec=2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = table(run(Path(folder)))
    before, rest = README.read_text().split(BEGIN)
    README.write_text(before + BEGIN + "\n" + made + "\n" + END + rest.split(END)[1])
    print(made)
