"""What is taken along: every format, the same for the same run, or one sentence and no file."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tvae_core import cli
from tvae_core.cli import main
from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.export import FORMATS, Animation, capsule_maps, export, page, save_page
from tvae_core.explorer.pictures import animation_picture, roll_frames, roll_picture
from tvae_core.explorer.pixels import frame_grid, sheet, side_by_side, signed
from tvae_core.explorer.scene import encode_sequence
from tvae_core.explorer.svg import Curve, chart, film, heat_map, ring, unit_at
from tvae_core.plotting.strips import Strip
from tvae_core.validation import parse_numbers

EXP = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("smoke")


@pytest.fixture(scope="module")
def rolls():
    model, sequences = EXP.build_model(0).eval(), EXP.build_sequences("test", 0)
    batches = [sequences.sequence(torch.tensor([i]), i) for i in (0, 1)]
    return [encode_sequence(EXP, model, batch, f"turn {i}").roll() for i, batch in enumerate(batches)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_written_whole_and_reads_back(rolls, suffix, tmp_path):
    path = export(Animation("two & two", rolls), tmp_path / f"roll{suffix}", 2.25)
    assert [file.name for file in tmp_path.iterdir()] == [f"roll{suffix}"]
    content = path.read_bytes()
    if suffix in (".gif", ".png"):
        with Image.open(io.BytesIO(content)) as image:
            assert getattr(image, "n_frames", 1) == (72 if suffix == ".gif" else 1)
    if suffix == ".mp4":
        assert content[4:8] == b"ftyp"
    else:
        assert export(Animation("two & two", rolls), tmp_path / f"roll{suffix}", 2.25).read_bytes() == content


def test_an_animation_keeps_the_colours_of_all_its_frames(rolls, tmp_path):
    path = export(Animation("two & two", rolls), tmp_path / "roll.gif")
    steps = len(rolls[0].sequence.shifts)
    with Image.open(path) as image:
        for step in range(0, steps, 6):
            image.seek(step)
            shown, true = (
                np.asarray(i.convert("RGB"), dtype=int) for i in (image, animation_picture(rolls, step))
            )
            inside = true.max(2) - true.min(2) > 60  # coloured pixels
            assert np.abs(shown - true)[inside].mean() < 20


class Structure(HTMLParser):
    """The tags of a page and the names of their attributes, and what its scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, *[name for name, _ in attributes]))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.found.append(data)


HOSTILE = """'"></script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"""


def test_names_change_nothing_of_a_page_but_its_words(rolls):
    """Such as the names of factors, which whoever made the sequences or the pack has chosen."""

    def made(word):
        named = [replace(roll, sequence=replace(roll.sequence, title=word)) for roll in rolls]
        return page([Animation(word, named)], word)

    assert Structure(made(HOSTILE)).found == Structure(made("hue")).found
    assert Structure(made("hue").replace("hue", HOSTILE)).found != Structure(made("hue")).found


def test_a_page_holds_all_it_shows(rolls, tmp_path):
    text = page([Animation("two & two", rolls)], "Rolls")
    assert "two &amp; two" in text and text.count("data:image/png;base64,") == 8
    assert "http" not in text.replace("http-equiv", "") and len(text) < 10e6
    save_page([Animation("two & two", rolls)], tmp_path, "fig", "Rolls")
    assert (tmp_path / "fig.html").read_text(encoding="utf-8") == text


def test_the_maps_of_a_page_show_the_capsule_that_changes_most_and_its_rolls(rolls):
    sequence = rolls[0].sequence
    still = sequence.t.mean(0, keepdim=True).repeat(18, 1, 1)
    still[:, 5] += torch.stack([torch.arange(18.0).roll(l) for l in range(18)])  # noqa: E741
    moving = replace(sequence, t=still).roll()
    capsule, true, rolled = capsule_maps(moving)
    assert capsule == 5 and true.shape == rolled.shape == (1, 3, 18, 18)
    anchor = sequence.exp.anchor
    assert torch.equal(true[0, :, anchor], rolled[0, :, anchor])
    assert not torch.equal(true, capsule_maps(rolls[0])[1])
    assert capsule_maps(moving.with_capsules([2, 4]))[0] in (2, 4)


def test_another_suffix_is_refused(rolls, tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.gf' is not one of \.html, .*; did you mean '\.gif'"):
        export(Animation("", rolls), tmp_path / "roll.gf")
    with pytest.raises(ValueError, match=r"roll 0\.1 is not one of"):
        export(Animation("", rolls), tmp_path / "roll.png", 0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--out", "roll.jpg"], "suffix '.jpg' is not one of .html, .gif, .png, .mp4"),
        (["--out", "roll.gif", "--images", "1,b"], "images '1,b' is not a list of whole numbers"),
        (["--out", "roll.gif", "--capsules", "5-3"], "capsules '5-3' is not a list of whole numbers"),
    ],
)
def test_the_command_refuses_in_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--name", "tvae_Lpartial_mnist", "--scale", "smoke", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


