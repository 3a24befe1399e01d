"""The widgets without a browser: what they are set to is what is shown, and what cannot be is said."""

import asyncio
import dataclasses
import html
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer import app
from tvae_core.explorer.app import TABS, Explorer
from tvae_core.explorer.curves import costs, differences
from tvae_core.explorer.export import animate_own_digit
from tvae_core.explorer.opening import describe_run, open_explorer, rank_runs
from tvae_core.explorer.panel_capsules import CapsulesPanel
from tvae_core.explorer.panel_compare import ComparePanel, Untrained, through_run
from tvae_core.explorer.panel_controls import ControlsPanel
from tvae_core.explorer.panel_digit import DigitPanel, as_digit, draw_strokes
from tvae_core.explorer.panel_latents import LatentsPanel
from tvae_core.explorer.panel_roll import RollPanel
from tvae_core.explorer.panel_save import SavePanel, snippet
from tvae_core.explorer.pictures import roll_picture
from tvae_core.explorer.pixels import frame_grid, png
from tvae_core.explorer.scene import OwnDigit, RollState, encode_own_digit, open_sequence
from tvae_core.explorer.state import ExplorerState, Throttle, latency
from tvae_core.explorer.svg import LEFT, MAP, RING_SIDE, TOP
from tvae_core.training import registry
from tvae_core.training.pack import pack
from tvae_core.training.registry import open_run, register
from tvae_core.training.runs import stored_runs

SEVEN = [(60.0, 60.0), (160.0, 60.0), (110.0, 170.0)]


def parts(widget, kind):
    inner = [part for child in getattr(widget, "children", ()) for part in parts(child, kind)]
    return ([widget] if type(widget).__name__ == kind else []) + inner


def picture(frame):
    return png(frame_grid(frame.unsqueeze(0), 1))


def event(canvas, name, x, y):
    canvas._handle_frontend_event(canvas, {"event": name, "x": x, "y": y}, [])


def test_the_slider_and_play_pick_what_the_library_decodes(explorer, runs):
    controls, panel, truth = ControlsPanel(explorer), RollPanel(explorer), open_sequence(runs[0])
    assert panel.decoded.value == picture(truth.decoded)
    controls.slider.value = 2.25
    assert panel.decoded.value == picture(truth.at(2.25).decoded) and controls.play.value == 33
    controls.play.value = 0
    assert controls.slider.value == -6.0 and panel.decoded.value == picture(truth.at(-6.0).decoded)
    assert (
        panel.input.value == picture(truth.sequence.frames[6]) and "t of frame 6 rolled" in panel.words.value
    )
    assert panel.truth.value == picture(truth.sequence.frames[0])


def test_the_ring_rolls_as_far_as_it_is_dragged(explorer):
    panel = RollPanel(explorer)
    middle, before = RING_SIDE / 2, explorer.roll
    event(panel.ring_pointer, "mouse_move", middle, middle - 50)
    assert explorer.roll is before  # it is not held
    event(panel.ring_pointer, "mouse_down", middle, middle - 50)
    event(panel.ring_pointer, "mouse_move", middle + 50, middle)
    assert explorer.roll.shift == 4.5  # a quarter turn of 18 units
    event(panel.ring_pointer, "mouse_move", middle, middle - 50)
    event(panel.ring_pointer, "mouse_move", middle - 50, middle)
    assert explorer.roll.shift == -4.5
    event(panel.ring_pointer, "mouse_up", middle - 50, middle)
    event(panel.ring_pointer, "mouse_move", middle, middle - 50)
    assert explorer.roll.shift == -4.5


