"""The `tvae` command: what it lists, refuses, shows and runs."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jaxtyping
import pytest
import torch

from tvae_core import cli
from tvae_core.arguments import build_parser
from tvae_core.cli import main
from tvae_core.data import mnist, sources
from tvae_core.experiments import EXPERIMENTS
from tvae_core.files import RUNS
from tvae_core.training.runs import Run
from tvae_core.training.summary import next_command
from tvae_core.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
SMALL = ["--scale", "smoke", "--device", "cpu", "--set", "n_caps=2", "--set", "max_steps=2"]
SMALL += ["--set", "batch_size=2", "--set", "eval_sequences=4"]
WRONG_OPTIONS = {  # by what the sentence must say
    "max_steps=abc": "max_steps.*'abc'",
    "max_steps=0": "max_steps is 0",
    "max_steps=1.5": "max_steps.*1.5",
    "lr=fast": "lr.*'fast'",
    "lr=-1.0": "lr is -1.0",
    "lr=1e400": "lr is inf.*finite",
    "mu_init=-1e400": "mu_init is -inf.*finite",
    "momentum=2": "momentum is 2.0.*at most 1",
    "u_logvar_init=1e9": "u_logvar_init is 1000000000.0.*at most 50",
    "u_mean_init=-51": "u_mean_init is -51.0.*at least -50",
    "batch_size=1e9": "batch_size is 1000000000.0.*int",
    "n_transforms=10": "n_transforms is 10.*18",
    "n_caps=None": "n_caps.*None",
    "lr_decay=2.0": "lr_decay is 2.0.*at most 1",
    "cap_dim=17.0": "cap_dim",
    "group_kernel=5": "group_kernel",
    "group_kernel=(5,)": "group_kernel.*2 lengths",
    "group_kernel=(37,37)": "group_kernel.*18 frames",
    "seed=-1": "seed is -1",
    "kl_hold=2.0": "kl_hold is 2.0.*at most 1",
    "window_hold=0.9": "window_hold .*window_ramp is 1.3",
    "kl_floor=0.0": "kl_floor is 0.0.*above 0",
    "n_off_diag=-1": "n_off_diag is -1",
    "test_data=dsprites": "test_data",
    "trainable_w=yes": "True or False",
    "scale=paper": "option 'scale'",
    "data=dsprites": "max_transform_len is 30.*18 values",
    "group_kernel=(0,5)": "group_kernel.*positive",
    "capsule=(4,4)": "capsule.*18",
    "boundary=circle": "did you mean 'circular'",
    "optimizer=adam": "did you mean 'adamw'",
    "likelihood=normal": "likelihood 'normal'",
    "precision=float16": "did you mean 'float32'|did you mean 'bfloat16'",
    "data=mnist_duel": "did you mean 'mnist_dual'",
    "source=oficial": "did you mean 'official'",
    "max_step=5": "did you mean 'max_steps'",
    "name=other": "option 'name'",
    "sequences=../x": "sequences is '../x', but must be a digest",
    "frame_shape=(1,2)": "frame_shape is set, but data is 'mnist'",
    "binary=True": "binary is set, but data is 'mnist'",
    "warm_start=../x": "warm_start is '../x', but must be a name and a digest",
    f"max_steps={'9' * 400}": "must be at most 1000000000",
    "max_steps": "key=value",
}
WRONG_ARGUMENTS = {
    ("--name", "tvae_lhalf"): "did you mean 'tvae_Lhalf_mnist'",
    ("--name", "tvae_Lhalf_mnist n_off_dia=2", "--scale", "smoke"): "did you mean 'n_off_diag'",
    ("--name", "nontvae"): "did you mean 'nontvae_mnist'",
    ("--name", "tvae_Lhalf_mnist", "--scale", "smok"): "did you mean 'smoke'",
    ("--name", "tvae_Lhalf_mnist", "--scale", "smoke", "--device", "gpu"): "device 'gpu'",
}


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    """Without the checks of annotations, which would meet a wrong type before the command's own do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def refused(arguments, capsys):
    """The one sentence of a command that ends with exit code 2."""
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    lines = [line for line in error.splitlines() if line.startswith("tvae: ")]
    assert len(lines) == 1 and "Traceback" not in error and not out
    return lines[0]


