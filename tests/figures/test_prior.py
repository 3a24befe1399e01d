"""Sequences from the prior: what moves smoothly and what does not, and that each source has its rows."""

import pytest
import torch

from tvae_core.figures.prior import COLUMNS, MEASURED, Samples, draw_samples, prior_samples, smoothness_row
from tvae_core.seeding import generator


@pytest.fixture(autouse=True)
def few(use_digits):
    use_digits(90, 60)


def test_smoothness_of_what_is_known():
    g = torch.Generator().manual_seed(0)
    noise = torch.rand(20, 18, 3, 8, 8, generator=g)
    assert Samples("noise", noise, 1).smoothness == pytest.approx(1, abs=0.02)
    angle = torch.arange(18) * 2 * torch.pi / 18
    circle = torch.stack([angle.cos(), angle.sin()], -1).view(1, 18, 2, 1, 1)
    near = 2 * torch.sin(torch.tensor(torch.pi / 18))
    apart = sum(2 * torch.sin(torch.tensor(torch.pi * k / 18)) for k in range(1, 18)) / 17
    assert Samples("circle", circle, 1).smoothness == pytest.approx((near / apart).item(), rel=1e-4)
    assert Samples("still", torch.ones(2, 18, 1, 4, 4), 1).smoothness is None
    assert Samples("single", noise[:, :1], 1).smoothness is None


def test_samples_come_from_the_prior_of_both_models_and_from_the_data(make_run):
    run = make_run("tvae_Lpartial_mnist n_caps=2")
    trained, control, data = prior_samples(run, 2)
    assert all(len(d.frames) == MEASURED and d.shown == 2 for d in (trained, control, data))
    for found, seed in ((trained, 99), (control, run.exp.seed)):
        with torch.inference_mode():
            literal = run.exp.build_model(seed).sample(MEASURED, 18, generator("cpu", 0, "prior samples"))
        assert torch.equal(found.frames, literal)
    test = run.data.test
    again = test.batch(torch.arange(MEASURED), generator("cpu", 0, "test sequences"))
    assert torch.equal(data.frames, again.x)
    row = smoothness_row(run, [trained, control, data])
    assert row["test data"] == data.smoothness and row["prior, untrained"] == control.smoothness


def test_only_what_is_to_be_shown_is_drawn(make_run):
    found = prior_samples(make_run("tvae_Lpartial_mnist n_caps=2"), 2)
    figure = draw_samples(found, "A model")
    assert [axes.get_images()[0].get_array().shape[:2] for axes in figure.axes] == [(58, 18 * 30 - 2)] * 3
    single = prior_samples(make_run("tvae_2d_mnist"), 1)
    assert single[0].shown == COLUMNS and single[0].smoothness is None
    assert draw_samples(single, "A model").axes[0].get_images()[0].get_array().shape[:2] == (
        28,
        COLUMNS * 30 - 2,
    )