def test_the_ring_goes_by_the_arrow_keys_and_by_touch(explorer):
    panel, middle, start = RollPanel(explorer), RING_SIDE / 2, explorer.capsule

    def press(pointer, key):
        pressed = {"event": "key_down", "key": key, "shift_key": False, "ctrl_key": False, "meta_key": False}
        pointer._handle_frontend_event(pointer, pressed, [])

    def touch(name, *fingers):
        touches = [{"x": x, "y": y} for x, y in fingers]
        panel.ring_pointer._handle_frontend_event(panel.ring_pointer, {"event": name, "touches": touches}, [])

    for key, shift in (("ArrowRight", 0.25), ("ArrowUp", 0.5), ("ArrowLeft", 0.25), ("a", 0.25)):
        press(panel.ring_pointer, key)
        assert explorer.roll.shift == shift
    explorer.roll = explorer.roll.at(explorer.roll.sequence.shifts[0])
    press(panel.ring_pointer, "ArrowLeft")
    assert explorer.roll.shift == 11.75  # before the first roll comes the last
    explorer.roll = explorer.roll.at(0.0)
    touch("touch_start", (middle, middle - 50))
    touch("touch_move", (middle + 50, middle), (0.0, 0.0))
    touch("touch_end")
    touch("touch_move", (middle, middle - 50))
    assert explorer.roll.shift == 4.5
    press(panel.map_pointer, "ArrowDown")
    assert explorer.capsule == (start + 1) % len(explorer.roll.t)


def test_the_truth_of_held_out_frames_is_hidden_until_it_is_revealed(explorer):
    controls, panel = ControlsPanel(explorer), RollPanel(explorer)
    explorer.roll = explorer.roll.at(9.0)
    truth, said = picture(explorer.roll.sequence.frames[15]), [c.value for c in panel.tiles.captions]
    assert panel.truth.value != truth and "hidden" in said[3] and "hidden" in said[4]
    assert "nats" not in said[5]
    hidden = panel.film.still.value, panel.true.value, panel.curves.value
    controls.reveal.value = True
    revealed = panel.film.still.value, panel.true.value, panel.curves.value
    assert all(a != b for a, b in zip(hidden, revealed, strict=True))
    apart, captions = differences(explorer.roll.sequence)["roll"][15], panel.tiles.captions
    assert panel.truth.value == truth and "nats" in captions[5].value
    assert f"{apart:.2f} in the mean" in captions[4].value


def test_curves_are_the_measures_frame_by_frame(explorer):
    sequence = explorer.roll.sequence
    measures, nats = sequence.measures(), costs(sequence)
    for name, key in (("roll", "held_out"), ("not rolled", "still"), ("rolled backwards", "backwards")):
        assert nats[name][13:].mean().item() == pytest.approx(measures[f"roll_{key}"], rel=1e-5)
    assert nats["mean of seen frames"][13:].mean().item() == pytest.approx(measures["seen_mean"], rel=1e-5)
    assert explorer.roll.at(3.0).cost == pytest.approx(nats["roll"][9].item(), rel=1e-3)
    assert differences(sequence)["roll"][6] < 1e-5 < differences(sequence)["roll"][7]


def test_a_roll_is_judged_beside_its_best_control(explorer):
    panel, sequence = RollPanel(explorer), explorer.roll.sequence
    nats = costs(sequence)
    rivals = [nats[name] for name in ("not rolled", "rolled backwards", "mean of seen frames")]
    assert torch.equal(nats["best control"][7], torch.stack(rivals)[:, 7].amin())
    for frame, same in ((6, (0, 1)), (15, (1,))):  # a control that is the roll itself does not count
        left = [rival[frame] for i, rival in enumerate(rivals) if i not in same]
        assert nats["best control"][frame] == min(left)
    explorer.roll, control = explorer.roll.at(3.0), nats["best control"][9].item()
    won = explorer.roll.cost < control
    assert ("The roll is better" in panel.verdict.value) is won and f"{control:.0f}" in panel.verdict.value
    explorer.roll = explorer.roll.at(9.0)
    assert "hidden" in panel.verdict.value and "better" not in panel.verdict.value
    explorer.roll = explorer.roll.at(3.5)
    assert "Between two frames" in panel.verdict.value


def test_no_tab_hides_that_some_capsules_stand_still(explorer):
    controls, panel = ControlsPanel(explorer), RollPanel(explorer)
    assert panel.alone.layout.display == "none" and "capsule" not in controls.words.value
    explorer.roll = explorer.roll.with_capsules([1])
    assert panel.alone.layout.display is None and "Rolled: capsule 1 alone." in panel.verdict.value
    assert "capsule 1 alone rolled" in panel.tiles.captions[2].value
    assert "capsule 1 alone rolled" in controls.words.value
    panel.alone.click()
    assert explorer.roll.capsules is None and "capsule" not in controls.words.value


