"""`cuhlm explore` in a browser: every slider, the numbers of `cuhlm optimize`, what can be taken along."""

import asyncio
import csv
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest

from calibration.fit import fit_folder

pytest.importorskip("nicegui")
playwright = pytest.importorskip("playwright.sync_api")

from figures import report  # noqa: E402
from figures.explore import setting  # noqa: E402
from figures.explore.desk import Desk, OvertakenError, RefusedError  # noqa: E402
from figures.explore.panels import headline  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = "<img src=x onerror=\"document.title='broken into'\">"
PLACE = ("--snr-db", "3", "--bandwidth-hz", "200k", "--slm-latency-s", "20ms", "--llm-latency-s", "60ms")
CALL = (sys.executable, "-c", "from cuhlm_theory.cli import main; main()")
PATIENCE_MS = 20_000.0  # on a busy machine
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def folder(few_texts, tmp_path_factory):
    """A calibration whose name would be a picture, were it taken for HTML."""
    made = tmp_path_factory.mktemp("explore") / "pair"
    shutil.copytree(few_texts, made)
    fit_folder(made, name=HOSTILE)
    return made


@pytest.fixture(scope="module")
def address(folder):
    call = (*CALL, "explore", "--calibration", str(folder), *PLACE, "--port", "0", "--no-browser", "--json")
    env = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}
    server = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield json.loads(server.stdout.readline())["url"]
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


@pytest.fixture(scope="module")
def browser():
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


@pytest.fixture
def tab(browser, address):
    """Open a tab; what its console said, and what went wrong in it, must be nothing in the end."""
    opened, said = [], []

    def visit(query="", **options):
        page = browser.new_context(**options).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address + query)
        opened.append(page)
        return page

    yield visit
    for page in opened:
        page.context.close()
    assert said == []


def settled(page):
    """Wait until what is shown answers where the sliders stand; return the query of the link."""
    page.wait_for_function(
        "() => { const shown = document.querySelector('.answer [data-of]');"
        "return shown && document.querySelector('nav a').search.slice(1) === shown.dataset.of "
        "&& location.search.slice(1) === shown.dataset.of; }",
        timeout=PATIENCE_MS,
    )
    return urlsplit(page.url).query


def pressed(page, name, key):
    """Press a key on a slider, and wait until what is shown answers."""
    before = page.locator("nav a").get_attribute("href")
    page.get_by_role("slider", name=name).press(key)
    playwright.expect(page.locator("nav a")).not_to_have_attribute("href", before)
    return settled(page)


def options_of(query):
    return [part for key, text in parse_qsl(query) for part in (f"--{key}", text)]


