"""In a real browser: the explorer in JupyterLab, and an exported page without any network."""

import base64
import io
import os
import re
import secrets
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
from tvae_core.explorer.pictures import roll_frames
from tvae_core.explorer.pixels import frame_grid, side_by_side
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
    nbformat.write(notebook, home / "explore.ipynb")
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
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    return said


def picture(page: Page, selector: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(page.evaluate(PICTURE, selector)))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frames_of(roll: RollState) -> np.ndarray:
    """The large frames of the panel Roll, without the timeline."""
    return np.asarray(side_by_side(roll_frames(roll)))


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

    roll = page.locator(".widget-slider", has_text="Roll δ")
    handle = roll.locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    wait_for_roll(page, frames_of(truth))
    shoot(page, "roll")
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(roll.locator(".widget-readout")).to_have_text("+1.25")
    wait_for_roll(page, frames_of(truth.at(1.25)))
    assert not same(frames_of(truth), frames_of(truth.at(1.25)))

    capsules = page.get_by_label("Capsules")
    capsules.fill("0, 3-99")
    capsules.press("Enter")
    expect(page.locator("b[role=alert]")).to_have_text(
        "capsules '0, 3-99' names 99, but there are 18, from 0 to 17"
    )
    capsules.fill("0, 3-5")
    capsules.press("Enter")
    wait_for_roll(page, frames_of(truth.with_capsules([0, 3, 4, 5]).at(1.25)))
    expect(page.locator("b[role=alert]")).to_have_count(0)

    latents = picture(page, "img.tvae-latents")
    value = page.locator(".widget-slider", has_text="its t").locator(".noUi-handle")
    value.scroll_into_view_if_needed()
    value.focus()
    page.keyboard.press("End")
    end = time.monotonic() + WAIT / 1000
    while same(latents, picture(page, "img.tvae-latents")) and time.monotonic() < end:
        page.wait_for_timeout(100)
    assert not same(latents, picture(page, "img.tvae-latents"))
    shoot(page, "latents")

    units = page.locator(".tvae-units")
    units.scroll_into_view_if_needed()
    picked = picture(page, "img.tvae-maps")
    units.hover(position={"x": 60, "y": 90})  # W of the unit under the pointer, as long as it is there
    wait_until(
        page, lambda: not same(picked, picture(page, "img.tvae-maps")), "W does not follow the pointer"
    )
    page.mouse.move(5, 5)
    wait_until(page, lambda: same(picked, picture(page, "img.tvae-maps")), "W does not come back")

    page.locator("table.tvae-measures").scroll_into_view_if_needed()
    shoot(page, "compare")

    draw_a_seven(page)
    page.get_by_role("button", name="Roll it").click()
    expect(page.get_by_text("Every panel above shows it now.")).to_be_visible()
    shoot(page, "digit")

    play = page.locator(".widget-play button").first
    play.scroll_into_view_if_needed()
    before = picture(page, "img.tvae-roll")
    assert not same(before, frames_of(truth))  # the digit that was drawn
    play.focus()
    page.keyboard.press("Enter")
    end = time.monotonic() + WAIT / 1000
    while same(before, picture(page, "img.tvae-roll")):
        assert time.monotonic() < end, "Play does not move the picture"
        page.wait_for_timeout(100)
    page.keyboard.press("Enter")

    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload image").click()
    chooser.value.set_files({"name": "<7>.png", "mimeType": "image/png", "buffer": b"<svg></svg>"})
    expect(page.locator("b[role=alert]")).to_have_text(re.compile("^<7>.png is not a picture .* SVG as PNG"))

    save = page.get_by_role("button", name="Save", exact=True)
    save.scroll_into_view_if_needed()
    save.click()
    expect(page.get_by_text(re.compile("Saved: .*roll.png"))).to_be_visible()
    shoot(page, "save")
    assert said == []
    page.close()


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
