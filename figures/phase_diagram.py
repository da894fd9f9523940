"""The fastest scheme over the rate of the uplink and the round trip, exact and within a bias.

New: no published work compares biased with exact schemes over links at equal bias. At fixed settings a
token takes a plane over the link (`throughput.phase_regions`), so the diagram is their lower envelope.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory.capacity import rate_bit_per_s
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import Budget, Latency, Uplink
from cuhlm_theory.phases import Phases, phases
from cuhlm_theory.presets import SCENARIOS
from figures import style
from figures.frame import Figure, Source, Table, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

_HATCHES = {
    "kept-law": "",
    "llm": "",
    "kept-law-exact": "///",
    "verify-on-sync": "...",
    "dssd": "\\\\",
    "confidence-stop": "xxx",
    "tk-slt": "---",
}
_UNIT = " [token/s]"
_PACKET_BIT = 1000.0  # of which the rate is told; only that of a short packet depends on it
_NETWORKS = {"5g": "5G", "wifi": "Wi-Fi", "satellite": "satellite", "nb-iot": "NB-IoT", "u-hlm": "U-HLM"}


def compute(source: Source, *, num_points: int = 57, max_drafts: int = 32) -> Tables:
    """Find the throughput of every scheme that is the fastest somewhere, over a grid of links."""
    tokens, system = source.need(), source.system
    budget = Budget(bias=source.bias_budget).bias
    found = phases(tokens, system, [0.0, budget], max_drafts=max_drafts)
    tables = regions(found, budget, {"free downlink": np.inf, "downlink as uplink": None}, num_points)
    links = {place(system.link, system.latency): "this link"} | _networks()
    return tables | {"links": _links(links)}


def regions(found: Phases, budget: float, downlinks: Mapping[str, float | None], num_points: int) -> Tables:
    """Return a panel a downlink [bit/s], exact and within a budget; a rate of None is that of the uplink."""
    trip_s, rate = np.meshgrid(np.geomspace(1e-4, 2.0, num_points), np.geomspace(1e2, 1e9, num_points))
    tables: Tables = {}
    for downlink, down in downlinks.items():
        for bias, panel in ((0.0, "exact"), (budget, "biased")):
            least_s = found.least_s(bias, rate, trip_s, rate if down is None else down)
            first = np.min([*least_s.values()], axis=0)
            tables[f"{panel}, {downlink}"] = {
                "rate [bit/s]": rate.ravel(),
                "round trip [s]": trip_s.ravel(),
                **{
                    f"{name}{_UNIT}": 1.0 / seconds.ravel()
                    for name, seconds in least_s.items()
                    if np.any(seconds <= first)
                },
            }
    tables["inputs"] = {"bias budget [-]": np.array([budget])}
    tables["links"] = _links(_networks())
    return tables


def place(link: Uplink, latency: Latency) -> tuple[float, float]:
    """Return the rate [bit/s] and the round trip [s] at which a link stands in the diagram."""
    return float(rate_bit_per_s(link, _PACKET_BIT)), latency.round_trip_s


def _networks() -> dict[tuple[float, float], str]:
    """Return the names of known networks by their places."""
    links = {}
    for name, shown in _NETWORKS.items():
        known = Ladder({key: one.value for key, one in SCENARIOS[name].items()})
        links[place(known.link(), known.build(Latency))] = shown
    return links


def _links(links: Mapping[tuple[float, float], str]) -> Table:
    rate, trip_s = np.array([*links], dtype=np.float64).T
    return {"point": np.array([*links.values()]), "rate [bit/s]": rate, "round trip [s]": trip_s}


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Fill the region of each scheme, and mark the links of known networks."""
    shown: dict[str, Patch] = {}
    budget = tables["inputs"]["bias budget [-]"][0]
    for index, (panel, ax) in enumerate(axes.items()):
        _regions(ax, tables[panel], shown)
        _marks(ax, tables["links"], named=index == 0)
        bias = f"bias $\\leq$ {budget:g}" if panel.startswith("biased") else "bias 0"
        style.panel_title(ax, index, bias)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.grid(visible=False)
        left, bottom = index % 2 == 0, index >= len(axes) - 2
        if left:
            ax.set_ylabel(f"{panel.split(', ')[1]}\nround trip [s]")
        if bottom:
            ax.set_xlabel("uplink [bit/s]")
        ax.tick_params(labelleft=left, labelbottom=bottom)
        ax.set_xticks([1e3, 1e5, 1e7, 1e9])
    ax.figure.legend(handles=[*shown.values()], loc="outside lower center", ncols=3)  # type: ignore[union-attr]


def _regions(ax: "Axes", table: Table, shown: dict[str, "Patch"]) -> None:
    from matplotlib.patches import Patch

    names = [name.removesuffix(_UNIT) for name in table if name.endswith(_UNIT)]
    num = round(len(table["rate [bit/s]"]) ** 0.5)
    x, y = (table[name].reshape(num, num) for name in ("rate [bit/s]", "round trip [s]"))
    speed = np.log([table[f"{name}{_UNIT}"].reshape(num, num) for name in names])
    for place, name in enumerate(names):
        others = np.delete(speed, place, axis=0)
        ahead = speed[place] - others.max(axis=0) if len(others) else np.ones((num, num))
        fill = style.scheme_style(name)["color"], 0.4
        hatch = _HATCHES.get(name, "++")
        ax.contourf(x, y, ahead, levels=[0.0, np.inf], colors=[fill], hatches=[hatch])
        if len(others):
            ax.contour(x, y, ahead, levels=[0.0], colors=style.INK, linewidths=0.5)
        shown[name] = Patch(facecolor=fill, hatch=hatch, label=style.scheme_label(name))


def _marks(ax: "Axes", links: Table, *, named: bool) -> None:
    lowest = ax.get_ylim()[0]
    for name, x, y in zip(links["point"], links["rate [bit/s]"], links["round trip [s]"], strict=True):
        seen = max(y, lowest)
        ax.plot(x, seen, marker="o", color=style.INK, markersize=3, linestyle="none", clip_on=False)
        if named:
            style.label(ax, x, seen, str(name), ha="right", xytext=(-3, 3 if y < lowest else -2))


FIGURE = Figure(
    name="phase_diagram",
    title="The fastest scheme over rate and round trip",
    answers="none published: who wins over which link, exact and within a bias",
    status="new",
    caption="The fastest of all schemes at all settings, over rate and round trip of the link: exact on the "
    "left, biased on the right; the downlink free above, as the papers have it, and as fast as the "
    "uplink below. Every setting is a plane over inverse rate and round trip, so borders are exact up to the "
    "grid. The latencies of the models are the calibration's, or assumed; networks are at typical rates.",
    compute=compute,
    draw=draw,
    panels=(
        *("exact, free downlink", "biased, free downlink"),
        *("exact, downlink as uplink", "biased, downlink as uplink"),
    ),
    num_columns=2,
    panel_height_in=2.0,
)

if __name__ == "__main__":
    FIGURE.main()
