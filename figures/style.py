"""How every figure looks: the only place for rcParams, colours, and the marks that mean something.

Colours are Okabe and Ito's, safe for colour-blind readers; every curve also has its own line style or
marker, so that nothing is told by colour alone. Measured values are open circles with intervals, theory
is a line, the floor is the edge of a shaded region that no device reaches which sends its one draft.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cuhlm_theory._files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """What a kind of publication asks of a figure."""

    width_in: float
    """Width of a column [in]."""
    height: float
    """Height of a panel, as a multiple of what it was drawn for [-]."""
    text: float
    """Size of all text, likewise [-]."""


LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "ieee": Look(width_in=3.5, height=1.0, text=1.0),  # titles of 8 points, labels of 7.5
        "nature": Look(width_in=89.0 / 25.4, height=1.0, text=7.0 / 8.0),  # no text above 7 points
        "slides": Look(width_in=6.4, height=1.6, text=1.75),  # half of a wide slide, read from afar
    }
)
"""Kinds of publication by name; figures are drawn for the first."""
WIDTH_IN = LOOKS["ieee"].width_in
"""Column width of the papers [in]."""

PAPER = "#ffffff"
INK = "#1b1f24"
MUTED = "#5f6773"
GRID = "#dfe3e8"
SHADE = "#e9ecf0"
BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#aa4499"
ORANGE = "#c98500"
SKY = "#3aa0d8"

THEME = MappingProxyType(
    {
        "paper": PAPER,
        "ink": INK,
        "muted": MUTED,
        "grid": GRID,
        "shade": SHADE,
        "blue": BLUE,
        "vermillion": VERMILLION,
        "green": GREEN,
        "purple": PURPLE,
        "orange": ORANGE,
        "sky": SKY,
    }
)
"""Every colour by name; the report turns them into CSS variables, so that a dark page can change them."""

PREDICTED: Mapping[str, Any] = MappingProxyType({"color": BLUE, "linestyle": "-", "linewidth": 1.4})
"""A curve that a formula gives."""
MEASURED: Mapping[str, Any] = MappingProxyType(
    {
        "color": VERMILLION,
        "linestyle": "none",
        "marker": "o",
        "markersize": 3.4,
        "markerfacecolor": PAPER,
        "markeredgewidth": 0.9,
        "elinewidth": 0.8,
        "capsize": 1.6,
    }
)
"""Values that were measured, with their intervals, for `Axes.errorbar`."""
RUN: Mapping[str, Any] = MappingProxyType({**MEASURED, "color": GREEN, "marker": "D", "markersize": 3.2})
"""Values of decoding that was really run, for `Axes.errorbar`."""
REFERENCE: Mapping[str, Any] = MappingProxyType({"color": MUTED, "linestyle": (0, (4, 2)), "linewidth": 0.9})
"""A published value or line, or a bound, to compare with."""

SCHEMES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "slm": {"color": MUTED, "linestyle": (0, (1, 1)), "marker": "v"},
        "llm": {"color": INK, "linestyle": (0, (1, 1.4)), "marker": "^"},
        "hlm": {"color": MUTED, "linestyle": "-", "marker": "s"},
        "rand-hlm": {"color": MUTED, "linestyle": (0, (4, 1.5)), "marker": "x"},
        "u-hlm": {"color": ORANGE, "linestyle": "-", "marker": "s"},
        "cu-hlm-offline": {"color": SKY, "linestyle": (0, (5, 1.5)), "marker": "o"},
        "cu-hlm-online": {"color": BLUE, "linestyle": (0, (3, 1, 1, 1)), "marker": "o"},
        "cu-hlm-exact": {"color": BLUE, "linestyle": "-", "marker": "o"},
        "floor": {"color": INK, "linestyle": "-", "marker": "_"},
        "dsd": {"color": MUTED, "linestyle": "-", "marker": "P"},
        "tk-slt": {"color": ORANGE, "linestyle": (0, (5, 1.5)), "marker": "<"},
        "tslt": {"color": ORANGE, "linestyle": (0, (1, 1)), "marker": ">"},
        "k-sqs": {"color": PURPLE, "linestyle": (0, (5, 1.5)), "marker": "p"},
        "c-sqs": {"color": PURPLE, "linestyle": "-", "marker": "h"},
        "dssd": {"color": VERMILLION, "linestyle": (0, (3, 1, 1, 1)), "marker": "d"},
        "confidence-stop": {"color": VERMILLION, "linestyle": (0, (5, 1.5)), "marker": "X"},
        "heuristic": {"color": VERMILLION, "linestyle": (0, (1, 1)), "marker": "X"},
        "verify-on-sync": {"color": GREEN, "linestyle": "-", "marker": "*"},
        "kept-law": {"color": GREEN, "linestyle": (0, (5, 1.5)), "marker": "D"},
        "kept-law-exact": {"color": GREEN, "linestyle": (0, (3, 1, 1, 1)), "marker": "H"},
    }
)
"""Colour, line style and marker of schemes, the same in every figure; see `scheme_style`."""

SCHEME_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "slm": "SLM",
        "llm": "LLM",
        "hlm": "HLM",
        "rand-hlm": "Rand-HLM",
        "u-hlm": "U-HLM",
        "cu-hlm-offline": "CU-HLM offline",
        "cu-hlm-online": "CU-HLM online",
        "cu-hlm-exact": "CU-HLM exact",
        "floor": "floor",
        "dsd": "DSD",
        "tk-slt": "TK-SLT",
        "tslt": "TSLT",
        "k-sqs": "K-SQS",
        "c-sqs": "C-SQS",
        "dssd": "DSSD",
        "confidence-stop": "confidence-stop",
        "heuristic": "heuristic",
        "verify-on-sync": "verify-on-sync",
        "kept-law": "kept law",
        "kept-law-exact": "kept law, exact",
    }
)
"""What schemes are called in print; see `scheme_label`."""

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 7.5,
    "axes.labelpad": 2.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": True,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fancybox": False,
    "legend.borderpad": 0.2,
    "legend.handlelength": 2.0,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.3,
    "legend.columnspacing": 0.9,
    "legend.borderaxespad": 0.3,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.0,
    "figure.dpi": 100.0,
    "savefig.dpi": 300.0,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.03,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "path.simplify": True,
}


_TEXT = (
    "font.size",
    "axes.titlesize",
    "axes.labelsize",
    "xtick.labelsize",
    "ytick.labelsize",
    "legend.fontsize",
)


@contextmanager
def applied(name: str, look: Look = LOOKS["ieee"]) -> Iterator[None]:
    """Set matplotlib's settings for one figure and restore them afterwards, on the backend without a screen.

    Parameters
    ----------
    name : str
        The figure; ids in its SVG are derived from it, so that the file is the same every time.
    look : Look, optional
        Kind of publication, one of `LOOKS`.
    """
    import matplotlib

    matplotlib.use("Agg")
    scaled = {key: look.text * _RC[key] for key in _TEXT}
    settings: Any = {**matplotlib.rcParamsDefault, **_RC, **scaled, "svg.hashsalt": name, "backend": "agg"}
    with matplotlib.rc_context(settings):
        yield


def scheme_style(name: str) -> Mapping[str, Any]:
    """Return colour, line style and marker of a scheme."""
    return SCHEMES.get(name, {"color": PURPLE, "linestyle": (0, (1, 1)), "marker": "."})


def scheme_label(name: str) -> str:
    """Return what a scheme is called in print."""
    return SCHEME_LABELS.get(name, name)


def scheme_line(name: str, *, marked: bool = False) -> dict[str, Any]:
    """Return the style of a scheme's curve for `Axes.plot`, with its marker when ``marked``."""
    style = dict(scheme_style(name))
    if not marked:
        del style["marker"]
    style.setdefault("linewidth", 1.3)
    return {**style, "label": scheme_label(name)}


