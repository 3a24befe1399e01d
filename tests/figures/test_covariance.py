"""Correlations of energies: literal loops over offsets, and the pattern that W implies."""

import itertools

import numpy as np
import pytest
import torch

from tvae_core.figures.covariance import correlate, correlation_maps, energy_correlations, neighbour_rows


def test_correlations_against_literal_loops():
    energy = torch.randn(40, 3, 4, generator=torch.Generator().manual_seed(0)).cumsum(1).square()
    r = np.corrcoef(energy.flatten(1).T.numpy())
    for a, e in itertools.product(range(3), range(4)):
        literal = [
            r[row * 4 + d, (row + a) % 3 * 4 + (d + e) % 4]
            for row, d in itertools.product(range(3), range(4))
        ]
        assert correlate(energy)[a, e] == pytest.approx(np.mean(literal), abs=1e-5)


def test_what_w_implies_is_what_independent_u_give(make_run):
    run = make_run("tvae_Lpartial_mnist n_caps=2")
    by_w = energy_correlations(run, 6)[-1]
    w = run.exp.build_grouper().matrices[0]
    u = torch.randn(4000, w.shape[0], generator=torch.Generator().manual_seed(0))
    v = u.square() @ w.T
    assert torch.allclose(by_w.r, correlate(v.view(-1, 18, 18)), atol=0.01)
    assert by_w.r[0, 0] == 1 and by_w.r[1, 1] > by_w.r[1, 0] > 0.4


@pytest.mark.parametrize(
    "text, energies, size",
    [
        ("tvae_Lpartial_mnist n_caps=2", 5, (18, 18)),
        ("nontvae_mnist n_caps=2", 2, (18, 18)),
        ("tvae_2d_mnist", 5, (18, 18)),
    ],
)
def test_every_model_has_its_maps(text, energies, size, make_run):
    found = energy_correlations(make_run(text), 6)
    assert len(found) == energies and all(one.r.shape == size for one in found)
    assert all(one.r[0, 0] > 0.9 for one in found)
    rows = neighbour_rows(found)
    assert rows[0]["next frame, rolled"] == found[0].r[1, 1].item()
    assert rows[0]["next unit"] == found[0].r[0, 1].item()
    figure = correlation_maps([found, found[:2]])
    images = [axes.images[0] for axes in figure.axes if axes.images]
    middle = images[0].get_array()[9, 9]
    assert (
        len(images) == energies + 2
        and middle == found[0].r[0, 0]
        and len({i.get_clim() for i in images}) == 1
    )
