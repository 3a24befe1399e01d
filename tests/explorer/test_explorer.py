"""The widgets without a browser: what they are set to is what is shown, and what cannot be is said."""

import asyncio
import html
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from tvae_core.explorer.export import animate_own_digit
from tvae_core.explorer.panel_compare import ComparePanel, through_run
from tvae_core.explorer.panel_digit import DigitPanel, as_digit, draw_strokes
from tvae_core.explorer.panel_latents import UNIT, LatentsPanel
from tvae_core.explorer.panel_roll import ChoosePanel, RollPanel
from tvae_core.explorer.panel_save import SavePanel, snippet
from tvae_core.explorer.pictures import frames_of_models, roll_frames, roll_picture, timeline_of
from tvae_core.explorer.pixels import LINE, png, side_by_side
from tvae_core.explorer.scene import OwnDigit, RollState, encode_own_digit, open_sequence
from tvae_core.explorer.state import Debounce, ExplorerState, describe_run, latency, open_explorer, rank_runs
from tvae_core.training import registry
from tvae_core.training.pack import pack
from tvae_core.training.registry import open_run, register
from tvae_core.training.runs import stored_runs

SEVEN = [(60.0, 60.0), (160.0, 60.0), (110.0, 170.0)]


def parts(widget, kind):
    inner = [part for child in getattr(widget, "children", ()) for part in parts(child, kind)]
    return ([widget] if type(widget).__name__ == kind else []) + inner


def shown(panel):
    """The pictures of a FrameDisplay: frames, timeline, playhead."""
    return [picture.value for picture in parts(panel, "Image")]


def images(frames, rolls):
    timeline = timeline_of(rolls)
    return [png(side_by_side(frames)), png(timeline.still), png(timeline.playhead(rolls[0].position))]


def test_the_slider_picks_what_the_library_decodes(explorer, runs):
    panel = RollPanel(explorer)
    (slider,), (play,) = (parts(panel, kind) for kind in ("FloatSlider", "Play"))
    truth = open_sequence(runs[0])

    def agrees(roll) -> bool:
        return shown(panel) == images(roll_frames(roll), [roll])

    assert agrees(truth)
    slider.value = 2.25
    assert agrees(truth.at(2.25)) and play.value == 33
    play.value = 0
    assert slider.value == -6.0 and agrees(truth.at(-6.0))
    (capsules,) = parts(panel, "Text")
    capsules.value = "1, 4-5"
    assert agrees(truth.with_capsules([1, 4, 5]).at(-6.0)) and not agrees(truth.at(-6.0))
    capsules.value = "18"
    assert (
        html.escape("capsules '18' names 18, but there are 18, from 0 to 17") in parts(panel, "HTML")[1].value
    )


def test_what_stays_is_not_drawn_or_sent_again(explorer):
    panels, sent = [RollPanel(explorer), LatentsPanel(explorer), ComparePanel(explorer)], []
    for i, panel in enumerate(panels):
        for j, picture in enumerate(parts(panel, "Image")):
            picture.observe(lambda change, which=(i, j): sent.append(which), "value")
    explorer.roll = explorer.roll.at(0.25)
    assert sent == [
        (0, 0),
        (0, 2),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 2),
    ]  # neither a timeline nor the maps of the same frame


def test_another_run_or_image_is_shown_by_every_panel(explorer, runs):
    chooser, pictures = (
        ChoosePanel(explorer),
        [parts(panel(explorer), "Image")[0] for panel in (RollPanel, LatentsPanel, ComparePanel)],
    )
    before = [picture.value for picture in pictures]
    parts(chooser, "BoundedIntText")[0].value = 3
    assert all(picture.value != old for picture, old in zip(pictures, before, strict=True))
    parts(chooser, "BoundedIntText")[0].value = 10**5
    assert "is not one of 0 to" in parts(chooser, "HTML")[0].value and explorer.image == 3
    parts(chooser, "BoundedIntText")[0].value = 1
    parts(chooser, "Dropdown")[0].value = runs[2]
    assert (
        explorer.roll.sequence.exp.name == "nontvae_dsprites" and parts(chooser, "Dropdown")[1].value == "x"
    )


def test_a_unit_can_be_given_another_value(explorer):
    panel = LatentsPanel(explorer)
    (*_, picture), (slider,) = parts(panel, "Image"), parts(panel, "FloatSlider")
    c, d = parts(panel, "BoundedIntText")
    c.value, d.value = 2, 5
    assert slider.value == pytest.approx(explorer.roll.t[2, 5].item(), abs=0.01)
    before = picture.value
    slider.value = slider.max
    assert picture.value != before
    parts(panel, "Button")[0].click()
    assert picture.value == before