def shown(page):
    """Facts of the recommendation as they stand on the page."""
    names, facts = (page.locator(f".answer {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return [page.locator(".answer .first").inner_text(), *map(" ".join, zip(names, facts, strict=True))]


def assert_same(page, found):
    told = found["recommendation"]
    assert page.locator(".headline").inner_text() == headline(told)
    lines = [re.sub(r" +", " ", line.strip()) for line in told["lines"]]
    assert shown(page) == [line for line in lines if not line.startswith("change ")]
    rows = page.locator(".bars tbody tr")
    speeds = sorted((row["throughput_token_per_s"] for row in found["schemes"]), reverse=True)
    assert [text.split()[0] for text in rows.locator(".speed span").all_inner_texts()] == [
        report.number(speed).split()[0] for speed in speeds
    ]


@in_browser
def test_every_slider_moves_and_the_numbers_are_those_of_optimize(tab, folder, cuhlm_json):
    page = tab()
    settled(page)
    for key, one in setting.QUANTITIES.items():
        query = pressed(page, one.title, "ArrowRight")
        assert key.replace("_", "-") in dict(parse_qsl(query))
        assert_same(page, cuhlm_json("optimize", "--calibration", folder, *options_of(query)))
        stands = float(dict(parse_qsl(query))[key.replace("_", "-")])
        assert stands in setting.GRIDS[key]
        assert page.locator(f"output[data-key={key}]").inner_text() == setting.written(key, stands)
        slider = page.get_by_role("slider", name=one.title)
        assert setting.GRIDS[key][int(slider.input_value())] == stands


@in_browser
def test_no_step_is_lost_where_a_key_is_held(tab):
    page = tab()
    settled(page)
    slider = page.get_by_role("slider", name="round trip")
    place = int(slider.input_value())
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    playwright.expect(slider).to_have_value(str(place + 20))
    query = f"round-trip-s={setting.GRIDS['round_trip_s'][place + 20]}"
    playwright.expect(page.locator("nav a")).to_have_attribute("href", re.compile(re.escape(query)))
    assert query in settled(page)
    assert slider.input_value() == str(place + 20)


@in_browser
def test_a_setting_that_cannot_be_says_why_and_is_left_again(tab):
    page = tab()
    settled(page)
    cost = page.get_by_role("slider", name="SLM time a further token")
    cost.press("End")
    alert = page.locator(".alert")
    playwright.expect(alert).to_have_text("slm_per_token_s must be at most slm_latency_s, 0.02; got 0.1")
    assert page.locator("output[data-key=slm_per_token_s]").inner_text() == "100 ms"
    cost.press("Home")
    playwright.expect(alert).to_be_empty()
    settled(page)


@in_browser
def test_a_rate_stands_instead_of_bandwidth_and_snr(tab):
    page = tab()
    assert "rate-bit-per-s" not in settled(page)
    query = pressed(page, "Rate", "Home")
    assert dict(parse_qsl(query))["rate-bit-per-s"] == "100.0"
    assert "snr-db" not in query
    assert page.locator("output[data-key=snr_db]").inner_text() == "not in use"


@in_browser
def test_a_link_in_a_new_tab_and_other_colours_gives_the_same_numbers(tab, address):
    first = tab()
    settled(first)
    query = pressed(first, "LLM latency", "PageUp")
    second = tab(f"?{query}", color_scheme="dark", viewport={"width": 360, "height": 740})
    assert settled(second) == query
    assert shown(second) == shown(first)
    colours = [
        page.evaluate("['', '.card'].map(c => getComputedStyle(document.querySelector(c || 'body')).color)")
        for page in (first, second)
    ]
    assert colours[0] != colours[1]


@in_browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_is_wider_than_the_window(tab, width, colours):
    page = tab(viewport={"width": width, "height": 800}, color_scheme=colours)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in page.locator(".card").all():
        place = box.bounding_box()
        assert place["width"] > 0.2 * width
        assert place["x"] + place["width"] <= width
    behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", behind)[:3])) < 384) == (colours == "dark")


@in_browser
def test_a_hostile_name_is_text(tab):
    page = tab()
    settled(page)
    assert page.locator("h1").inner_text() == f"cuhlm explore: {HOSTILE}"
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "cuhlm explore"


@in_browser
def test_what_is_taken_along_says_the_same(tab, tmp_path, cuhlm_json):
    page = tab()
    settled(page)
    pressed(page, "Bias budget", "ArrowLeft")
    files = {}
    for name in ("TOML scenario", "CSV table", "HTML report"):
        with page.expect_download(timeout=60_000) as download:
            page.get_by_role("button", name=name).click()
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    found = cuhlm_json("optimize", files["TOML scenario"])
    assert_same(page, found)
    text = files["CSV table"].read_text(encoding="utf-8")
    rows = {row["scheme"]: row for row in csv.DictReader(text[text.index("scheme,") :].splitlines())}
    for row in found["schemes"]:
        assert float(rows[row["name"]]["token/s"]) == row["throughput_token_per_s"]
    page_of = files["HTML report"].read_text(encoding="utf-8")
    assert page_of.startswith("<!doctype html>")
    assert found["recommendation"]["scheme"] in page_of


@in_browser
def test_the_cross_moves_at_once_and_the_diagram_stays(tab):
    page = tab()
    settled(page)
    cross = page.locator(".cross").first
    cross.wait_for(timeout=30_000)
    drawn, before = page.locator(".canvas svg").count(), cross.bounding_box()
    page.get_by_role("slider", name="round trip").press("End")
    playwright.expect(page.locator(".note").filter(has_text="round trip 2 s")).to_be_visible()
    after = cross.bounding_box()
    assert after["y"] < before["y"]
    assert after["x"] == before["x"]
    assert page.locator(".canvas svg").count() >= drawn


@in_browser
@pytest.mark.slow
def test_the_diagram_is_tried_at_every_setting_and_then_known(tab):
    page = tab()
    settled(page)
    every = page.get_by_text("At every setting of every scheme")
    playwright.expect(every).to_be_visible(timeout=600_000.0)
    pressed(page, "round trip", "End")
    playwright.expect(every).to_be_visible()
    assert page.locator(".canvas svg").count() == 2
    assert page.locator(".cross:visible").count() == 2
    for name in page.locator(".canvas svg").all():
        assert name.get_attribute("role") == "img"
        assert len(name.get_attribute("aria-label")) > 50


@in_browser
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?snr-db=loud", "--snr-db must be a number"),
        ("?snr=3", "the nearest known key is"),
        ("?scheme=dsd", "is unknown"),
        ("?calibration=/etc/passwd", "calibration must be said where cuhlm explore is started"),
        ("?bias-budget=2", "bias_budget must lie in [0, 1]"),
    ],
)
def test_a_link_to_nowhere_says_why(tab, query, says):
    page = tab(query)
    assert says in page.get_by_role("alert").inner_text()
    page.get_by_role("link", name="Start anew").click()
    settled(page)


