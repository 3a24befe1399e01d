"""Figure 1: both paths around the square, and the measure that tells equivariance from invariance."""

import pytest
import torch

from tvae_core.figures.fig1 import agreement, both_paths, commutative_square
from tvae_core.figures.traversals import start_of
from tvae_core.model.tvae import TVAE


@pytest.fixture
def turning(make_run):
    return make_run("tvae_Lpartial_mnist_generalization n_caps=2")


def test_both_paths_around_the_square(turning):
    square = both_paths(turning, example=3, shift=8)
    model, test = turning.model, turning.data.test
    x = test.sequence(torch.tensor([3]), 0, start_of("fig1", 0)).x
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
    rolled, still = agreement(turning, turning.model, 8)
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
