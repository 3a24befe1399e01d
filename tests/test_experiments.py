"""Variants in words: what is read is what is written, the sixteen stay themselves, the rest is refused."""

import itertools
from pathlib import Path

import jaxtyping
import pytest
import torch

from tvae_core.data import dsprites
from tvae_core.data.sequences import SPLITS
from tvae_core.experiments import EXPERIMENTS, follows_paper, read_experiment, write_experiment
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.scales import RECIPE_OPTIONS, SCALES
from tvae_core.training.runs import Run

CHANGES = [
    {},
    {"n_off_diag": 2, "group_kernel": (5, 5)},
    {"n_off_diag": None, "group_kernel": (13, 18)},
    {"capsule": (2, 9), "boundary": "edge", "trainable_w": True, "lr": 0.5},
]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_name_alone_is_the_registered_experiment(name, scale):
    assert read_experiment(name, scale) == EXPERIMENTS[name].at_scale(scale)
    assert write_experiment(EXPERIMENTS[name].at_scale(scale)) == name


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_is_written_is_read_back(changes):
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("quick").with_options(**changes)
    resolved = exp.with_options(seed=7, precision="bfloat16")
    assert write_experiment(resolved) == write_experiment(exp)
    assert read_experiment(write_experiment(exp), "quick") == exp
    assert all(f"{option}=" in write_experiment(exp) for option in changes)


def test_spaces_in_values_and_around_them_are_no_obstacle():
    exp = read_experiment(" tvae_Lpartial_mnist  n_off_diag=2 group_kernel=(5, 5) boundary=zero ", "smoke")
    assert (exp.n_off_diag, exp.group_kernel, exp.boundary) == (2, (5, 5), "zero")
    assert write_experiment(exp) == "tvae_Lpartial_mnist group_kernel=(5,5) n_off_diag=2 boundary=zero"


