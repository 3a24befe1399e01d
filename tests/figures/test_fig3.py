"""Figure 3: which digit drives a unit, which class it is selective for, and how far neighbours agree."""

import itertools
import math

import numpy as np
import pytest
import torch

from tvae_core.figures.fig3 import (
    NO_CLASS,
    TorusMap,
    draw_torus,
    neighbours_agree,
    prior_digits,
    selectivity_agrees,
    torus_maps,
    torus_strips,
)
from tvae_core.measures.metrics import selectivity
from tvae_core.plotting.strips import tile
from tvae_core.plotting.style import CLASSES


def test_torus_maps_against_literal_loops(make_run):
    run = make_run("tvae_2d_mnist mu_init=0.0")
    trained, untrained = torus_maps(run)
    test = run.data.test
    for one, seed in ((trained, 99), (untrained, run.exp.seed)):
        model = run.exp.build_model(seed)
        with torch.inference_mode():
            each = [model.latents(test.batch(torch.tensor([i])).x).abs().flatten() for i in range(6)]
        for unit in range(324):
            best = max(range(6), key=lambda digit: each[digit][unit])
            assert torch.equal(one.drivers[unit, 0], test.images[best].float() / 255)
            assert one.driving_classes[unit] == test.labels[best]
        d_prime = selectivity(torch.stack(each), test.labels)
        assert torch.allclose(one.d_prime, d_prime, equal_nan=True, atol=1e-4)
        assert [c >= 0 for c in one.classes.tolist()] == (d_prime.nan_to_num(-9).amax(0) >= 0.85).tolist()
    samples = prior_digits(run, 3)
    assert samples.shape == (3, 1, 28, 28) and not torch.equal(samples[0], samples[1])


def with_d_prime(d_prime, n=9) -> TorusMap:
    return TorusMap("trained", torch.rand(n, 1, 2, 2), torch.zeros(n).long(), d_prime)


def test_a_unit_has_a_class_from_085_on():
    nan, inf = math.nan, math.inf
    d_prime = [[0.85, 0.849, 2.0, nan, nan, -3.0], [0.1, 0.2, 3.0, 0.9, nan, -inf], [nan] * 6]
    assert with_d_prime(torch.tensor(d_prime)).classes.tolist() == [0, -1, 1, 1, -1, -1]


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


def test_selectivity_agrees_against_literal_correlations():
    d_prime = torch.randn(10, 12, generator=torch.Generator().manual_seed(0)).cumsum(1)
    r = np.corrcoef(d_prime.T.numpy())
    near = [
        r[y * 4 + x, (y + a) % 3 * 4 + (x + b) % 4]
        for y, x, (a, b) in itertools.product(range(3), range(4), [(0, 1), (1, 0)])
    ]
    found = selectivity_agrees(d_prime, 3)
    assert found == pytest.approx((np.mean(near), r[~np.eye(12, dtype=bool)].mean()))


def test_one_digit_is_rolled_along_each_axis_of_the_torus(make_run):
    run = make_run("tvae_2d_mnist")
    (strip,) = torus_strips(run, image=2)
    (_, given), *rolled = strip.rows
    assert given.shape == (18, 1, 28, 28) and torch.equal(
        given[3], run.data.test.batch(torch.tensor([2])).x[0, 0]
    )
    with torch.inference_mode():
        t = run.model.latents(given[None, :1])[0, 0].view(18, 18)
        for (_, frames), axes in zip(rolled, ((0,), (1,), (0, 1)), strict=True):
            literal = run.model.decode(t.roll([5] * len(axes), axes).view(1, 1, 1, 324))[0, 0]
            assert torch.allclose(frames[9 + 5], literal, atol=1e-5)
    assert strip.anchor == 9 and not strip.held_out


def test_the_map_shows_every_unit_in_its_place():
    classes = torch.tensor([3, -1, 0, 9, 9, -1, 1, 2, -1])
    d_prime = torch.full((10, 9), -1.0)
    d_prime[classes[classes >= 0], (classes >= 0).nonzero()[:, 0]] = 2.0
    one, samples = with_d_prime(d_prime), torch.rand(21, 1, 2, 2)
    assert torch.equal(one.classes, classes)
    figure = draw_torus([one, one._replace(kind="untrained")], samples, side=3)
    drawn = [axes for axes in figure.axes if axes.images]
    units, tiles, _, other, prior = drawn
    assert "untrained" in other.get_title(loc="left") and "trained" in tiles.get_title(loc="left")
    assert np.array_equal(units.images[0].get_array(), tile(one.drivers, 3, 1, 0.35).numpy())
    assert np.array_equal(prior.images[0].get_array(), tile(samples, 20).numpy())
    image = tiles.images[0]
    colours = image.cmap(image.norm(image.get_array()))
    written = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in tiles.texts}
    for unit, digit in enumerate(classes.tolist()):
        place = divmod(unit, 3)
        assert written.get(place) == (None if digit < 0 else str(digit))
        red, green, blue = (round(255 * v) for v in colours[place][:3])
        assert f"#{red:02x}{green:02x}{blue:02x}" == (NO_CLASS if digit < 0 else CLASSES[digit])
    (key,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in key.get_texts()] == [*map(str, range(10)), "none"]
