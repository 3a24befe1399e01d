"""The page that computes: its numbers beside the library's, in Chromium, from disk, offline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tvae_core.cli import main
from tvae_core.data.mnist import DigitSequences
from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer import live
from tvae_core.explorer.live import check_live, frame_changes, live_page, save_live_page, with_int8_weights
from tvae_core.explorer.scene import encode_sequence
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.training.runs import plan
from tvae_core.training.trainer import fit

# The page sums in float64 what the library sums in float32.
FRAMES, T, LOGITS = 1e-5, 1e-4, 1e-3  # largest differences: of a pixel; and as shares of the largest value


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small model, hardly trained: 3 capsules of 18 units."""
    few = {"n_caps": 3, "max_steps": 2, "eval_sequences": 4}
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("smoke").with_options(**few)
    return fit(exp, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    return save_live_page(run, tmp_path_factory.mktemp("page") / "roll.html", [3, 5])


@pytest.fixture(scope="module")
def page(browser, path):
    """The page of that model on a phone without a network; what it asked for and complained of is kept."""
    context = browser.new_context(offline=True, viewport={"width": 400, "height": 800}, has_touch=True)
    page = context.new_page()
    page.said, page.asked = [], []
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    wait(page)
    yield page
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def wait(page, condition="true"):
    """Wait until the condition holds and all is shown."""
    page.wait_for_function(f"() => working === 0 && sequence && ({condition})")


def array(page, expression, *shape):
    return torch.tensor(page.evaluate(f"Array.from({expression})")).view(shape)


def encoded(run, sequences, image, varied):
    model = with_int8_weights(run.model)
    return encode_sequence(run.exp, model, sequences.sequence(torch.tensor([image]), varied))


def share(found, true):
    return ((found - true).abs().max() / true.abs().max()).item()


def moved(page, shift):
    """Roll to a shift and wait until it is shown."""
    page.evaluate(f"turnTo({shift})")
    wait(page)


@pytest.mark.browser
def test_what_a_pack_says_of_itself_is_shown_and_never_run(browser, run, tmp_path):
    """Its provenance, and what its transformations are called, as whoever made it has written them."""
    hostile = "'\"></script><script>document.hit = 1</script><img src=x onerror='document.hit = 1'>"
    told = replace(run)
    told.__dict__.update(model=run.model, provenance={"data": hostile})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "title_of", lambda *_: hostile)
        patch.setattr(live, "run_title", lambda _: hostile)
        path = save_live_page(told, tmp_path / "roll.html", [3])
    page = browser.new_page()
    page.goto(path.as_uri())
    wait(page)
    assert page.evaluate("[document.hit ?? 0, document.images.length]") == [0, 0]
    assert hostile in page.inner_text("body") and page.title().endswith(hostile)
    page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", hostile)
    page.wait_for_function("() => document.hit === 1")  # a page that did run it would be seen
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("kind, varied", [("single", 0), ("single", 1), ("single", 2), ("perspective", 0)])
def test_the_page_encodes_what_the_library_encodes(page, run, kind, varied):
    digits = run.exp.load_images()
    sequences = DigitSequences(digits, "test", run.exp.seed, kind)
    true = encoded(run, sequences, 7, varied)
    digit = (sequences.images[7].float() / 255).flatten().tolist()
    given = {"digit": digit, "move": frame_changes(sequences, varied)}
    page.evaluate("async (given) => { window.found = await ask('encode', given); }", given)
    frames = array(page, "found.frames", 18, 3, 28, 28)
    assert (frames - true.frames).abs().max() < FRAMES
    assert share(array(page, "found.t", 18, 3, 18), true.t) < T


@pytest.mark.browser
def test_the_page_rolls_and_decodes_as_the_library_does(page, run):
    true = encoded(run, run.data.test, 3, 0)
    moved(page, 0)
    page.get_by_label("Roll δ").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait(page, "decoded.shift === 1.25")
    t = true.roll_capsules([1.25])
    assert share(array(page, "decoded.t", 1, 3, 18), t) < T
    with torch.inference_mode():
        logits = true.model.logits(t.unsqueeze(0))[0]
        rolled = true.model.traverse(true.t.unsqueeze(0), run.exp.anchor)
        cost = negative_log_likelihood(rolled, true.batch.x)[0, run.exp.held_out].mean().item()
    assert share(array(page, "decoded.logits", 1, 3, 28, 28), logits) < LOGITS
    assert page.evaluate("sequence.heldOutCost") == pytest.approx(cost, rel=LOGITS)
    assert page.get_by_label("Roll δ").get_attribute("aria-valuetext") == "roll +1.25, frame 7"
    moved(page, 8)
    assert page.locator("#tag").inner_text() == ", unseen"
    hidden = page.get_by_label("hide true frames")
    hidden.check()
    assert [page.locator(name).is_visible() for name in ("#true-frame", "#decoded-frame")] == [False, True]
    hidden.uncheck()
    assert page.locator("#true-frame").is_visible()


