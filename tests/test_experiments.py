"""Variants in words: what is read is what is written, the sixteen stay themselves, the rest is refused."""

import jaxtyping
import pytest

from tvae_core.config import SCALES
from tvae_core.experiments import EXPERIMENTS, label, read_experiment
from tvae_core.reproduce.notebooks import notebooks

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
    assert label(EXPERIMENTS[name].at_scale(scale)) == name


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_is_written_is_read_back(changes):
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("quick").with_options(**changes)
    resolved = exp.with_options(seed=7, precision="bfloat16")
    assert label(resolved) == label(exp)
    assert read_experiment(label(exp), "quick") == exp
    assert all(f"{option}=" in label(exp) for option in changes)


def test_spaces_in_values_and_around_them_are_no_obstacle():
    exp = read_experiment(" tvae_Lpartial_mnist  n_off_diag=2 group_kernel=(5, 5) boundary=zero ", "smoke")
    assert (exp.n_off_diag, exp.group_kernel, exp.boundary) == (2, (5, 5), "zero")
    assert label(exp) == "tvae_Lpartial_mnist group_kernel=(5,5) n_off_diag=2 boundary=zero"


def test_a_precision_of_its_own_is_said_unless_the_row_leaves_it_open():
    assert label(read_experiment("nontvae_mnist precision=bfloat16", "paper")).endswith("precision=bfloat16")
    assert label(read_experiment("nontvae_mnist precision=bfloat16", "quick")) == "nontvae_mnist"


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
        ("", "experiment ''"),
    ],
)
def test_the_rest_is_refused(text, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or it would meet a wrong type first
    with pytest.raises(ValueError, match=words):
        read_experiment(text, "smoke")


def test_every_notebook_names_what_can_be_trained_each_once():
    for notebook in notebooks().values():
        found = [read_experiment(text, "smoke") for text in notebook.experiments({})]
        assert len(set(map(label, found))) == len(found), notebook.name
