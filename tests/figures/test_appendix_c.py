"""Appendix C: where the error of a step rises, and along which axes capsules of two dimensions are rolled."""

import pytest
import torch

from tvae_core.figures.appendix_c import (
    Breaks,
    axes_to_roll,
    axis_strips,
    break_maps,
    breaks,
    cost_rows,
    shape,
)
from tvae_core.figures.control_distance import roll_costs
from tvae_core.measures.controls import chance
from tvae_core.model.torus import BOUNDARIES


@pytest.fixture
def made(make_run):
    """Return a run of three capsules, with the rows that chance gives as its results."""

    def make(text: str):
        run = make_run(f"tvae_Lpartial_mnist n_caps=3 {text}")
        run.__dict__["results"] = {
            kind: chance(run.exp, run.data.test) for kind in ("trained", "untrained", "chance")
        }
        return run

    return make


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_only_a_circle_has_no_end(boundary, made):
    """Before training all sites of a circle are alike; elsewhere the ends stand out."""
    trained, untrained = breaks(made(f"boundary={boundary} mu_init=100.0"), 6)
    assert (trained.kind, untrained.kind) == ("trained", "untrained")
    ratio = untrained.row["where the capsule wraps"]
    assert ratio == pytest.approx(1, abs=0.25) if boundary == "circular" else ratio > 1.5
    assert trained.error.shape == (18, 18)


def test_where_an_error_is_counted():
    error = torch.zeros(18, 18)
    error[:-1, 1:], error[-1], error[:-1, 0] = 1.0, 3.0, 2.0
    assert [*Breaks("zero", "trained", error).row.values()] == ["zero", "trained", 1.0, 3.0, 2.0]


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
    assert list(axes_to_roll(flat).values()) == [(0,)]
    assert axes_to_roll(square) == {"along 2 units": (0,), "along 9 units": (1,), "along both": (0, 1)}
    rows = dict(axis_strips(square, varied=2).rows)
    two, nine, both = (rows[words] for words in axes_to_roll(square))
    assert torch.allclose(two[0], two[2]) and not torch.allclose(two[0], two[1])
    assert torch.allclose(nine[0], nine[9]) and not torch.allclose(nine[0], nine[2])
    assert not any(torch.allclose(both[0], both[frame]) for frame in range(1, 18))
    assert torch.allclose(both[6], rows["reconstruction"][6], atol=1e-5)


def test_costs_by_axis_are_those_of_held_out_frames(made):
    run = made("capsule=(2,9)")
    two, _, both = cost_rows(run, 3)
    literal = roll_costs(run, run.model, 3, (0, 1))[13:].mean().item()
    assert both["trained"] == pytest.approx(literal) and both["trained"] != two["trained"]
    assert both["mean frame"] == run.results["chance"]["reconstruction"] and both["rolled"] == "along both"


@pytest.mark.parametrize("units", [12, 30])
def test_capsules_shorter_and_longer_than_a_sequence(units, made):
    """Every step can be a roll, but only 18 units come back after 18 steps."""
    run = made(f"cap_dim={units} mu_init=100.0")
    _, untrained = breaks(run, 6)
    assert untrained.error.shape == (18, units) and shape(run) == f"circular, {units} units"
    assert untrained.row["where the capsule wraps"] < 1.4  # 1.5 and more where there is an end
    t = torch.randn(1, 18, 3, units)
    assert not torch.equal(run.model.rolls(t, 0)[0, 17].roll(1, -1), t[0, 0])
    assert len(axis_strips(run).rows) == 3