def test_what_stays_is_not_drawn_or_sent_again(explorer):
    ControlsPanel(explorer), (panel := RollPanel(explorer))
    explorer.roll, sent = explorer.roll.at(1.0), []
    for widget in parts(panel, "FrameImage") + parts(panel, "HTML"):
        widget.observe(lambda change, which=widget: sent.append(which), "value")
    explorer.roll = explorer.roll.at(1.25)
    still = [panel.input, panel.truth, panel.true, panel.film.still, *panel.tiles.captions[::6]]
    assert panel.decoded in sent and not [widget for widget in still if widget in sent]


def test_only_the_open_tab_draws(explorer):
    shown = Explorer(explorer)
    for place, name in enumerate(TABS):
        shown.tabs.selected_index = place
        assert shown.problem.value == "" and shown.panels[place].problem.value == "", name
    roll, latents = shown.panels[0], shown.panels[2]
    shown.tabs.selected_index = 0
    before = latents.maps[0].value
    explorer.roll = explorer.roll.at(2.0)
    assert roll.decoded.value == picture(explorer.roll.decoded) and latents.maps[0].value == before
    shown.tabs.selected_index = 2
    assert latents.maps[0].value != before


def test_the_app_is_the_notebook_shown_by_voila(explorer, monkeypatch):
    asked = []
    monkeypatch.setattr(app, "open_explorer", lambda *request: explorer)
    monkeypatch.setattr(app.sys, "argv", ["app", "--no-browser"])
    monkeypatch.setattr(app.os, "execv", lambda program, words: asked.append(words))
    app.main()
    (words,) = asked
    assert (
        words[1:3] == ["-m", "tvae_core.explorer.serve"]
        and Path(words[3]).is_file()
        and words[-1] == "--no-browser"
    )


def test_what_is_not_chosen_anew_is_kept(explorer, runs):
    controls = ControlsPanel(explorer)
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    controls.factor.value = "hue"
    controls.examples.buttons[3].click()
    assert (explorer.factor, explorer.example, explorer.roll.shift) == ("hue", 3, 1.5)
    assert explorer.roll.capsules == [0, 2] and controls.slider.value == 1.5
    assert controls.words.value.startswith("Example 3, capsules 0, 2 alone rolled.")
    controls.run.value = runs[1]
    assert (explorer.run, explorer.factor, explorer.example) == (runs[1], "hue", 3)
    assert explorer.roll.capsules is None  # capsules of another model are others
    controls.after.click()
    assert explorer.example == 3 and "Example 3" in controls.words.value  # shown, though not on the page
    controls.examples.buttons[1].click()
    assert explorer.example == 13
    controls.run.value = runs[2]
    assert explorer.roll.sequence.exp.name == "nontvae_dsprites" and controls.factor.value == "x"
    assert explorer.roll.shift == 1.5 and explorer.example == 13


def test_a_drawn_digit_stays_until_another_example_is_chosen(explorer, runs):
    controls, digit = ControlsPanel(explorer), as_digit(draw_strokes([SEVEN]))
    explorer.choose(example=digit)
    assert controls.words.value.startswith("Your own digit.")
    assert controls.examples.buttons[0].tooltip == "Your own digit"
    controls.factor.value = "scale"
    controls.run.value = runs[1]
    assert explorer.own == (digit, "scale") and explorer.run is runs[1]
    controls.examples.buttons[2].click()
    assert explorer.own is None and explorer.example == 1 and "Example 1" in controls.words.value
    controls.examples.buttons[0].click()
    assert explorer.own == (digit, "scale")
    controls.run.value = runs[2]  # which sees sprites
    assert explorer.own is None and explorer.example == 0 and controls.words.value.startswith("Example 0.")


