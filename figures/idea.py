"""The idea in one picture: who does what for one token, and where bits, seconds and bias arise.

It draws no recorded data: ``python -m figures.idea --out DIR`` always writes the same files.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cuhlm_theory import presets
from cuhlm_theory.payload import printed_bit
from figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "idea"
SIZE_IN = (style.WIDTH_IN, 3.05)
"""Width and height [in]."""

COSTS: Mapping[str, str] = MappingProxyType(
    {"seconds": style.ORANGE, "bits": style.BLUE, "bias": style.VERMILLION}
)
"""Colour of each cost."""

_WIDTH, _HEIGHT = 100.0, 87.0
_TOP = 82.2  # middle of the titles


def draw(ax: "Axes") -> None:
    """Draw the picture on axes of its own."""
    ax.set(xlim=(0.0, _WIDTH), ylim=(0.0, _HEIGHT))
    ax.set_axis_off()
    _lane(ax, 0.0, 41.0, "DEVICE", "small model")
    _lane(ax, 67.0, 100.0, "SERVER", "large model")
    ax.text(54.0, _TOP, "LINK", ha="center", va="center", fontsize=7.0, color=style.MUTED, weight="bold")

    _box(ax, 3.0, 67.0, 35.0, 10.5, "drafts a token $d$\nfrom its law $x$")
    _cost(ax, "seconds", 9.5, 61.2, r"$\tau_\mathrm{SLM}$")
    _box(ax, 3.0, 44.5, 35.0, 11.0, "is it uncertain?\n" + r"$\bar u > u_\mathrm{th}$", face=style.SHADE)
    _box(ax, 3.0, 25.5, 35.0, 10.5, "keeps the draft,\nasks nobody")
    _cost(ax, "bias", 9.5, 20.9, "what the server")
    _say(ax, 9.5, 16.6, "would have replaced")
    _box(ax, 3.0, 3.0, 35.0, 7.5, "next token", face=style.INK, ink=style.PAPER)

    _say(ax, 54.0, 59.5, "what it would\nhave kept,\nor $k$ entries", align="center")
    few, some, all_bits = _bits()
    _cost(ax, "bits", 43.5, 44.6, f"{few} or {some},")
    _say(ax, 43.5, 40.4, f"not {all_bits:,}".replace(",", " "))
    _cost(ax, "bias", 43.5, 33.0, r"$\mathrm{TV}_k$, where")
    _say(ax, 43.5, 28.8, "$k$ entries are sent")

    _box(ax, 69.5, 42.5, 28.0, 15.0, "keeps $d$,\nor draws another\nby its law $y$")
    _cost(ax, "seconds", 70.5, 62.4, r"$\tau_\mathrm{LLM}$")

    _arrow(ax, (6.5, 67.0), (6.5, 55.9))
    _arrow(ax, (6.5, 44.5), (6.5, 36.4))
    _arrow(ax, (6.5, 25.5), (6.5, 10.9))
    _arrow(ax, (38.0, 50.0), (69.1, 50.0))
    _arrow(ax, (83.5, 42.5), (83.5, 6.75), head=False)
    _arrow(ax, (83.5, 6.75), (38.4, 6.75))
    _say(ax, 9.0, 40.4, "no", color=style.MUTED)
    _say(ax, 42.5, 52.4, "yes", color=style.MUTED)
    _say(ax, 54.0, 9.2, "which it is", align="center", color=style.MUTED)


def _bits() -> tuple[int, int, int]:
    """Bits of one kept token, of CU-HLM's offline k, and of everything, for the published vocabulary."""
    vocab_size, k = (int(presets.SETTINGS[name].value) for name in ("vocab_size", "offline_k"))
    few, some, all_bits = (int(printed_bit(size, vocab_size)) for size in (1, k, vocab_size))
    return few, some, all_bits


def _lane(ax: "Axes", left: float, right: float, title: str, what: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(
        FancyBboxPatch(
            (left + 0.6, 0.6),
            right - left - 1.2,
            _HEIGHT - 1.2,
            boxstyle="round,pad=0,rounding_size=2.2",
            facecolor=style.SHADE,
            alpha=0.45,
            edgecolor=style.GRID,
            linewidth=0.8,
        )
    )
    name = ax.text(left + 3.0, _TOP, title, va="center", fontsize=7.0, color=style.MUTED, weight="bold")
    ax.annotate(
        what,
        (1.0, 0.5),
        (2.6, 0.0),
        xycoords=name,
        textcoords="offset points",
        va="center",
        fontsize=6.2,
        color=style.MUTED,
    )


def _say(
    ax: "Axes", left: float, middle: float, text: str, *, align: str = "left", color: str = style.INK
) -> None:
    ax.text(left, middle, text, ha=align, va="center", fontsize=6.6, color=color)


def _box(
    ax: "Axes",
    left: float,
    low: float,
    width: float,
    height: float,
    text: str,
    *,
    face: str = style.PAPER,
    ink: str = style.INK,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(
        FancyBboxPatch(
            (left, low),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=1.8",
            facecolor=face,
            edgecolor=style.INK,
            linewidth=0.8,
        )
    )
    ax.text(left + width / 2, low + height / 2, text, ha="center", va="center", color=ink, fontsize=7.2)


def _arrow(ax: "Axes", start: tuple[float, float], end: tuple[float, float], *, head: bool = True) -> None:
    style_of = "-|>,head_width=0.16,head_length=0.32" if head else "-"
    how: dict[str, Any] = {"arrowstyle": style_of, "color": style.INK, "linewidth": 0.9}
    ax.annotate("", end, start, arrowprops={**how, "shrinkA": 0, "shrinkB": 0})


def _cost(ax: "Axes", name: str, left: float, middle: float, text: str) -> None:
    """Write the name of a cost as a tag in its colour, and what it is."""
    tag = ax.text(
        left,
        middle,
        name,
        ha="left",
        va="center",
        fontsize=6.4,
        color=style.PAPER,
        weight="bold",
        bbox={"boxstyle": "round,pad=0.22,rounding_size=0.25", "facecolor": COSTS[name], "linewidth": 0},
    )
    ax.annotate(
        text, (1.0, 0.5), (5.5, 0.0), xycoords=tag, textcoords="offset points", va="center", fontsize=6.6
    )


def write(out: Path) -> list[Path]:
    """Write .pdf and .png; the files are the same every time.

    Parameters
    ----------
    out : Path
        Folder to write into; made if it is not there.

    Returns
    -------
    list of Path
        The files.
    """
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{NAME}{suffix}" for suffix in (".pdf", ".png")]
    with style.applied(NAME):
        canvas = Figure(figsize=SIZE_IN)
        draw(canvas.add_axes((0.0, 0.0, 1.0, 1.0)))
        style.save(canvas, files, "The idea")
    return files


if __name__ == "__main__":
    import click

    @click.command("idea", help="Draw the idea in one picture.")
    @click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/figures"))
    def script(out: Path) -> None:
        """Write the files and name them."""
        for file in write(out):
            click.echo(file)

    script()