@pytest.mark.browser
def test_a_ring_turns_one_capsule_and_a_unit_can_be_changed(page, run):
    true = encoded(run, run.data.test, 3, 0)
    moved(page, 0)
    page.evaluate("$('which').value = 1; $('which').dispatchEvent(new Event('change'))")
    page.get_by_label("turn it alone").check()
    page.get_by_label("Ring of the units").scroll_into_view_if_needed()
    box = page.get_by_label("Ring of the units").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y - 40)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=9)  # a quarter of the ring: 4.5 units
    page.mouse.up()
    wait(page, "state.own[1] >= 4.25")
    turn = page.evaluate("state.own[1]")
    assert 4.25 <= turn <= 4.5 and page.evaluate("state.shift") == 0
    assert share(array(page, "decoded.t", 1, 3, 18), true.roll_capsules([turn], [1])) < T

    page.get_by_role("button", name="Reset").click()
    page.evaluate("$('unit').value = 4; $('unit').dispatchEvent(new Event('change'))")
    page.evaluate("$('value').value = 0; $('value').dispatchEvent(new Event('input'))")
    moved(page, 2)
    edited = true.t[run.exp.anchor].clone()
    edited[1, 4] = page.evaluate("+$('value').value")
    found = array(page, "decoded.t", 3, 18)
    assert share(found, edited.roll(2, -1)) < T < share(found, true.roll_capsules([2.0])[0])
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("turn it alone").uncheck()


@pytest.mark.browser
def test_the_ring_is_dragged_by_touch_and_every_control_is_reached_by_tab(page):
    moved(page, 0)
    page.get_by_label("Ring of the units").scroll_into_view_if_needed()
    box = page.get_by_label("Ring of the units").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tools = page.context.new_cdp_session(page)

    def touch(kind, *points):
        given = {"type": kind, "touchPoints": [{"x": x + right, "y": y + down} for right, down in points]}
        tools.send("Input.dispatchTouchEvent", given)

    before = page.evaluate("scrollY")
    touch("touchStart", (0, -40))
    for step in range(1, 10):
        touch("touchMove", (40 * step / 9, -40 + 40 * step / 9))
    touch("touchEnd")
    wait(page, "state.shift >= 4.25")  # a quarter of the ring: 4.5 units
    assert page.evaluate("state.shift") <= 4.5 and page.evaluate("scrollY") == before

    page.get_by_label("Transformation").focus()
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        found = tools.send("Runtime.evaluate", {"expression": "document.activeElement"})["result"]
        if page.evaluate("document.activeElement === document.body"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", names
        asked = {"objectId": found["objectId"], "fetchRelatives": False}
        names.append(tools.send("Accessibility.getPartialAXTree", asked)["nodes"][0]["name"]["value"])
    controls = "Digit 1 of the test split", "Clear", "Play", "Roll δ", "Ring of the units of one capsule"
    controls += "Capsule", "unit", "Reset", "turn it alone", "hide true frames that t never saw: guess first"
    assert set(controls) < set(names) and all(names) and len(names) < 30, names


@pytest.mark.browser
def test_a_drawn_digit_is_encoded(page, run):
    pad = page.get_by_label("Pad: draw a digit")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.evaluate("window.before = sequence")
    for i, (x, y) in enumerate([(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        page.mouse.down() if i == 0 else None
    page.mouse.up()
    wait(page, "sequence !== before")
    digit = array(page, "state.digit", 28, 28)
    rows, columns = (np.flatnonzero(digit.amax(axis).numpy()) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20 and digit.max() == 1
    mass = digit / digit.sum()
    centre = [(mass.sum(axis) * torch.arange(28)).sum().item() for axis in (0, 1)]
    assert centre == pytest.approx([13.5, 13.5], abs=0.51)
    moved(page, 0)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => state.shift > 0.5")
    page.get_by_role("button", name="Pause").click()


def test_a_page_says_what_it_carries(run, path):
    text = path.read_text(encoding="utf-8")
    assert run.provenance["data"] in text and "nats/frame, " in text and "smoke · seed 2" in text
    assert text == live_page(run, [3, 5]) and len(text) < 2e6


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("tvae_Lpartial_dsprites", "it does not see digits"),
        ("tvae_2d_mnist", "it sees single frames"),
        ("tvae_Lpartial_mnist boundary=zero", "its boundary is zero"),
        ("tvae_Lpartial_mnist likelihood=gaussian", "its likelihood is gaussian"),
    ],
)
def test_a_model_that_the_page_cannot_compute_is_refused_before_training(name, sentence, capsys, tmp_path):
    out = tmp_path / "roll.html"
    words = ["export", "--live", "--scale", "smoke", "--runs", str(tmp_path), "--out", str(out)]
    assert main([*words, "--name", name]) == 2
    assert sentence in capsys.readouterr().err
    assert main([*words[:-1], str(out.with_suffix(".gif")), "--name", "tvae_Lpartial_mnist"]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert main([*words, "--name", "tvae_Lpartial_mnist", "--roll", "2"]) == 2
    assert "goes with no --transformation, --capsules or --roll" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_not_there_is_refused(run):
    with pytest.raises(ValueError, match="image 500 is not one of 0 to 499"):
        check_live(plan(run.exp), Path("roll.html"), [0, 500])