def test_clicked_capsules_roll_alone(explorer):
    panel = CapsulesPanel(explorer)
    whole = explorer.roll.decoded_rolls
    panel.grid.buttons[4].click()
    assert explorer.roll.capsules == [4] and explorer.capsule == 4
    panel.grid.buttons[1].click()
    assert explorer.roll.capsules == [1, 4]
    explorer.roll = explorer.roll.at(2.0)
    before = panel.grid.image.value
    panel.apart.value = True
    assert panel.grid.image.value != before
    panel.grid.buttons[1].click()
    panel.grid.buttons[4].click()
    assert explorer.roll.capsules is None and torch.equal(explorer.roll.decoded_rolls, whole)


def test_a_unit_or_a_capsule_can_be_given_another_value(explorer):
    panel = LatentsPanel(explorer)
    panel.c.value, panel.d.value = 2, 5
    assert panel.value.value == pytest.approx(explorer.roll.t[2, 5].item(), abs=0.03)
    before, changed = explorer.roll.t, panel.frames[1]
    assert torch.equal(panel.edited(), before) and changed.value == picture(explorer.roll.decoded)
    panel.value.value = panel.value.max
    unit = panel.edited() - before
    panel.scope.value = "whole capsule"
    capsule = panel.edited() - before
    assert unit.nonzero().tolist() == [[2, 5]] and (capsule[2] - unit[2, 5]).abs().max() < 1e-5
    assert capsule.count_nonzero() == 18 and changed.value != picture(explorer.roll.decoded)
    panel.reset.click()
    assert torch.equal(panel.edited(), before) and changed.value == picture(explorer.roll.decoded)


def test_values_and_w_are_those_of_the_unit_under_the_pointer(explorer):
    panel = LatentsPanel(explorer)
    picked, decoded = panel.maps[3].value, panel.frames[1].value
    place = LEFT + 5.5 / 18 * MAP, TOP + 2.5 / 18 * MAP
    event(panel.pointer, "mouse_move", *place)
    assert f"Capsule 2, unit 5: t = {explorer.roll.t[2, 5]:.2f}" in panel.words.value
    assert panel.maps[3].value != picked and panel.frames[1].value == decoded and panel.c.value == 0
    event(panel.pointer, "mouse_out", *place)
    assert panel.maps[3].value == picked
    event(panel.pointer, "mouse_down", *place)
    assert (panel.c.value, panel.d.value, explorer.capsule) == (2, 5, 2)


def test_of_many_moves_the_last_is_drawn():
    done: list[int] = []

    async def move() -> None:
        later = Throttle(0.01)
        for i in range(50):
            later.call(lambda i=i: done.append(i))
        await asyncio.sleep(0.1)

    asyncio.run(move())
    assert done == [49]
    Throttle(0.01).call(lambda: done.append(0))
    assert done == [49, 0]


def test_only_runs_on_the_same_data_are_compared(explorer, runs):
    dual = EXPERIMENTS["tvae_Lpartial_rotcolor_mnist"].at_scale("smoke")
    explorer.runs.insert(1, dataclasses.replace(runs[1], exp=dual))
    panel = ComparePanel(explorer)
    offered = [value for _, value in panel.second.options]
    assert offered == [runs[1], Untrained(runs[0]), ""]
    assert (panel.second.value, panel.third.value) == (runs[1], Untrained(runs[0]))
    chance = explorer.roll.sequence.chance_of_capcorr()
    assert "CapCorr" in panel.table.value and f"chance {chance:.2f}" in panel.words.value
    explorer.choose(run=runs[2])
    assert panel.second.value == Untrained(runs[2]) and panel.third.value == ""


def test_all_models_roll_the_same_capsules(explorer, runs):
    panel = ComparePanel(explorer)
    explorer.roll = explorer.roll.at(-6.0)  # which a VAE by itself, with l0 = 0, does not reach
    assert panel.problem.value == ""
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    others = [through_run(explorer.roll, other).at(1.5) for other in (runs[1], Untrained(runs[0]))]
    assert others[0].capsules == [0, 2]
    assert not torch.equal(others[0].decoded_rolls, others[0].with_capsules(None).decoded_rolls)
    truth = [explorer.roll.sequence.frames[explorer.roll.frame], explorer.roll.decoded]
    assert [image.value for image in panel.frames] == [
        picture(frame) for frame in (*truth, *(other.decoded for other in others))
    ]