def visible(folder):
    """The runs in a folder."""
    return [path for path in folder.iterdir() if path.name != ".locks"]


def test_list(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS) and len(lines) == 16
    assert all(exp.shows in line for exp, line in zip(EXPERIMENTS.values(), lines, strict=True))


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS, ids=" ".join)
def test_wrong_names_are_refused_naming_the_nearest(arguments, capsys, tmp_path):
    assert re.search(WRONG_ARGUMENTS[arguments], refused([*arguments, "--runs", str(tmp_path)], capsys))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", WRONG_OPTIONS)
def test_wrong_options_are_refused_and_leave_nothing_behind(setting, capsys, tmp_path):
    arguments = ["--name", "tvae_Lshort_mnist", *SMALL, "--set", setting, "--runs", str(tmp_path)]
    assert re.search(WRONG_OPTIONS[setting], refused(arguments, capsys))
    assert not visible(tmp_path)


def test_weights_and_biases_is_asked_for_before_training(capsys, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )
    arguments = ["--name", "tvae_Lshort_mnist", *SMALL, "--set", "wandb_on=True", "--runs", str(tmp_path)]
    assert "wandb is not installed" in refused(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a name, --from or --sequences is needed"),
        (["--nmae", "x"], "--nmae"),
        (["--name", "x", "--seed", "1,two"], "seeds '1,two' is not a list of whole numbers such as 0, 3-5"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "usage" in error and words in error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CPU: can't allocate memory: 9 bytes")])
def test_too_little_memory_ends_with_1_and_one_sentence(error, capsys, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("tvae_core.config.TVAE", fail)
    assert main(["--name", "tvae_Lshort_mnist", *SMALL, "--runs", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(
        "tvae: there is not enough memory for this; try less of batch_size"
    )
    assert not visible(tmp_path)


def test_another_fault_of_torch_is_not_taken_for_it(monkeypatch):
    monkeypatch.setattr("tvae_core.cli.fit_seeds", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        main(["--name", "tvae_Lshort_mnist", *SMALL])


@pytest.mark.parametrize("module", ["tvae_core.cli", "tvae_core.reproduce.run_all"])
def test_ctrl_c_while_starting_ends_without_a_traceback(module, tmp_path):
    begun = tmp_path / "begun"
    (tmp_path / "torch.py").write_text(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(30)")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "tvae_core.start", module, "--list"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child would ignore it as we may
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    while not begun.exists() and started.poll() is None:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=20)[1] == b"" and started.returncode == -signal.SIGINT


def test_show_config(capsys, tmp_path):
    settings = ["--set", "lr=0.01", "--set", "n_off_diag=None", "--set", "group_kernel=(5, 3)", "--set"]
    arguments = ["--name", "tvae_2d_mnist", "--show-config", "--runs", str(tmp_path), "--scale", "paper"]
    assert main([*arguments, "--set", "mu_init=20.0", *settings, "boundary=zero"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["name"] == "tvae_2d_mnist" and config["max_epochs"] == 250 and config["scale"] == "paper"
    assert (config["mu_init"], config["lr"], config["boundary"]) == (20.0, 0.01, "zero")
    assert config["n_off_diag"] is None and config["group_kernel"] == [5, 3]
    assert not list(tmp_path.iterdir())


def test_the_options_of_the_seed_keep_their_names(capsys):
    assert main(["--name", "tvae_Lpartial_dsprites", "--scale", "paper", "--show-config"]) == 0
    names = "n_caps cap_dim n_transforms mu_init n_off_diag group_kernel wandb_on lr momentum max_epochs"
    names += " eval_epochs batch_size n_is_samples max_transform_len"
    assert set(names.split()) <= set(json.loads(capsys.readouterr().out))


def test_the_scale_chosen_is_said(capsys):
    assert main(["--name", "tvae_Lhalf_mnist", "--device", "cpu", "--show-config"]) == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["scale"] == "quick" and "scale quick" in error


def test_a_run_and_the_same_again(capsys, tmp_path, monkeypatch):
    arguments = ["--name", "tvae_Lshort_mnist", *SMALL, "--runs", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    (folder,) = tmp_path.glob("[!.]*")
    assert str(folder) in said.out.splitlines() and (folder / "results.json").is_file()
    for word in ("nats a frame, 4 sequences", "trained", "untrained", "mean frame", "5,000 digits", "--all"):
        assert word in said.out
    assert said.out.splitlines()[3].startswith("roll, held out ↓") and len(said.out.splitlines()) < 19
    assert re.search(r"roll, held out ↓ .* worse than the mean frame\n  not rolled .*\d\n", said.out)
    assert re.search(r"nll \d+, KL z .*, KL u .* nats, [1-9][\d,]* frames/s", said.err)  # the bar
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    assert main(arguments) == 0
    assert capsys.readouterr().out == said.out
    assert main([*arguments, "--all"]) == 0
    every = capsys.readouterr().out
    assert "KL(u) (nats/frame)" in every and len(every.splitlines()) > len(said.out.splitlines())
    assert "IoU" not in every and re.search(r"–\n", every)  # undefined for digits; for chance alone
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        main([*arguments, "--seed", "3"])


def some_run(name, scale="quick", **margins):
    """A run as if it was trained and measured, with these margins of its rolls."""
    exp = EXPERIMENTS[name].at_scale(scale).with_options(seed=7)
    run = Run(exp, RUNS / "it")
    run.__dict__["results"] = {"trained": {"roll_margin_at_draws": margins or None}}
    return run


@pytest.mark.parametrize(
    ("run", "command"),
    [
        (some_run("tvae_Lhalf_mnist", "smoke", hue=-3.0), "--name tvae_Lhalf_mnist --scale quick --seed 7"),
        (some_run("tvae_Lhalf_mnist", hue=-3.0, x=9.0), "--name tvae_Lhalf_mnist --scale long --seed 7"),
        (
            some_run("tvae_Lhalf_mnist", hue=3.0),
            "export --name tvae_Lhalf_mnist --scale quick --seed 7 --out",
        ),
        (some_run("tvae_Lhalf_mnist", "long", hue=-3.0), "export --name tvae_Lhalf_mnist --scale long"),
        (some_run("nontvae_dsprites", x=-3.0), "--name tvae_Lpartial_dsprites --scale quick"),
        (some_run("tvae_2d_mnist"), "./run_all.sh --scale quick --only fig3"),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_the_next_command_shows_more(run, command):
    last = next_command(run).splitlines()[-1].strip()
    assert command in last
    if last.startswith("tvae --name"):
        assert main([*shlex.split(last)[1:], "--show-config"]) == 0  # one that is accepted


def test_several_seeds_are_several_runs(capsys, tmp_path):
    arguments = ["--name", "tvae_Lshort_mnist", *SMALL, "--runs", str(tmp_path), "--seed", "2,1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    configs = [json.loads((folder / "config.json").read_text()) for folder in tmp_path.glob("[!.]*")]
    assert sorted(config["seed"] for config in configs) == [1, 2]
    assert [line[-6:] for line in lines if ", seed " in line] == ["seed 2", "seed 1"]
    assert {str(folder) for folder in tmp_path.glob("[!.]*")} <= set(lines)


def test_an_interruption_ends_with_130(capsys, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt("stopped at step 1")

    monkeypatch.setattr(Trainer, "train", stop)
    assert main(["--name", "tvae_Lshort_mnist", *SMALL, "--runs", str(tmp_path)]) == 130
    assert "tvae: stopped at step 1" in capsys.readouterr().err


def test_divergence_ends_with_1_and_one_sentence(capsys, tmp_path):
    settings = ["--set", "lr=1e9", "--runs", str(tmp_path)]
    arguments = ["--name", "nontvae_mnist", *SMALL, "--set", "max_steps=4", *settings]
    for _ in range(2):  # asked for again it is no finished run
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert re.search(
            r"tvae: training of .* diverged at step \d of 4 .*: try a smaller lr than 1e\+09", error
        )
        assert "Traceback" not in error and not list(tmp_path.glob("*/results.json"))


ROLLS_THAT_ARE_NOT_THERE = {
    ("--images", "99999"): "image 99999 is not one of 0 to 499",
    ("--capsules", "0,9"): "capsule 9 is not one of 0 to 1",
    ("--roll", "40"): "roll 40 is not one of -6 to 11",
    ("--roll", "nan"): "--roll is nan",
    ("--transformation", "hew"): "did you mean 'hue'",
    ("--seed", "1,2"): "--seed names 2 seeds",
    ("--out", "."): "is a folder",
}


@pytest.mark.parametrize("words", ROLLS_THAT_ARE_NOT_THERE, ids=" ".join)
def test_rolls_that_are_not_there_are_refused_before_training(words, capsys, tmp_path):
    runs = tmp_path / "runs"
    arguments = ["export", "--name", "tvae_Lpartial_mnist", *SMALL, "--out", str(tmp_path / "roll.png")]
    assert ROLLS_THAT_ARE_NOT_THERE[words] in refused([*arguments, "--runs", str(runs), *words], capsys)
    assert not runs.exists()


def test_an_export_over_a_folder_is_refused(capsys, tmp_path):
    (tmp_path / "roll.png").mkdir()
    arguments = ["export", "--name", "nontvae_mnist", *SMALL, "--out", str(tmp_path / "roll.png")]
    assert "roll.png is a folder" in refused(arguments, capsys)


@pytest.mark.parametrize("words", [["--runs", "0"], ["--seeds", "-1"], ["--runs", "many"]])
def test_counts_of_the_bench_are_whole_numbers(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *words])
    assert stop.value.code == 2
    assert (
        f"argument {words[0]}: count {words[1]!r} is not a whole number from 1 to 1,000"
        in capsys.readouterr().err
    )


def test_paths_of_a_home_are_found_and_an_empty_one_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = build_parser("export").parse_args(["--out=~/x.png", "--runs=~/runs", "--data=~"])
    assert (options.out, options.runs, options.data) == (tmp_path / "x.png", tmp_path / "runs", tmp_path)
    with pytest.raises(SystemExit):
        main(["--name", "nontvae_mnist", "--runs", ""])
    assert "argument --runs: a path is empty" in capsys.readouterr().err


def test_an_export_takes_the_offline_digits_where_a_download_fails(capsys, tmp_path, monkeypatch):
    class Torchvision:
        mirrors = ("http://127.0.0.1/",)

        def __init__(self, *_, **__):
            raise RuntimeError("cut off")

    monkeypatch.delenv("TVAE_OFFLINE", raising=False)
    monkeypatch.setattr(sources, "any_host_answers", lambda urls: True)
    monkeypatch.setattr(mnist, "_torchvision", lambda: Torchvision)
    monkeypatch.setattr(cli, "trained", lambda run, options: run)
    out, folders = tmp_path / "roll.png", ["--runs", str(tmp_path / "runs"), "--data", str(tmp_path / "data")]
    arguments = ["export", "--name", "nontvae_mnist", *SMALL, "--set", "source=auto", *folders]
    assert main([*arguments, "--out", str(out)]) == 0 and out.is_file()
