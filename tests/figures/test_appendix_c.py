"""Appendix C: where the error of a step rises, and along which axes capsules of two dimensions are rolled."""

import pytest
import torch

from tvae_core.experiments import read_experiment
from tvae_core.figures.appendix_c import (
    Breaks,
    axis_strips,
    break_maps,
    breaks,
    costs_by_axis,
    ways_to_roll,
    what_axes_show,
    what_breaks_show,
)
from tvae_core.figures.control_distance import roll_costs
from tvae_core.measures.controls import chance
from tvae_core.model.torus import BOUNDARIES
from tvae_core.training.runs import Run

pytestmark = pytest.mark.usefixtures("few")


@pytest.fixture
def made(tmp_path):
    def run(text) -> Run:
        exp = read_experiment(f"tvae_Lpartial_mnist n_caps=3 {text}", "smoke")
        run = Run(exp, tmp_path / text)
        run.save_checkpoint({f"model.{k}": v for k, v in exp.build_model(99).state_dict().items()}, step=0)
        run.__dict__["results"] = {
            kind: chance(exp, run.data.test) for kind in ("trained", "untrained", "chance")
        }
        return run

    return run


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_only_a_circle_has_no_end(boundary, made):
    """Before training all sites of a circle are alike; elsewhere the ends stand out."""
    trained, untrained = breaks(made(f"boundary={boundary} mu_init=100.0"), 6)
    assert (trained.kind, untrained.kind) == ("trained", "untrained")
    ratio = untrained.capsule_wraps / untrained.inside
    assert ratio == pytest.approx(1, abs=0.25) if boundary == "circular" else ratio > 1.5
    assert trained.error.shape == (18, 18)


def test_where_an_error_is_counted():
    error = torch.zeros(18, 18)
    error[:-1, 1:], error[-1], error[:-1, 0] = 1.0, 3.0, 2.0
    one = Breaks("zero", "trained", error)
    assert (one.inside, one.time_wraps, one.capsule_wraps) == (1.0, 3.0, 2.0)
    assert "3.0 times that where time wraps round, 2.0 times" in what_breaks_show([one])


def test_maps_share_one_scale(made):
    found = [*breaks(made("boundary=zero"), 3), *breaks(made("boundary=circular"), 3)]
    figure = break_maps(found)
    images = [
        image for axes in figure.axes for image in axes.get_images() if image.get_array().shape == (18, 18)
    ]
    assert len(images) == 4
    (scale,) = {image.get_clim() for image in images}
    errors = torch.cat([b.error.flatten() for b in found])
    assert scale == pytest.approx((errors.min().item(), errors.max().item()))


def test_a_capsule_of_two_dimensions_is_rolled_along_each_and_both(made):
    flat, square = made(""), made("capsule=(2,9)")
    assert list(ways_to_roll(flat).values()) == [(0,)]
    assert ways_to_roll(square) == {"along 2 units": (0,), "along 9 units": (1,), "along both": (0, 1)}
    rows = dict(axis_strips(square, varied=2).rows)
    two, nine, both = (rows[words] for words in ways_to_roll(square))
    assert torch.allclose(two[0], two[2]) and not torch.allclose(two[0], two[1])
    assert torch.allclose(nine[0], nine[9]) and not torch.allclose(nine[0], nine[2])
    assert not any(torch.allclose(both[0], both[frame]) for frame in range(1, 18))
    assert torch.allclose(both[6], rows["reconstruction"][6], atol=1e-5)


def test_costs_by_axis_are_those_of_held_out_frames(made):
    run = made("capsule=(2,9)")
    costs = costs_by_axis(run, 3)
    literal = roll_costs(run, run.load_model(), 3, (0, 1))[13:].mean().item()
    assert costs["along both"]["trained"] == pytest.approx(literal)
    assert costs["along both"]["trained"] != costs["along 2 units"]["trained"]
    assert f"along both {literal:,.1f}" in what_axes_show([run], [costs])