OUT = ["export", "--name", "tvae_Lpartial_mnist", "--scale", "smoke", "--out"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["d.png"], "d.png is a folder; give the name of a file in it"),
        (["d.png/"], "d.png is a folder"),
        (["text/roll.png"], "text is not a folder"),
        (["roll"], "suffix '' is not one of .html, .gif, .png, .mp4"),
        (["roll.gif", "--capsules", "0-99999999999"], "names more than 10,000"),
        (["roll.gif", "--capsules", "3,18"], "capsule 18 is not one of 0 to 17"),
        (
            ["roll.gif", "--images", "0-99999999999"],
            "names more than 10,000",
        ),
        (["roll.gif", "--images", "0-8888", "--transformation", "hue"], "8,889 sequences are too many"),
        (["roll.gif", "--images", "8888"], "image 8888 is not one of 0 to "),
        (["roll.gif", "--transformation", "hew"], "transformation 'hew' is not one of"),
    ],
)
def test_the_command_refuses_before_it_trains(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("d.png").mkdir()
    Path("text").write_text("a file")
    monkeypatch.setattr(cli, "fit", None)  # nothing is trained
    assert main([*OUT, *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d.png", "text"]


def test_lists_of_numbers():
    assert parse_numbers("0, 3-5,3", "capsules") == [0, 3, 4, 5]
    for wrong in ("", "a", "1-", "-1", "2-1", "1,,2"):
        with pytest.raises(ValueError, match="capsules"):
            parse_numbers(wrong, "capsules")


def test_a_grid_is_its_frames_pixel_by_pixel(rolls):
    frames = rolls[0].sequence.frames
    fifth = (frames[5] * 255).round().byte().permute(1, 2, 0).numpy()
    whole = np.asarray(frame_grid(frames, 18))
    assert whole.shape == (28, 28 * 18, 3) and np.array_equal(whole[:, 28 * 5 : 28 * 6], fifth)
    large = np.asarray(sheet(frames, 9, zoom=3, gap=2, hidden=[4]))
    assert large.shape == (2 + 2 * 86, 2 + 9 * 86, 4) and not large[:2].any()  # gaps are transparent
    assert np.array_equal(large[2 : 2 + 84 : 3, 2 + 5 * 86 : 5 * 86 + 86 : 3, :3], fifth)
    assert not large[2:86, 2 + 4 * 86 : 86 + 4 * 86].any()


def test_pictures_change_with_the_roll_and_keep_their_size(rolls):
    for draw in (roll_picture, lambda r: side_by_side(roll_frames(r))):
        first, again, moved = (draw(rolls[0].at(shift)) for shift in (0.0, 0.0, 2.25))
        assert first.tobytes() == again.tobytes() != moved.tobytes() and first.size == moved.size
    assert animation_picture(rolls, 0).size == animation_picture(rolls, 71).size


def test_a_map_has_a_square_for_each_unit_that_is_known():
    values = torch.arange(6.0).view(2, 3)
    drawn = heat_map(values, (0.0, 5.0), "six", (1, None))
    assert drawn.count("h1v1h-1z") == 6 and 'y="1" width="3" height="1" class="picked"' in drawn
    values[0, 1] = torch.nan
    assert heat_map(values, (0.0, 5.0), "five").count("h1v1h-1z") == 5
    ends = heat_map(torch.tensor([[0.0, 5.0]]), (0.0, 5.0), "two")
    assert '<path fill="#440154" d="M0 0h' in ends and '<path fill="#fde725" d="M1 0h' in ends
    assert unit_at(23, 5, 2, 3) == (0, 0) and unit_at(171, 153, 2, 3) == (1, 2)
    assert unit_at(21, 5, 2, 3) is None


def test_a_ring_is_turned_by_its_share_of_a_circle():
    units = torch.arange(12.0)
    drawn = ring(units, units, 3.0, (0.0, 11.0), "twelve")
    assert "rotate(90)" in drawn and drawn.count("<path") == 24
    assert ring(units, None, 0.0, (0.0, 11.0), "twelve").count("<path") == 12


def test_a_film_and_its_curves_leave_out_what_is_hidden(rolls):
    sequence = rolls[0].sequence
    strip = Strip("turn", [("input", sequence.frames)], 6, sequence.exp.held_out)
    assert film(strip, strip.held_out).count(">?<") == 5 and film(strip).count(">?<") == 0
    assert film(strip).count('class="held-out"') == 5
    drawn = chart("nats", [Curve("roll", [1.0, 2.0, None], "first")], 0, 1.0, [2])
    line = drawn.partition('class="curve first"')[0].rpartition('d="')[2]
    assert line.count("L") == 1 and drawn.count('class="shade"') == 1


def test_rolls_are_written_with_a_real_minus():
    assert [signed(-2.25, 2), signed(0.0, 2), signed(3.0), signed(-0.001, 2)] == [
        "−2.25",
        "0.00",
        "+3",
        "0.00",
    ]