def test_a_precision_of_its_own_is_said_unless_the_row_leaves_it_open():
    text = "nontvae_mnist precision=bfloat16"
    assert write_experiment(read_experiment(text, "paper")) == text
    assert write_experiment(read_experiment(text, "quick")) == "nontvae_mnist"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tvae_Lpart_mnist n_off_diag=2", "'tvae_Lpart_mnist'.*did you mean 'tvae_Lpartial_mnist'"),
        ("tvae_Lpartial_mnist n_off_dia=2", "option 'n_off_dia'.*did you mean 'n_off_diag'"),
        ("tvae_Lpartial_mnist n_off_diag=two", "n_off_diag is 'two'"),
        ("tvae_Lpartial_mnist n_off_diag = 2", "experiment 'tvae_Lpartial_mnist n_off_diag = 2'"),
        ("tvae_Lpartial_mnist K", "experiment 'tvae_Lpartial_mnist K'"),
        ("tvae_Lpartial_mnist group_kernel=(19,19)", "there are 18 frames"),
        ("tvae_Lpartial_mnist scale=quick", "option 'scale'"),
        ("tvae_Lpartial_mnist group_kernel=(13,13,2)", "must have 2 lengths"),
        ("tvae_Lpartial_mnist k_time=5", "k_time.* can be set for stationary capsules only"),
        ("bubbles_mnist k_tim=5", "option 'k_tim'.*did you mean 'k_time'"),
        ("", "experiment ''"),
    ],
)
def test_the_rest_is_refused(text, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or it would meet a wrong type first
    with pytest.raises(ValueError, match=words):
        read_experiment(text, "smoke")


@pytest.mark.parametrize(
    ("official", "own"),
    [
        ("tvae_Lpartial_mnist group_kernel=(13,13,1)", "tvae_Lpartial_mnist"),
        ("tvae_2d_mnist group_kernel=(5,5,1)", "tvae_2d_mnist"),
        ("bubbles_mnist k_time=5 k_space=3", "bubbles_mnist"),
        ("bubbles_mnist k_time=7", "bubbles_mnist group_kernel=(7,3)"),
        (
            "tvae_Lpartial_mnist n_off_diag=None k_space=5",
            "tvae_Lpartial_mnist group_kernel=(13,5) n_off_diag=None",
        ),
        ("tvae_L0_dsprites group_size=3", "tvae_L0_dsprites"),
        ("tvae_L0_dsprites group_size=5", "tvae_L0_dsprites group_kernel=(1,5)"),
    ],
)
def test_options_as_the_official_scripts_write_them_are_stored_in_one_form(official, own):
    assert read_experiment(official, "smoke") == read_experiment(own, "smoke")
    assert write_experiment(read_experiment(official, "smoke")) == own


def test_experiments_that_train_alike_are_known():
    options = {name: Run(exp, Path()).training for name, exp in EXPERIMENTS.items()}
    alike = {(a, b) for a in options for b in options if a < b and options[a] == options[b]}
    assert alike == {("tvae_Lpartial_mnist", "tvae_Lpartial_mnist_generalization")}
    exp = EXPERIMENTS["tvae_Lpartial_mnist"]
    for changes in ({"seed": 3}, {"lr": 1.0}, {"data": "mnist_dual"}, {"eval_epochs": 2}):
        assert Run(exp.with_options(**changes), Path()).training != Run(exp, Path()).training


def test_the_folders_of_earlier_runs_keep_their_names():
    names = {
        "tvae_Lpartial_mnist": "6706cb68a309",
        "nontvae_dsprites": "615b4641f044",
    }  # before any of _LATER
    assert {name: Run(EXPERIMENTS[name], Path(), data_key="k").identity for name in names} == names


def shown(exp, split, folder):
    """The images of a split, or its cycles: the varied factor and the values of the others."""
    sequences = exp.build_sequences(split, exp.seed, folder=folder)
    if exp.data != "dsprites":
        return {image.numpy().tobytes() for image in sequences.images}
    sequences.frames = lambda labels, factors: torch.zeros(()).expand(*factors.shape[:2], 1, 64, 64)
    found = set()
    for varied in range(4):
        batch = sequences.sequence(torch.arange(12_000), varied, torch.Generator().manual_seed(0))
        still = batch.factors[:, 0].clone()
        still[:, varied] = -1
        found |= set(map(tuple, torch.cat([batch.labels.unsqueeze(1), still], 1).tolist()))
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_training_sequence_shows_a_test_cycle(name, data):
    exp = EXPERIMENTS[name].with_options(source="offline")
    train, validation, test = (shown(exp, split, data) for split in SPLITS)
    assert not train & test and not train & validation and not validation & test
    assert shown(exp.with_options(seed=exp.seed + 1), "test", data) == test
    assert shown(exp, "train", data) == train


def test_a_training_cycle_among_the_test_cycles_is_seen(data, monkeypatch):
    exp = EXPERIMENTS["nontvae_dsprites"].with_options(source="offline")
    held_out = dsprites._cycles

    def leaking(split, factor, sizes):
        cycles = held_out(split, factor, sizes)
        return torch.cat([cycles, held_out("test", factor, sizes)[:1]]) if split == "train" else cycles

    monkeypatch.setattr(dsprites, "_cycles", leaking)
    assert len(shown(exp, "train", data) & shown(exp, "test", data)) == 4


def test_every_notebook_names_what_can_be_trained_each_once():
    for notebook in notebooks().values():
        found = [read_experiment(text, "smoke") for text in notebook.experiments({})]
        assert len(set(map(write_experiment, found))) == len(found), notebook.name


@pytest.mark.parametrize("scale, option, steps", [("quick", "max_steps", 6000), ("paper", "max_epochs", 500)])
def test_steps_are_given_as_a_multiple_of_the_scale(scale, option, steps):
    exp = read_experiment("tvae_Lpartial_mnist max_steps=5x kl_floor=1.0", scale)
    assert getattr(exp, option) == steps and exp.kl_floor == 1.0
    assert read_experiment(write_experiment(exp), scale) == exp
    assert read_experiment("nontvae_mnist max_steps=.001x", "smoke").max_steps == 1


def test_another_scales_recipe_keeps_the_length_and_the_measures():
    for name, row in EXPERIMENTS.items():
        for recipe, scale in itertools.product(SCALES, SCALES):
            exp, there, here = (
                read_experiment(f"{name} recipe={recipe}", scale),
                row.at_scale(recipe),
                row.at_scale(scale),
            )
            assert all(getattr(exp, option) == getattr(there, option) for option in RECIPE_OPTIONS)
            assert exp.with_options(**{option: getattr(here, option) for option in RECIPE_OPTIONS}) == here
            if recipe in ("paper", scale):  # `auto` is written as nothing: a run resolves it
                assert read_experiment(write_experiment(exp), scale) == exp
            assert follows_paper(exp) is (recipe == "paper")


def test_a_recipe_is_a_scale_and_can_be_changed():
    exp = read_experiment("nontvae_mnist recipe=paper max_steps=2x lr=0.5", "quick")
    assert (exp.optimizer, exp.max_steps, exp.lr, follows_paper(exp)) == ("sgd", 2400, 0.5, False)
    assert (
        write_experiment(read_experiment("nontvae_mnist", "quick", ["recipe=paper"]))
        == "nontvae_mnist recipe=paper"
    )
    with pytest.raises(ValueError, match=r"recipe 'papr' is not one of .* did you mean 'paper'"):
        read_experiment("nontvae_mnist recipe=papr", "quick")
    for unset in ("recipe=", "recipe=None", "recipe=0", "recipe=[]"):
        with pytest.raises(ValueError, match="is not one of smoke, quick, long, paper"):
            read_experiment(f"nontvae_mnist {unset}", "quick")