def test_w_is_that_of_the_unit_under_the_pointer(explorer):
    panel = LatentsPanel(explorer)
    (canvas,), (_, maps, frames) = parts(panel, "Canvas"), parts(panel, "Image")
    c, d = parts(panel, "BoundedIntText")
    picked, decoded = maps.value, frames.value

    def event(name, x, y):
        canvas._handle_frontend_event(canvas, {"event": name, "x": x, "y": y}, [])

    place = 1 + 5.5 * UNIT, LINE + 2.5 * UNIT
    event("mouse_move", *place)
    assert maps.value != picked and frames.value == decoded and (c.value, d.value) == (0, 0)
    event("mouse_out", *place)
    assert maps.value == picked
    event("mouse_down", *place)
    assert (c.value, d.value) == (2, 5)


def test_of_many_moves_the_last_is_drawn():
    done: list[int] = []

    async def move() -> None:
        later = Debounce(0.01)
        for i in range(50):
            later.call(lambda i=i: done.append(i))
        await asyncio.sleep(0.1)

    asyncio.run(move())
    assert done == [49]
    Debounce(0.01).call(lambda: done.append(0))
    assert done == [49, 0]


def test_what_another_run_cannot_see_is_said(explorer, runs):
    panel = ComparePanel(explorer)
    (second,) = parts(panel, "Dropdown")
    second.value = runs[1]
    said, table, about = (words.value for words in parts(panel, "HTML"))
    assert said == "" and "CapCorr" in table
    chance = explorer.roll.sequence.chance_of_capcorr()
    assert 0 < chance < 0.5 and "over the 18 starts of this sequence" in about
    assert f"chance {chance:.2f}" in about
    second.value = runs[2]
    assert "are not one sequence" in parts(panel, "HTML")[0].value
    assert panel.table.layout.display == panel.display.layout.display == "none"
    second.value = runs[1]
    assert panel.table.layout.display is panel.display.layout.display is None


def test_both_models_roll_the_same_capsules(explorer, runs):
    panel = ComparePanel(explorer)
    parts(panel, "Dropdown")[0].value = runs[1]
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    other = through_run(explorer.roll, runs[1])
    assert other.capsules == [0, 2]
    assert not torch.equal(other.decoded_rolls, other.with_capsules(None).decoded_rolls)
    both = [explorer.roll, other]
    assert shown(panel) == images(frames_of_models(both), both)


def executed_alone_makes_it_again(code, path):
    content = path.read_bytes()
    path.unlink()
    exec(compile(code, "snippet", "exec"), {})
    assert path.read_bytes() == content


def test_a_digit_of_ones_own_is_saved_with_code_that_makes_it_again(explorer, tmp_path):
    pad, panel = DigitPanel(explorer), SavePanel(explorer, tmp_path)
    (upload,), (factor,) = parts(pad, "FileUpload"), parts(pad, "Dropdown")
    paper = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(paper).line(SEVEN, 0, 18)
    factor.value = "hue"
    file = {"name": "seven.png", "type": "image/png", "size": 1, "content": memoryview(png(paper))}
    upload.value = [{**file, "last_modified": datetime.now(UTC)}]
    assert "Every panel above" in parts(pad, "HTML")[1].value and explorer.own.factor == "hue"
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    parts(panel, "Button")[0].click()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["roll-digit.png", "roll.png"]
    assert (tmp_path / "roll.png").read_bytes() == png(roll_picture(explorer.roll), 9)
    executed_alone_makes_it_again(snippet(explorer, tmp_path, "roll.png"), tmp_path / "roll.png")
    with pytest.raises(ValueError, match=r"has .* pixels, but a digit has 28 × 28"):
        animate_own_digit(explorer.run, tmp_path / "roll.png", "hue")
    explorer.choose(explorer.run, 1, "rotation")
    assert explorer.own is None and "animate(run, [1]" in snippet(explorer, tmp_path, "roll.png")


@pytest.mark.parametrize("panel, where", [(RollPanel, 1), (LatentsPanel, 0), (ComparePanel, 0)])
def test_an_error_nobody_thought_of_is_said_and_its_traceback_kept(
    panel, where, explorer, monkeypatch, caplog
):
    widget = panel(explorer)

    def broken(*_):
        raise RuntimeError("planted < here\nand more")

    with monkeypatch.context() as planted:
        planted.setattr(RollState, "frame", property(broken))
        explorer.roll = explorer.roll.at(1.5)
    said = parts(widget, "HTML")[where].value
    assert said.startswith('<b role="alert">RuntimeError: planted &lt; here. This is a fault of the program;')
    assert "in broken" in caplog.text and "Traceback" in caplog.text
    explorer.roll = explorer.roll.at(1.75)
    assert parts(widget, "HTML")[where].value == ""


