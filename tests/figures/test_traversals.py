"""From runs to figures: which frames are shown, rolled and held out, and what a map of classes says."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from tvae_core import experiments as variants
from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures import notebook
from tvae_core.figures.fig1 import agreement, both_paths, commutative_square
from tvae_core.figures.fig3 import neighbours_agree, torus_panels
from tvae_core.figures.notebook import about, figure_folder, first_seeds, fit_all
from tvae_core.figures.traversals import ignores_held_out, traversal_strips
from tvae_core.files import FIGURES
from tvae_core.measures.metrics import selectivity
from tvae_core.model.torus import roll
from tvae_core.model.tvae import TVAE
from tvae_core.training.runs import Run
from tvae_core.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("few")


def untrained(name, folder, **changes) -> Run:
    """A run whose checkpoint holds weights that were never trained, and that no seed of the run gives."""
    exp = EXPERIMENTS[name].at_scale("smoke").with_options(**changes)
    run = Run(exp, folder)
    run.save_checkpoint({f"model.{k}": v for k, v in exp.build_model(99).state_dict().items()}, step=0)
    return run


@pytest.fixture
def partial(tmp_path):
    return untrained("tvae_Lpartial_mnist", tmp_path, n_caps=2)


def test_strips_show_the_sequence_and_every_roll_of_l0(partial):
    strips = traversal_strips(partial, (1, 8), reconstruction=True)
    assert [s.title for s in strips] == ["MNIST, rotation", "MNIST, hue", "MNIST, scale"]
    model, sequences = partial.exp.build_model(99), partial.exp.build_sequences("test", partial.exp.seed)
    for factor, (strip, digit) in enumerate(zip(strips, [1, 8 % 6, 1], strict=True)):
        (_, given), (_, again), (label, rolled) = strip.rows
        x = sequences.sequence(torch.tensor([digit]), factor).x
        assert torch.equal(given, x[0]) and given.shape == (18, 3, 28, 28)
        with torch.inference_mode():
            t = model.latents(x)
            assert torch.equal(again, model.decode(t)[0])
            for frame in range(18):
                alone = model.decode(roll(t[:, 6:7], frame - 6))[0, 0]
                assert torch.allclose(rolled[frame], alone, atol=1e-6)
        assert not torch.allclose(rolled[5], rolled[6], atol=1e-6)
        assert (strip.anchor, strip.held_out, "{6}" in label) == (6, [13, 14, 15, 16, 17], True)
    assert [len(s.rows) for s in traversal_strips(partial)] == [2, 2, 2]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_held_out_frames_against_literal_windows(name):
    exp = EXPERIMENTS[name]
    seen = {exp.anchor}
    if exp.topography == "capsules":
        k = exp.group_kernel[0]
        seen = {(exp.anchor + a) % exp.n_transforms for a in range(-((k - 1) // 2), k // 2 + 1)}
        assert seen == set(range(k))
    assert exp.held_out == sorted(set(range(exp.n_transforms)) - seen)


def test_t_of_l0_is_blind_to_what_is_held_out_and_to_nothing_else(partial, monkeypatch):
    assert ignores_held_out(partial)
    for frame in (0, 6, 12):
        monkeypatch.setitem(partial.exp.__dict__, "held_out", [frame])
        assert not ignores_held_out(partial)


def test_torus_panels_against_literal_loops(tmp_path):
    run = untrained("tvae_2d_mnist", tmp_path, mu_init=0.0)
    model = run.load_model()
    drivers, classes, samples = torus_panels(run, model, samples=3)
    sequences = run.data.test
    with torch.inference_mode():
        each = [model.latents(sequences.batch(torch.tensor([i])).x).abs().flatten() for i in range(6)]
    for unit in range(324):
        best = max(range(6), key=lambda digit: each[digit][unit])
        assert torch.equal(drivers[unit, 0], sequences.images[best].float() / 255)
    d_prime = selectivity(torch.stack(each), sequences.labels)
    assert [(c >= 0) for c in classes.tolist()] == (d_prime.nan_to_num(-9).amax(0) >= 0.85).tolist()
    assert classes.unique().tolist() == [-1, 0, 1]
    assert samples.shape == (3, 1, 28, 28) and not torch.equal(samples[0], samples[1])


def literally(classes, rows, columns) -> tuple[float, float]:
    def share(pairs):
        both = [(a, b) for a, b in pairs if a >= 0 and b >= 0]
        return sum(a == b for a, b in both) / len(both)

    steps = itertools.product(range(rows), range(columns), [(0, 1), (1, 0)])
    near = [
        (classes[r * columns + c], classes[(r + a) % rows * columns + (c + b) % columns])
        for r, c, (a, b) in steps
    ]
    return share(near), share(itertools.permutations(classes, 2))


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_agree_against_literal_loops(seed):
    classes = torch.randint(-1, 4, (30,), generator=torch.Generator().manual_seed(seed))
    same = neighbours_agree(classes, 5)
    assert same == pytest.approx(literally(classes.tolist(), 5, 6)) and same[0] != same[1]


def test_neighbours_that_all_agree_never_do_or_are_none():
    board = (torch.arange(16) // 4 + torch.arange(16)) % 2
    assert neighbours_agree(torch.zeros(16).long(), 4) == (1.0, 1.0)
    assert neighbours_agree(board, 4) == (0.0, pytest.approx(7 / 15))
    assert all(map(math.isnan, neighbours_agree(torch.full((16,), -1), 4)))


def test_where_figures_go(tmp_path):
    assert figure_folder(str(tmp_path), "quick") == tmp_path
    assert figure_folder("", "quick") == FIGURES / "quick" != figure_folder("", "smoke")


def test_fit_all_trains_once_and_then_loads(tmp_path, monkeypatch, capsys):
    names = ["tvae_Lshort_mnist", "nontvae_mnist"]
    small = {name: EXPERIMENTS[name].with_options(n_caps=2) for name in names}
    small_step = {"smoke": {"max_steps": 1, "batch_size": 2, "eval_sequences": 2, "n_is_samples": 1}}
    monkeypatch.setattr(variants, "EXPERIMENTS", small)
    monkeypatch.setattr("tvae_core.config.SCALES", small_step)
    trained = fit_all(names, "smoke", [3, 4], "cpu", str(tmp_path))
    assert [(run.exp.name, run.exp.seed) for run in trained] == list(itertools.product(names, (3, 4)))
    assert all(run.complete and run.folder.parent == tmp_path for run in trained)

    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    loaded = fit_all(names, "smoke", [3, 4], "cpu", str(tmp_path))
    assert [run.results for run in loaded] == [run.results for run in trained]
    assert [run.folder for run in first_seeds(loaded)] == [trained[0].folder, trained[2].folder]
    said = "tvae_Lshort_mnist, nontvae_mnist. Scale smoke, 2 seeds each (3, 4). "
    said += "Data: a few random digits."
    assert about(loaded) == said


def test_without_seeds_each_experiment_has_its_own(monkeypatch):
    asked = []

    def fit_seeds(exp, *rest, watch):
        asked.append((exp.name, exp.scale, *rest))
        return [Run(exp, Path())]

    monkeypatch.setattr(notebook, "fit_seeds", fit_seeds)
    fit_all(["tvae_Lpartial_mnist", "nontvae_mnist"], "quick", runs="here")
    assert asked == [
        ("tvae_Lpartial_mnist", "quick", [2], "auto", "here"),
        ("nontvae_mnist", "quick", [1], "auto", "here"),
    ]
    fit_all(["nontvae_mnist"], "quick")
    assert Path(asked[-1][-1]).name == "runs"


@pytest.fixture
def turning(tmp_path):
    return untrained("tvae_Lpartial_mnist_generalization", tmp_path, n_caps=2)


def test_both_ways_around_the_square(turning):
    square = both_paths(turning, example=3, shift=8)
    model, test = turning.load_model(), turning.exp.build_sequences("test", turning.exp.seed)
    x = test.sequence(torch.tensor([3]), 0).x
    with torch.inference_mode():
        t = model.latents(x)[0]
        decoded = model.decode(torch.stack([t[6], t[6].roll(8, -1), t[14]])[None])[0]
    assert torch.equal(square.before, x[0, :13]) and torch.equal(square.after[:10], x[0, 8:])
    assert torch.equal(square.truth, x[0, [6, 14]])
    assert torch.equal(square.rolled, square.t.roll(8, -1))
    assert torch.allclose(square.t, t[6], rtol=1e-5)
    assert torch.allclose(square.t_after, t[14], rtol=1e-4)  # the circle of time commutes with W
    assert torch.allclose(square.decoded, decoded, atol=1e-5)
    with pytest.raises(ValueError, match=r"'10' is not one of 13, 14, 15, 16, 17"):
        both_paths(turning, shift=4)


@pytest.mark.parametrize("step", [0, 1])
def test_agreement_knows_equivariance_from_invariance(turning, step, monkeypatch):
    frames = torch.stack([(torch.arange(18.0) ** 2).roll(frame * step) for frame in range(18)])
    monkeypatch.setattr(TVAE, "latents", lambda self, x: frames[None, :, None].expand(len(x), -1, 2, -1))
    rolled, still = agreement(turning, turning.load_model(), 8)
    assert (rolled, still)[1 - step] == pytest.approx(1, abs=1e-5)
    assert (rolled, still)[step] < 0.5


def test_the_square_shows_three_maps_on_one_scale_and_all_frames(turning):
    figure = commutative_square(both_paths(turning))
    images = [image for axes in figure.axes for image in axes.get_images()]
    maps = [image for image in images if image.get_array().shape == (2, 18)]
    assert len(maps) == 3 and len({image.get_clim() for image in maps}) == 1
    assert len(images) == 2 + 3 + 3 + 2
    words = " ".join(text.get_text() for text in figure.texts)
    for word in ("encode", "decode", "transform", "Roll", "frame 15"):
        assert word in words


def test_every_example_of_two_factors_that_walk_together(turning):
    strips = traversal_strips(turning, (1, 4), every=True)
    assert [strip.title for strip in strips] == ["MNIST, rotation and hue together"] * 2
    test = turning.exp.build_sequences("test", turning.exp.seed)
    for strip, digit in zip(strips, (1, 4), strict=True):
        assert torch.equal(strip.rows[0][1], test.sequence(torch.tensor([digit]), 0).x[0])


def test_every_example_of_every_factor(partial):
    assert len(traversal_strips(partial, (1, 4), every=True)) == 6
    assert {strip.title for strip in traversal_strips(partial, name="One")} == {
        "One, rotation",
        "One, hue",
        "One, scale",
    }