def executed_alone_makes_it_again(code, path):
    content = path.read_bytes()
    path.unlink()
    exec(compile(code, "snippet", "exec"), {})
    assert path.read_bytes() == content


def test_a_digit_of_ones_own_is_saved_with_code_that_makes_it_again(explorer, tmp_path):
    pad, panel = DigitPanel(explorer), SavePanel(explorer, tmp_path)
    (upload,) = parts(pad, "FileUpload")
    paper = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(paper).line(SEVEN, 0, 18)
    explorer.choose(factor="hue")
    file = {"name": "seven.png", "type": "image/png", "size": 1, "content": memoryview(png(paper))}
    upload.value = [{**file, "last_modified": datetime.now(UTC)}]
    assert "Every tab shows it" in pad.words.value and explorer.own.factor == "hue" and explorer.tab == 0
    explorer.roll = explorer.roll.with_capsules([0, 2]).at(1.5)
    parts(panel, "Button")[0].click()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["roll-digit.png", "roll.png"]
    assert (tmp_path / "roll.png").read_bytes() == png(roll_picture(explorer.roll), 9)
    executed_alone_makes_it_again(snippet(explorer, tmp_path, "roll.png"), tmp_path / "roll.png")
    with pytest.raises(ValueError, match=r"has .* pixels, but a digit has 28 × 28"):
        animate_own_digit(explorer.run, tmp_path / "roll.png", "hue")
    explorer.choose(factor="rotation", example=1)
    assert explorer.own is None and "animate(run, [1]" in snippet(explorer, tmp_path, "roll.png")


@pytest.mark.parametrize("panel", [RollPanel, LatentsPanel, ComparePanel])
def test_an_error_nobody_thought_of_is_said_and_its_traceback_kept(panel, explorer, monkeypatch, caplog):
    widget = panel(explorer)

    def broken(*_):
        raise RuntimeError("planted < here\nand more")

    with monkeypatch.context() as planted:
        planted.setattr(RollState, "frame", property(broken))
        explorer.roll = explorer.roll.at(1.5)
    said = widget.problem.value
    assert said.startswith('<b role="alert">RuntimeError: planted &lt; here. This is a fault of the program;')
    assert "in broken" in caplog.text and "Traceback" in caplog.text
    explorer.roll = explorer.roll.at(1.75)
    assert widget.problem.value == ""


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
    explorer.choose(example=as_digit(draw_strokes([SEVEN])))
    panel.button.click()
    assert "roll.png is a folder; give the name of a file in it" in panel.problem.value
    panel.name.value = "x" * 300
    panel.button.click()
    assert "File name too long" in panel.problem.value
    assert list(tmp_path.rglob("*")) == [tmp_path / "roll.png"]


def test_nothing_is_replaced_without_being_asked(explorer, tmp_path):
    panel, path = SavePanel(explorer, tmp_path), tmp_path / "roll.png"
    path.write_bytes(b"mine")
    panel.button.click()
    assert path.read_bytes() == b"mine" and "roll.png is there already" in panel.words.value
    panel.name.value = "other"
    assert panel.button.description == "Save"
    panel.name.value = "roll"
    panel.button.click()
    panel.button.click()
    assert path.read_bytes() == png(roll_picture(explorer.roll), 9) and panel.button.description == "Save"
    assert 'download="roll.png"' in panel.words.value and "Copy the code" in panel.code.value


def test_the_best_run_is_opened_and_its_numbers_are_printed(runs, capsys):
    folder = runs[0].folder.parent
    run = open_explorer([], "smoke", runs=str(folder)).run
    assert run.folder == rank_runs(stored_runs(folder))[0].folder
    said = capsys.readouterr().out
    opened = f"Opened {describe_run(run)}, the best of 3 runs\nMeans of the test split, nats/frame: "
    assert opened in said
    assert "A smoke run shows noise" in said and f"tvae --name '{run.label}' --scale" in said


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
    with pytest.raises(ValueError, match="does not see digits"):
        encode_own_digit(runs[2], OwnDigit(digit, "rotation"))
