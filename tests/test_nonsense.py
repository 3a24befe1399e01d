"""Nonsense as options, devices and paths of every command: one short line, before any work is done."""

import ast
import dataclasses
import json
import os

import jaxtyping
import pytest

from tvae_core import arguments
from tvae_core.cli import COMMANDS, main
from tvae_core.config import Experiment
from tvae_core.files import write_atomically

LONGEST = 700  # characters of a line that names what was given and what is allowed
WORDS = ["", "-1", "1e400", "9" * 400, "a\nb", "x" * 3000]
MORE = ["nan", "None", "True", "[]", "{}", "(0,)", "é", "\udcff", "'", "../x", "%s", "1,2", "1-2", "٣", "0x1"]
FIELDS = [field.name for field in dataclasses.fields(Experiment)]
OUTPUTS = {"export": ("--out", "html"), "pack": ("--out", "tvae"), "encode": ("--out", "npz")}
OUTPUTS |= {"decode": ("--out", "npz"), "bench": ("--json", "json")}


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """What is no plain file, or lies below one, by what the refusal says of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("of the user")
    for suffix in {suffix for _, suffix in OUTPUTS.values()}:
        (tmp_path / f"folder.{suffix}").mkdir()
        os.mkfifo(tmp_path / f"device.{suffix}")
        os.symlink(f"loop.{suffix}", tmp_path / f"loop.{suffix}")
    for name in ("open_run", "plan"):
        monkeypatch.setattr(arguments, name, lambda *_: pytest.fail("the work has begun"))
    yield {
        "folder": "is a folder",
        "device": "is not a plain file",
        "loop": "is not a plain file",
        "file/below": "file is not a folder",
    }
    assert (tmp_path / "file").read_text() == "of the user"


def refused(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("tvae: ") and said.count("\n") == 1 and len(said) < LONGEST, said
    return said


@pytest.mark.parametrize("words", [WORDS, pytest.param(MORE, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("option", [*FIELDS, "recipe"])
def test_an_option_is_taken_or_refused_in_one_short_line(option, words, capsys):
    for word in words:
        asked = ["--name", "tvae_Lshort_mnist", "--scale", "smoke", "--show-config", "--set"]
        asked += [f"{option}={word}"]
        taken = main(asked) == 0
        shown = capsys.readouterr().out
        if taken:
            written = word and ast.literal_eval(word)
            assert json.loads(shown)[option] == json.loads(json.dumps(written)), word
        else:
            refused(asked, capsys)


@pytest.mark.parametrize("command", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(command, places, capsys):
    option, suffix = OUTPUTS[command]
    source = [] if command == "bench" else ["--from", "run"]
    latents = ["latents.npz"] if command == "decode" else []
    for place, words in places.items():
        assert words in refused([command, *source, *latents, option, f"{place}.{suffix}"], capsys)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_a_device_or_a_folder_that_cannot_be_is_refused_where_it_is_not_needed_too(command, places, capsys):
    own = OUTPUTS.get(command, ("--seed", "1"))
    needed = [] if command == "bench" else ["--from", "run", own[0], f"new.{own[1]}"]
    needed = ["--from", "run"] if command in ("", "evaluate") else needed
    asked = [*filter(None, [command]), *needed, *(["latents.npz"] if command == "decode" else [])]
    assert "device 'gpu' is not one of" in refused([*asked, "--device", "gpu"], capsys)
    for option in ("--data",) if command == "bench" else ("--data", "--runs"):
        for place in ("file", "file/below", "loop.npz"):
            assert f"{option} is {place}, but" in refused([*asked, option, place], capsys)


def test_no_file_takes_the_place_of_a_device(places, tmp_path):
    with pytest.raises(FileExistsError, match="is no plain file, and is kept"):
        write_atomically(tmp_path / "device.json", "text")
    assert (tmp_path / "device.json").is_fifo() and not list(tmp_path.glob(".[0-9]*"))