def label(ax: "Axes", x: float, y: float, text: str, **kwargs: Any) -> None:
    """Write next to a point of the data, a few points away from it, on a pale halo."""
    from matplotlib import rcParams
    from matplotlib.patheffects import withStroke

    options: dict[str, Any] = {"xytext": (3, 3), "textcoords": "offset points"}
    options |= {"fontsize": rcParams["legend.fontsize"], **kwargs}
    options.setdefault("path_effects", [withStroke(linewidth=1.8, foreground=PAPER)])
    ax.annotate(text, (x, y), **options)


def panel_title(ax: "Axes", index: int, text: str) -> None:
    """Write a panel's letter and what it shows above it."""
    ax.set_title(f"({'abcdefgh'[index]}) {text}")


def band(ax: "Axes", x: Any, low: Any, high: Any, *, color: str, alpha: float = 0.18) -> None:
    """Fill between two quantiles."""
    ax.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)


def unreachable(ax: "Axes", x: Any, edge: Any, *, above: bool = True) -> None:
    """Shade what lies beyond the floor: no device that sends its one draft a round gets there."""
    low, high = ax.get_ylim()
    ax.fill_between(
        x,
        edge,
        high if above else low,
        facecolor=SHADE,
        edgecolor=GRID,
        hatch="////",
        linewidth=0,
        zorder=0.5,
    )
    ax.set_ylim(low, high)


BEYOND = "beyond a device that sends its one draft"
"""What stands in the shaded region: it bounds neither the LLM alone nor what need not name its draft."""


def legend_below(ax: "Axes", *, ncols: int = 2, **kwargs: Any) -> None:
    """Put the legend under the axis label, where it covers nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=ncols, **kwargs)


def plain_log(ax: "Axes", *, axis: str = "y") -> None:
    """Write the ticks of a short logarithmic axis as plain numbers, at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    of = ax.yaxis if axis == "y" else ax.xaxis
    of.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    of.set_major_formatter(StrMethodFormatter("{x:g}"))
    of.set_minor_formatter(NullFormatter())


def save(canvas: "Figure", files: Sequence[Path], title: str) -> None:
    """Write a canvas as .pdf and .png, each whole or not at all, without the date.

    Parameters
    ----------
    canvas : Figure
        What is drawn.
    files : sequence of Path
        A ``.pdf`` and a ``.png``.
    title : str
        Title of the document.
    """
    for file, told in zip(files, ({"CreationDate": None, "Title": title}, {"Software": None}), strict=True):
        drawn = io.BytesIO()  # matplotlib's own files hide why a disk refused them
        canvas.savefig(drawn, format=file.suffix[1:], metadata=told)
        with whole(file) as part:
            part.write_bytes(drawn.getvalue())