def test_what_is_saved_comes_with_code_that_makes_it_again(explorer, tmp_path):
    panel = SavePanel(explorer, tmp_path)
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    parts(panel, "Button")[0].click()
    assert (tmp_path / "roll.png").read_bytes() == png(roll_picture(explorer.roll), 9)
    executed_alone_makes_it_again(snippet(explorer, tmp_path, "roll.png"), tmp_path / "roll.png")
    parts(panel, "Text")[0].value = "../roll"
    parts(panel, "Button")[0].click()
    assert "is not the name of a file" in parts(panel, "HTML")[0].value
    assert set(latency(explorer)) == {"median", "slowest"}


NAMES = {
    'my "best" roll': 'my "best" roll',
    "it's one\\two": "it's one\\two",
    "{x} ü ⟲ <b>": "{x} ü ⟲ <b>",
    "roll.png": "roll",
    " Roll.PNG ": "Roll",
    "roll.gif": "roll",  # the format is what was chosen beside the name
    "v1.2": "v1.2",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_name_that_was_typed_and_its_code_runs(explorer, tmp_path, name):
    panel = SavePanel(explorer, tmp_path / 'a "folder"')
    panel.name.value = name
    panel.button.click()
    assert panel.problem.value == ""
    (path,) = panel.folder.iterdir()
    assert path.name == f"{NAMES[name]}.png" and html.escape(str(path)) in panel.words.value
    executed_alone_makes_it_again(snippet(explorer, panel.folder, path.name), path)


@pytest.mark.parametrize("name", ["", "  ", ".png", ".hidden", "..", "../roll", "a/roll", "/roll"])
def test_what_is_no_name_of_a_file_is_refused(explorer, tmp_path, name):
    panel = SavePanel(explorer, tmp_path)
    panel.name.value = name
    panel.button.click()
    assert f"{html.escape(repr(name.strip()))} is not the name of a file" in panel.problem.value
    assert not list(tmp_path.iterdir()) and panel.words.value == ""


def test_what_cannot_be_written_leaves_nothing(explorer, tmp_path):
    (tmp_path / "roll.png").mkdir()
    panel = SavePanel(explorer, tmp_path)
    explorer.show(OwnDigit(as_digit(draw_strokes([SEVEN])), "hue"))
    panel.button.click()
    assert "roll.png is a folder; give the name of a file in it" in panel.problem.value
    panel.name.value = "x" * 300
    panel.button.click()
    assert "File name too long" in panel.problem.value
    assert list(tmp_path.rglob("*")) == [tmp_path / "roll.png"]


def test_capsules_are_bounded_by_those_there_are(explorer):
    panel, before = RollPanel(explorer), explorer.roll
    for text in ("0-9999999", "0-999999999999", "5,17-18", "99"):
        panel.capsules.value = text
        last = text.replace("-", ",").split(",")[-1]
        assert (
            html.escape(f"capsules '{text}' names {last}, but there are 18, from 0 to 17")
            in panel.problem.value
        )
        assert explorer.roll is before


def test_the_best_run_is_opened_and_its_numbers_are_printed(runs, capsys):
    folder = runs[0].folder.parent
    run = open_explorer([], "smoke", runs=str(folder)).run
    assert run.folder == rank_runs(stored_runs(folder))[0].folder
    said = capsys.readouterr().out
    assert f"Opened {describe_run(run)}, the best of 3 runs\nnats/frame: reconstruction " in said
    assert "A smoke run shows noise" in said


@pytest.fixture
def packs(runs, tmp_path, monkeypatch):
    """A folder of two packs in place of the repository's, one of them damaged."""
    folder = tmp_path / "packs"
    monkeypatch.setattr("tvae_core.training.pack.COST_SEQUENCES", 2)
    for name, run in (("good", runs[0]), ("bad", runs[1])):
        pack(run, folder / f"{name}.tvae")
        register(folder / f"{name}.tvae")
    (folder / "bad.tvae").write_bytes((folder / "bad.tvae").read_bytes()[:-8])
    monkeypatch.setattr(registry, "PACKS", folder)
    return folder


def test_where_no_run_is_the_packs_of_the_repository_are_opened(packs, runs, tmp_path, capsys, caplog):
    explorer = open_explorer([], "smoke", runs=str(tmp_path / "no runs"))
    assert [run.folder.name for run in explorer.runs] == [
        "good.tvae"
    ] and "pack bad is left out" in caplog.text
    assert f"It is a pack, {packs / 'good.tvae'}" in capsys.readouterr().out
    panel = SavePanel(explorer, tmp_path / "saved")
    explorer.roll = explorer.roll.at(1.5)
    panel.button.click()
    saved = tmp_path / "saved" / "roll.png"
    assert saved.read_bytes() == png(roll_picture(open_sequence(open_run("good")).at(1.5)), 9)
    executed_alone_makes_it_again(snippet(explorer, tmp_path / "saved", "roll.png"), saved)
    named = open_explorer([], "smoke", runs=str(packs / "good.tvae"))
    assert [run.folder for run in named.runs] == [packs / "good.tvae"]
    own = open_explorer([], "smoke", runs=str(runs[0].folder.parent))
    assert all(run.folder.is_dir() for run in own.runs)


def copied(run, folder, name):
    return Path(shutil.copytree(run.folder, folder / name))


SPOILT = {  # a file; None: gone, a number: so many bytes are left of it, a pair: a text replaced
    "no config": ("config.json", None),
    "an experiment that is gone": ("config.json", ("tvae_Lpartial_mnist", "tvae_renamed")),
    "an option that is gone": ("config.json", ('"name":', '"gone": 1, "name":')),
    "config cut short": ("config.json", 100),
    "config of another kind": ("config.json", "[1, 2]"),
    "results cut short": ("results.json", 100),
    "results of another version": ("results.json", "{}"),
    "results of another kind": ("results.json", "[]"),
    "checkpoint cut in half": ("checkpoint.safetensors", 1_000_000),
    "checkpoint empty": ("checkpoint.safetensors", 0),
    "no checkpoint": ("checkpoint.safetensors", None),
}


def spoil(path, how):
    """Leave a file as an older version, a full disk or an interrupted copy does."""
    if how is None:
        path.unlink()
    elif isinstance(how, int):
        path.write_bytes(path.read_bytes()[:how])
    else:
        path.write_text(path.read_text().replace(*how) if isinstance(how, tuple) else how)


@pytest.mark.parametrize("what", SPOILT)
def test_one_bad_run_never_closes_the_explorer(runs, tmp_path, what, caplog):
    good, bad = copied(runs[0], tmp_path, "good"), copied(runs[0], tmp_path, "bad")
    file, how = SPOILT[what]
    spoil(bad / file, how)
    explorer = open_explorer([], "smoke", runs=str(tmp_path))
    assert [run.folder for run in explorer.runs] == [good]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("run bad is left out: ") and "\n" not in line


def test_a_run_whose_weights_are_damaged_is_left_out_when_it_is_opened(runs, tmp_path, caplog):
    good, bad = copied(runs[1], tmp_path, "good"), copied(runs[0], tmp_path, "bad")  # which would be opened
    content = bytearray((bad / "checkpoint.safetensors").read_bytes())
    content[-100:] = bytes(100)
    (bad / "checkpoint.safetensors").write_bytes(content)
    explorer = open_explorer([], "smoke", runs=str(tmp_path))
    assert [run.folder for run in explorer.runs] == [good] and "run bad is left out" in caplog.text


def test_no_run_at_all_is_said():
    with pytest.raises(ValueError, match="no run of sequences"):
        ExplorerState([])


def test_a_drawing_becomes_a_digit_whatever_its_place_and_paper():
    digit = as_digit(draw_strokes([SEVEN]))
    moved = as_digit(draw_strokes([[(x + 30, y - 20) for x, y in SEVEN]]))
    assert (digit.int() - moved.int()).abs().max() <= 40 and digit.shape == (28, 28)
    weight = digit.double() / digit.sum()
    for axis in (0, 1):
        assert abs((weight.sum(1 - axis) * torch.arange(28)).sum() - 13.5) <= 0.6
    paper = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(paper).line(SEVEN, 0, 18)
    assert as_digit(paper).double().mean().item() == pytest.approx(digit.double().mean().item(), rel=0.2)
    with pytest.raises(ValueError, match="the picture is empty"):
        as_digit(draw_strokes([]))


def test_a_digit_of_ones_own_walks_through_the_transformation(runs):
    digit = as_digit(draw_strokes([SEVEN]))
    scene = encode_own_digit(runs[0], OwnDigit(digit, "rotation"))
    assert ((scene.frames[0, 0] > 0.5) == (digit > 127)).float().mean() > 0.98  # it is drawn at scale 0.99
    assert scene.batch.factors[0, :, 0].tolist() == list(range(18))
    with pytest.raises(ValueError, match="sees sprites"):
        encode_own_digit(runs[2], OwnDigit(digit, "rotation"))
