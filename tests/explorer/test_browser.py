"""In a real browser: the explorer in JupyterLab, and an exported page without any network."""

import base64
import io
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.export import animate, export
from tvae_core.explorer.pixels import frame_grid
from tvae_core.explorer.scene import STEPS, RollState, open_sequence
from tvae_core.files import write_json
from tvae_core.reproduce.notebooks import NOTEBOOKS
from tvae_core.training.trainer import fit

pytestmark = pytest.mark.browser

WAIT = 180_000  # milliseconds: a machine may have other work; what is awaited comes in seconds on an idle one
expect.set_options(timeout=WAIT)
SHOTS = os.environ.get("TVAE_SCREENSHOTS")  # a folder: keep what the browser shows

RUN_ALL = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info;
  jupyterapp.commands.execute("notebook:run-all-cells");
}"""
ALL_DONE = """() => jupyterapp.shell.currentWidget.content.model.sharedModel.cells
  .filter((cell) => cell.cell_type === "code").every((cell) => cell.execution_count)"""
PICTURE = """async (selector) => {
  const bytes = new Uint8Array(await (await fetch(document.querySelector(selector).src)).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home):
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("smoke").with_options(eval_sequences=4)
    fit(EXPERIMENTS["nontvae_mnist"].at_scale("smoke").with_options(eval_sequences=4), runs=home / "runs")
    return fit(exp, runs=home / "runs")


@pytest.fixture(scope="module")
def lab(home, run):
    """The address of a JupyterLab of its own, with the explorer as if nobody had run it."""
    notebook = nbformat.read(NOTEBOOKS / "explore.ipynb", nbformat.NO_CONVERT)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace('runs: str = ""', f"runs: str = {str(home / 'runs')!r}")
    nbformat.write(notebook, home / "explore.ipynb")
    (home / "pictures").mkdir()
    shutil.copy(NOTEBOOKS / "pictures" / "explore.webp", home / "pictures")
    settings = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}  # asks for news
    write_json(home / "config" / "labconfig" / "page_config.json", settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}", "--allow-root"]
    command += ["--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    own = {
        "TVAE_HOME": str(home),
        "TVAE_OFFLINE": "mnist,dsprites",
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }
    own |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    with open(home / "lab.log", "wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log, cwd=home)
    try:
        _await_answer(f"http://127.0.0.1:{port}/api?token={token}", server, home / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/explore.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _await_answer(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


def complaints(page: Page) -> list[str]:
    """What goes wrong in the page from now on: exceptions, and errors on the console."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))

    def hear(message) -> None:
        if message.type == "error":
            said.append(f"{message.text} {message.location}")

    page.on("console", hear)
    return said


def picture(page: Page, selector: str) -> np.ndarray:
    page.locator(selector).wait_for()
    with Image.open(io.BytesIO(base64.b64decode(page.evaluate(PICTURE, selector)))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frame_of(roll: RollState) -> np.ndarray:
    """The decoded frame of the tab Roll."""
    return np.asarray(frame_grid(roll.decoded.unsqueeze(0), 1))


def same(shown: np.ndarray, truth: np.ndarray) -> bool:
    return shown.shape == truth.shape and np.abs(shown - truth.astype(int)).max() <= 2


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS, f"{name}.png"))


def wait_for_roll(page: Page, truth: np.ndarray) -> None:
    end = time.monotonic() + WAIT / 1000
    while not same(picture(page, "img.tvae-roll"), truth):
        assert time.monotonic() < end, "the picture does not come to what the library decodes"
        page.wait_for_timeout(100)


def test_the_explorer_in_jupyterlab(browser, lab, run):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(WAIT)
    said = complaints(page)
    page.goto(lab)
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context && true")
    page.evaluate(RUN_ALL)
    page.wait_for_function(ALL_DONE)
    truth = open_sequence(run)

    slider = page.locator(".widget-slider", has_text="Roll δ")
    handle = slider.locator(".noUi-handle")
    wait_for_roll(page, frame_of(truth.at(3.0)))
    shoot(page, "roll")
    handle.focus()
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(slider.locator(".widget-readout")).to_have_text("−4.75")
    wait_for_roll(page, frame_of(truth.at(-4.75)))
    assert not same(frame_of(truth.at(-4.75)), frame_of(truth.at(3.0)))

    ring = page.locator("canvas.tvae-ring").bounding_box()
    x, y, radius = ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2, ring["width"] / 3
    page.mouse.move(x, y - radius)
    page.mouse.down()
    page.mouse.move(x + radius, y, steps=9)  # a quarter turn is a roll by 4.5 units
    page.mouse.up()
    expect(slider.locator(".widget-readout")).to_have_text("−0.25")
    wait_for_roll(page, frame_of(truth.at(-0.25)))

    handle.focus()
    page.keyboard.press("End")  # +11.75, nearest to the first frame
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("predict it")).to_be_visible()
    page.get_by_role("button", name="Show held-out frames").press("Space")
    expect(page.get_by_text("predict it")).to_have_count(0)

    open_tab(page, "One capsule")
    grid = picture(page, ".tvae-capsules img")
    page.get_by_role("button", name="Capsule 3").press("Space")
    expect(page.get_by_text("The other tabs now roll capsule 3 alone.")).to_be_visible()
    page.get_by_role("button", name="Show what changes").click()
    wait_until(page, lambda: not same(grid, picture(page, ".tvae-capsules img")), "the capsules stay")
    page.get_by_role("button", name="Roll all capsules").click()
    shoot(page, "capsules")

    open_tab(page, "Latents")
    latents = picture(page, "img.tvae-latents")
    value = page.locator(".widget-slider", has_text="value of t").locator(".noUi-handle")
    value.focus()
    page.keyboard.press("End")
    wait_until(page, lambda: not same(latents, picture(page, "img.tvae-latents")), "the unit does nothing")
    page.locator("canvas.tvae-units").hover(position={"x": 60, "y": 90})
    expect(page.get_by_text(re.compile("^Capsule [1-9][0-9]*, unit [1-9]"))).to_be_visible()
    shoot(page, "latents")

    open_tab(page, "Compare")
    expect(page.locator("table.tvae-measures")).to_be_visible()
    shoot(page, "compare")

    open_tab(page, "Your own digit")
    page.wait_for_timeout(500)  # the canvas is wiped when it is ready
    draw_a_seven(page)
    page.get_by_role("button", name="Roll it").click()
    expect(page.get_by_title("Your own digit")).to_be_visible()
    expect(page.get_by_text("Your own digit. Means")).to_be_visible()
    shoot(page, "digit")

    before = picture(page, "img.tvae-roll")
    play = page.locator(".widget-play button").first
    play.focus()
    page.keyboard.press("Enter")
    wait_until(
        page, lambda: not same(before, picture(page, "img.tvae-roll")), "Play does not move the picture"
    )
    page.keyboard.press("Enter")

    open_tab(page, "Your own digit")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload image").click()
    chooser.value.set_files({"name": "<7>.png", "mimeType": "image/png", "buffer": b"<svg></svg>"})
    expect(page.locator("b[role=alert]")).to_have_text(re.compile("^<7>.png is not a picture .* SVG as PNG"))

    open_tab(page, "Save")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name="Download roll.png")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="Replace it")).to_be_visible()
    shoot(page, "save")
    walk_by_keys(page)
    assert said == []
    page.close()


FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  return [at.closest(".tvae") !== null, `${style.outlineStyle} ${style.outlineWidth}`];
}"""


def walk_by_keys(page: Page) -> None:
    """Go by Tab from the run to the tabs Save and Roll: all controls have names, show focus, and let go."""
    tools = page.context.new_cdp_session(page)
    tools.send("Accessibility.enable")

    def tab(times: int = 40) -> list[str]:
        names = []
        for _ in range(times):
            page.keyboard.press("Tab")
            inside, outline = page.evaluate(FOCUSED)
            if not inside:
                break
            found = tools.send("Runtime.evaluate", {"expression": "document.activeElement"})["result"]
            asked = {"objectId": found["objectId"], "fetchRelatives": False}
            names.append(tools.send("Accessibility.getPartialAXTree", asked)["nodes"][0]["name"]["value"])
            assert outline == "solid 3px", names
        assert all(re.search("[A-Za-z‹›]", name) for name in names), names
        assert len(names) < times, f"Tab does not leave: {names[-3:]}"
        return names

    page.get_by_label("Run", exact=True).focus()
    names = tab()
    for name in ("Transformation", "Example 3", "Roll δ", "Play or pause", "Stop", "Replace it"):
        assert name in names, names
    current = page.get_by_role("tab", name="Save", exact=True)
    current.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Roll", exact=True)).to_have_class(re.compile("lm-mod-current"))
    ring, rows = tab(3)[:2]
    assert "drag the ring" in ring and "rolled" in rows
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    shown = page.locator(".widget-slider", has_text="Roll δ").locator(".widget-readout")
    before = shown.inner_text()
    page.keyboard.press("ArrowRight")
    expect(shown).not_to_have_text(before)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def wait_until(page: Page, thing: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + WAIT / 1000
    while not thing():
        assert time.monotonic() < end, otherwise
        page.wait_for_timeout(100)


def draw_a_seven(page: Page) -> None:
    pad = page.locator(".tvae-drawing")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    points = [(50, 50), (110, 52), (170, 50), (140, 110), (110, 180)]
    page.mouse.move(box["x"] + points[0][0], box["y"] + points[0][1])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=6)
    page.mouse.up()
    page.wait_for_timeout(300)  # its last moves are on their way to the kernel


def test_an_exported_page_needs_no_network(browser, run, tmp_path):
    shown = animate(run, [3], "rotation")
    path = export(shown, tmp_path / "roll.html")
    assert path.stat().st_size < 10e6
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    said = complaints(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    frame, slider = page.locator(".roll .frame"), page.get_by_role("slider")
    truth, first = shown.rolls[0], -run.exp.anchor

    def frame_shown() -> np.ndarray:
        style = "(frame) => [frame.style.backgroundImage, frame.style.backgroundPositionX]"
        image, position = frame.evaluate(style)
        n = len(truth.sequence.shifts)
        i = round(float(position.rstrip("%")) / 100 * (n - 1))
        with Image.open(io.BytesIO(base64.b64decode(image.split(",")[1].split('"')[0]))) as sheet:
            return np.asarray(sheet.convert("RGB")).reshape(28, n, 28, 3)[:, i]

    def agrees(shift: float) -> bool:
        return np.array_equal(frame_shown(), np.asarray(frame_grid(truth.at(shift).decoded[None], 1)))

    assert agrees(0.0)
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert agrees(6 / STEPS) and slider.get_attribute("aria-valuetext") == "roll +1.50"
    page.keyboard.press("Home")
    assert agrees(float(first))
    shoot(page, "page")
    page.get_by_role("button", name="Play").press("Space")
    page.wait_for_function("() => document.querySelector('input').value > 2")
    page.get_by_role("button", name="Pause").press("Space")
    stopped = slider.input_value()
    page.wait_for_timeout(300)
    assert slider.input_value() == stopped
    assert said == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()