def taken():
    """A port that something listens at."""
    busy = socket.socket()
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    return busy


@pytest.mark.parametrize(("name", "code"), [("127.0.0.1", 200), ("localhost", 200), ("evil.example", 400)])
def test_a_page_of_this_machine_answers_to_its_own_names_alone(address, name, code):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE_MS / 1e3)
    while True:
        try:
            connection.request("GET", "/", headers={"Host": f"{name}:{place.port}"})
            break
        except ConnectionRefusedError:  # it is told where the page is before it is there
            connection.close()
            time.sleep(0.1)
    assert connection.getresponse().status == code
    connection.close()


def test_what_cannot_be_shown_is_one_line(assert_refused, tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text("snr = 3\n")
    assert_refused("explore", scenario, words=["'snr'", "unknown"])
    scenario.write_text('host = "0.0.0.0"\n')
    assert_refused("explore", scenario, words=["--host", "0.0.0.0"])
    assert_refused("explore", "--calibration", "no-such", words=["no-such"])
    assert_refused("explore", "--calibration", "cu-hlm", code=1, words=["--uncertainty"])
    assert_refused("explore", "--bias-budget", "2", words=["--bias-budget", "2"])
    with taken() as busy:
        port = str(busy.getsockname()[1])
        assert_refused("explore", "--no-browser", "--port", port, words=["--port", port])


def test_without_the_framework_it_says_what_to_install():
    lacking = f"import sys; sys.modules['nicegui'] = None; {CALL[2]}"
    done = subprocess.run([sys.executable, "-c", lacking, "explore"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cuhlm: this needs nicegui; install it with: pip install 'cuhlm[explore]'\n"


def test_what_was_asked_before_is_overtaken():
    async def asked():
        desk = Desk(interrupts=True)
        started = time.monotonic()
        first = asyncio.create_task(desk.ask("me", 1, time.sleep, 60.0))
        await asyncio.sleep(0.1)
        assert await desk.ask("me", 2, max, 3, 4) == 4
        with pytest.raises(OvertakenError):
            await first
        assert await desk.ask("you", 2, time.sleep, 60.0) == 4  # known
        with pytest.raises(RefusedError, match="could not convert"):
            await desk.ask("me", 3, float, "x")
        desk.stop()
        return time.monotonic() - started

    with ThreadPoolExecutor(1) as apart:  # the browser's loop runs in this thread
        assert apart.submit(lambda: asyncio.run(asked())).result() < 30.0


@pytest.mark.parametrize("key", setting.GRIDS)
def test_a_slider_stands_where_it_was_put(key):
    grid = setting.GRIDS[key]
    assert list(grid) == sorted(set(grid))
    assert [setting.nearest(key, value) for value in grid] == list(range(len(grid)))


def test_a_command_and_its_link_are_one_setting(tmp_path):
    start = setting.Setting(
        {"calibration": "smollm2", "charge_resync": "False", "snr_db": "5", "preset": "5g"}
    )
    query = dict(parse_qsl(start.query))
    assert setting.of_link(query, start).said == start.said
    _, inputs = start.build()
    assert (inputs["charge_resync"], inputs["snr_db"], inputs["round_trip_s"]) == (False, 5.0, 0.008)
    assert 'calibration = "smollm2"' in start.toml()
