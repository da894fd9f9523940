"""The page: sliders beside panels, and the server that shows it."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nicegui import app, background_tasks, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import System
from cuhlm_theory.recommendation import Question
from figures import fronts, phase_diagram, report, style
from figures.explore import panels, work
from figures.explore.desk import Desk, OvertakenError, RefusedError
from figures.explore.panels import tag
from figures.explore.setting import GRIDS, QUANTITIES, Setting, nearest, of_link, written

_LOCAL = ("127.0.0.1", "localhost")
_RADIO = ("snr_db", "bandwidth_hz")
_TABLE, _PAGE = "schemes.csv", "report.html"
_SKETCH = "At the settings of the bars; every other one is being tried …"
_EVERY = "At every setting of every scheme, more than the bars show."


class Desks:
    """Processes of a server, each for one kind of work."""

    def __init__(self) -> None:
        self.answers = Desk(interrupts=False)
        self.fronts = Desk(interrupts=True, low=True)
        self.diagrams = Desk(interrupts=True, low=True)
        self.reports = Desk(interrupts=True)

    @property
    def all(self) -> tuple[Desk, ...]:
        """Every desk."""
        return self.answers, self.fronts, self.diagrams, self.reports


class Page:
    """What one visitor sees, and where they stand."""

    def __init__(self, setting: Setting, calibration: Any, desks: Desks) -> None:
        self.setting, self.calibration, self.desks = setting, calibration, desks
        self.client = ui.context.client
        self.sliders: dict[str, ui.element] = {}
        self.values: dict[str, Any] = {}
        self.places: dict[str, int] = {}
        with ui.element("div").classes("top"):
            tag("h1", f"cuhlm explore: {calibration.name}")
            self.headline = tag("p", "computing …", "headline").props('role="status" aria-live="polite"')
        with ui.element("div").classes("columns"):
            with ui.element("form").classes("card sliders").props('aria-label="Setting"'):
                tag("p", "A link is given by its rate, or by bandwidth and SNR: what was moved last.", "note")
                for key in GRIDS:
                    self._slider(key)
                self.unseen = tag("p", "", "note")
                self._exits()
            with ui.element("div").classes("panels"):
                self.alert = tag("p", "", "alert").props('role="alert"')
                with ui.element("div").classes("panel"):
                    self.answer = panels.card("Recommendation", "answer")
                    self.bars = panels.card("Schemes")
                with ui.element("div").classes("panel"):
                    self.front = panels.Picture("Throughput against bias", fronts.FIGURE.caption)
                    self.diagram = panels.Picture(
                        "The fastest over which link", phase_diagram.FIGURE.caption, num_crosses=2
                    )
                    self.changes = panels.card("What would have to change")
        self.client.on_delete(lambda: self._leave(self, *((self, name) for name in (_TABLE, _PAGE))))
        self.move()

    def _slider(self, key: str) -> None:
        grid, title = GRIDS[key], QUANTITIES[key].title
        with ui.element("div").classes("quantity"):
            tag("span", title)
            self.values[key] = tag("output").props(f'data-key="{key}"')
            slider = ui.element("input").props(f'type=range min=0 max={len(grid) - 1} aria-label="{title}"')
            slider.on(
                "input",
                lambda event: self._slid(key, event.args),
                throttle=0.05,
                js_handler="(event) => emit(Number(event.target.value))",
            )
            self.sliders[key] = slider.props(f'data-key="{key}"')

    def _exits(self) -> None:
        with ui.element("nav").props('aria-label="Take it along"'):
            self.link = tag("a", "Link to this").props('href="/"')
            self.buttons = [
                tag("button", text).props("type=button").on("click", act)
                for text, act in (
                    ("TOML scenario", self._toml),
                    ("CSV table", self._csv),
                    ("HTML report", self._report),
                )
            ]

    # ------------------------------------------------------------------------------------------ moving

    def _slid(self, key: str, place: int) -> None:
        self.places[key], value = place, GRIDS[key][place]
        self.values[key].set_text(written(key, value))
        self.setting = self.setting.moved(key, value)
        self.move()

    def move(self) -> None:
        """Show where one stands now, and have everything else computed."""
        try:
            question, inputs = self.setting.build(self.calibration)
        except (ValueError, CuhlmError) as error:
            self._leave(self)
            self._refuse(str(error))
            return
        self._follow(question.system, inputs)
        self._cross(question.system)
        self.unseen.set_text(f"Also said: {self.setting.unseen}." if self.setting.unseen else "")
        address = f"/?{self.setting.query}" if self.setting.query else "/"
        self.link.props(f'href="{address}"')
        self.client.run_javascript(f"history.replaceState(null, '', '{address}')")
        background_tasks.create(self._compute(self.setting, question))

    def _follow(self, system: System, inputs: Mapping[str, Any]) -> None:
        """Bring the sliders and their values to what the inputs say."""
        rate = phase_diagram.place(system.link, system.latency)[0]
        for key, slider in self.sliders.items():
            value, idle = inputs[key], False
            if value is None:
                idle, value = True, rate if key not in _RADIO else QUANTITIES[key].assumed
            said = written(key, value) if key not in _RADIO or not idle else "not in use"
            self.values[key].set_text(said)
            slider.props(f'aria-valuetext="{said}"').classes(**{"add" if idle else "remove": "idle"})
            if (place := nearest(key, value)) != self.places.get(key):  # never the one that is being moved
                self.places[key] = place
                self.client.run_javascript(f"getHtmlElement({slider.id}).value = {place}")

    def _cross(self, system: System) -> None:
        rate, trip_s = phase_diagram.place(system.link, system.latency)
        here = f"{written('rate_bit_per_s', rate)}, round trip {written('round_trip_s', trip_s)}"
        self.diagram.stand(rate, trip_s, f"The cross is where you stand: {here}.")

    # --------------------------------------------------------------------------------------- computing

    async def _compute(self, setting: Setting, question: Question) -> None:
        self.answer.classes(add="waiting")
        try:
            answer = await self.desks.answers.ask(self, (setting.query, "answer"), work.answer, setting)
        except OvertakenError:
            return
        except RefusedError as refused:
            self._refuse(str(refused))
            return
        told = answer["recommendation"]
        self.alert.set_text("")
        self.headline.set_text(panels.headline(told))
        panels.recommendation(self.answer, told)
        panels.bars(self.bars, answer)
        panels.changes(self.changes, told)
        self.answer.classes(remove="waiting").props(f'data-of="{setting.query}"')
        await asyncio.gather(
            self._reasons(setting, told), self._front(setting), self._diagram(setting, question)
        )

    async def _reasons(self, setting: Setting, told: Mapping[str, Any]) -> None:
        try:
            found = await self.desks.answers.ask(self, (setting.query, "why"), work.reasons, setting)
        except (OvertakenError, RefusedError):
            return
        panels.changes(self.changes, told, found)

    async def _front(self, setting: Setting) -> None:
        self.front.say("drawing …", busy=True)
        try:
            self.front.show(await self.desks.fronts.ask(self, setting.query, work.front, setting))
        except OvertakenError:
            return
        except RefusedError as refused:
            self.front.clear(str(refused))

    async def _diagram(self, setting: Setting, question: Question) -> None:
        """Draw the diagram, first from a few settings; the link and the round trip do not matter to it."""
        desk, latency = self.desks.diagrams, question.system.latency
        key = (question.system.codec, latency.downlink_bit_per_s, latency.slm, latency.llm, question.budget)
        key = (*key, latency.charge_resync, question.charge_quantisation, setting.said.get("text"))
        try:
            if (*key, True) not in desk:
                self.diagram.say("drawing …", busy=True)
                sketch = await desk.ask(self, (*key, False), work.diagram, setting, False)
                self.diagram.show(sketch, _SKETCH, busy=True)
                self._cross(question.system)
            self.diagram.show(await desk.ask(self, (*key, True), work.diagram, setting, True), _EVERY)
            self._cross(question.system)
        except OvertakenError:
            return
        except RefusedError as refused:
            self.diagram.clear(str(refused))

    def _refuse(self, reason: str) -> None:
        self.alert.set_text(reason)
        self.headline.set_text("no answer here")
        self.answer.classes(add="waiting")

    # ------------------------------------------------------------------------------------- taking along

    async def _toml(self) -> None:
        with self.client:
            ui.download.content(self.setting.toml(), "scenario.toml", "application/toml")

    async def _csv(self) -> None:
        await self._hand_over(1, self.desks.answers, work.csv, _TABLE, "text/csv")

    async def _report(self) -> None:
        await self._hand_over(2, self.desks.reports, work.page, _PAGE, "text/html")

    async def _hand_over(self, place: int, desk: Desk, function: Any, name: str, kind: str) -> None:
        button, setting = self.buttons[place], self.setting
        button.props("disabled").classes(add="busy")
        try:
            found = await desk.ask((self, name), (setting.query, name), function, setting)
            with self.client:
                ui.download.content(found, name, kind)
        except OvertakenError:  # by who left
            return
        except RefusedError as refused:
            self.alert.set_text(str(refused))
        finally:
            button.props(remove="disabled").classes(remove="busy")

    def _leave(self, *owners: object) -> None:
        for desk in self.desks.all:
            for owner in owners:
                desk.leave(owner)


def free_port(host: str, port: int) -> int:
    """Return the port, or one that is free where it is 0; ValueError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"port must be free on {host}; got {port} ({error})") from None
        return tried.getsockname()[1]


def serve(start: Setting, calibration: Any, *, host: str, port: int, show: bool) -> None:
    """Show the page until it is interrupted."""
    desks = Desks()
    look = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    colors = (
        f":root {{ {report.variables(style.THEME)} }}"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {report.variables(report.DARK)} }} }}"
    )

    @ui.page("/")
    def root() -> None:
        ui.add_css(colors + look)
        try:
            setting = of_link(ui.context.client.request.query_params, start)
            setting.build(calibration)
        except (ValueError, CuhlmError) as error:
            tag("p", f"This link leads to no setting: {error}", "alert").props('role="alert"')
            tag("a", "Start anew").props('href="/"')
            return
        Page(setting, calibration, desks)

    def stop() -> None:
        for desk in desks.all:
            desk.stop()

    async def begin() -> None:  # so that the first visitor need not wait for the calibration to be read
        with contextlib.suppress(OvertakenError, RefusedError):
            await desks.answers.ask(desks, (start.query, "answer"), work.answer, start)

    if host in _LOCAL:  # a page of another site may resolve its own name to this machine
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL))
    app.on_startup(begin)
    app.on_shutdown(stop)
    ui.run(
        host=host,
        port=port,
        title="cuhlm explore",
        dark=None,
        show=show,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
    )
