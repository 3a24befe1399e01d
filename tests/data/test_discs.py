"""Discs of photographs: a quarter of a turn is exact, and the test photograph is never trained on."""

import pytest
import torch

from tvae_core.data.discs import CONTRAST, PHOTOGRAPHS, photograph, recolour, turn_discs, turning_discs


@pytest.fixture(scope="module")
def discs():
    return turning_discs(40, 12, frames=8, size=12)


def test_a_quarter_of_a_turn_moves_whole_pixels():
    picture = photograph("china")
    x = turn_discs(picture, torch.tensor([[30.5, 40.5], [20.5, 90.5]]), 4, 12)
    for quarter in range(4):
        assert torch.equal(x[:, quarter], torch.rot90(x[:, 0], quarter, (-2, -1)))
    square = torch.from_numpy(picture[25:37, 35:47].copy()).permute(2, 0, 1)
    inside = x[0, 0] > 0
    assert torch.equal(x[0, 0][inside], square[inside])


def test_the_test_photograph_is_never_trained_on(discs):
    assert list(PHOTOGRAPHS) == ["flower", "china"]
    assert [discs.split.count(split) for split in ("train", "validation", "test")] == [36, 4, 12]
    assert discs.labels[discs.members("test")].unique().tolist() == [1]
    assert discs.labels[discs.members("train")].unique().tolist() == [0]


def test_discs_have_contrast_and_come_again(discs):
    assert discs.key == turning_discs(40, 12, frames=8, size=12).key
    spread = discs.x.float().flatten(3).std(-1).mean(2)
    assert spread.min() > CONTRAST * 0.8


def test_discs_to_train_on_keep_their_shapes_under_exchanged_colours(discs):
    g = torch.Generator().manual_seed(0)
    x = discs.x[discs.members("test")]
    found = recolour(x.clone(), g)
    assert not torch.equal(found, x) and torch.equal(found.amax((0, 1, 2)) > 0, x.amax((0, 1, 2)) > 0)
    inside = x.amax((0, 1, 2)) > 0
    for before, after in zip(x, found, strict=True):
        values = [one[..., inside].flatten(2).sort(1).values for one in (before, after, 255 - after)]
        assert torch.equal(values[0], values[1]) or torch.equal(values[0], values[2])
