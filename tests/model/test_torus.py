"""Windows, offsets and neighbourhoods against their definitions, and the group law of the rolls."""

import itertools
import math

import numpy as np
import pytest
import torch

from tvae_core.model.torus import (
    BOUNDARIES,
    neighbourhood,
    neighbours,
    offsets,
    roll,
    roll_each,
    roll_smoothly,
    window,
)

LATTICES = [(7,), (4, 5), (3, 4, 2), (1, 6)]


def literal_window(k):
    return range(-(k // 2), k // 2 + 1) if k % 2 else range(-(k // 2 - 1), k // 2 + 1)


def literal_neighbourhood(shape, steps, weights, boundary):
    """W by the loop over sites and offsets."""
    sites = list(itertools.product(*map(range, shape)))
    w = np.zeros((len(sites), len(sites)), np.float32)
    for i, site in enumerate(sites):
        for step, weight in zip(steps, weights, strict=True):
            moved = [p + q for p, q in zip(site, step, strict=True)]
            if boundary == "circular":
                moved = [p % n for p, n in zip(moved, shape, strict=True)]
            elif boundary == "edge":
                moved = [min(max(p, 0), n - 1) for p, n in zip(moved, shape, strict=True)]
            elif any(not 0 <= p < n for p, n in zip(moved, shape, strict=True)):
                continue
            w[i, sites.index(tuple(moved))] += weight
    return w


def steps_and_weights(shape):
    """Offsets that leave the lattice on every side, one of them twice, and a whole-number weight for each."""
    rng = np.random.default_rng(len(shape))
    steps = [tuple(rng.integers(-n, n + 1).item() for n in shape) for _ in range(9)]
    return [*steps, steps[0]], rng.integers(1, 9, 10).astype(np.float32)


def translations(shape):
    """For every translation of the torus the site (row-major) that each site moves to."""
    grid = torch.arange(torch.Size(shape).numel()).view(shape)
    axes = tuple(range(len(shape)))
    return [torch.roll(grid, shift, axes).flatten() for shift in itertools.product(*map(range, shape))]


def broken_translations(w, shape):
    """How many translations of the torus W does not commute with."""
    return sum(not torch.equal(w[p][:, p], w) for p in translations(shape))


@pytest.mark.parametrize("length, first, last", [(1, 0, 0), (2, 0, 1), (10, -4, 5), (13, -6, 6), (18, -8, 9)])
def test_window_ranges(length, first, last):
    assert list(window(length)) == list(range(first, last + 1))


def test_windows_of_all_lengths():
    assert all(window(k) == literal_window(k) and len(window(k)) == k for k in range(1, 40))
    with pytest.raises(ValueError, match="length of a kernel is 0"):
        window(0)


@pytest.mark.parametrize(
    "height, width, skew, count",
    [(13, 13, 1, 37), (5, 5, 1, 13), (18, 18, 1, 52), (10, 10, 0, 10), (5, 5, None, 25), (5, 3, None, 15)],
)
def test_counts_of_offsets(height, width, skew, count):
    assert len(offsets(height, width, skew)) == count


@pytest.mark.parametrize("skew", [None, 0, 1, 2, 9])
def test_offsets_by_definition(skew):
    for h, w in itertools.product(range(1, 8), repeat=2):
        pairs = itertools.product(literal_window(h), literal_window(w))
        wanted = {(a, e) for a, e in pairs if skew is None or abs(a - e) <= skew}
        assert set(offsets(h, w, skew)) == wanted and len(offsets(h, w, skew)) == len(wanted)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", LATTICES)
def test_neighbourhood_equals_the_loop(shape, boundary):
    steps, weights = steps_and_weights(shape)
    sites, inside = neighbours(shape, steps, boundary)
    w = neighbourhood(sites, inside * torch.from_numpy(weights))
    assert np.array_equal(w.numpy(), literal_neighbourhood(shape, steps, weights, boundary))


def test_the_boundaries_differ():
    steps, weights = steps_and_weights((4, 5))
    different = {literal_neighbourhood((4, 5), steps, weights, b).tobytes() for b in BOUNDARIES}
    assert len(different) == len(BOUNDARIES)


@pytest.mark.parametrize("shape", LATTICES)
def test_w_commutes_with_every_translation(shape):
    steps, weights = steps_and_weights(shape)
    for boundary in BOUNDARIES:
        sites, inside = neighbours(shape, steps, boundary)
        broken = broken_translations(neighbourhood(sites, inside * torch.from_numpy(weights)), shape)
        assert broken == 0 if boundary == "circular" else broken > 0


def test_wrong_boundaries_and_ranks_are_refused():
    with pytest.raises(ValueError, match="'open' is not one of circular, zero, edge"):
        neighbours((3, 3), [(0, 0)], "open")
    with pytest.raises(ValueError, match="do not fit"):
        neighbours((3, 3), [(0,)])


def test_roll_is_torch_roll():
    t = torch.randn(2, 3, 5, 6)
    for shift in range(-13, 14):
        assert torch.equal(roll(t, shift), torch.roll(t, shift, -1))
    assert roll(torch.arange(4.0), 1).tolist() == [3, 0, 1, 2]  # Roll_1(t)[d] = t[d - 1]


def test_rolls_form_a_group():
    t = torch.randn(3, 5)
    assert torch.equal(roll(t, 0), t) and not torch.equal(roll(t, 1), t)
    for a, b in itertools.product(range(-5, 6), repeat=2):
        assert torch.equal(roll(roll(t, a), b), roll(t, a + b))
        assert torch.equal(roll(t, a + 5 * b), roll(t, a))


@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (3, 4), (2, 3, 4), (2, 1, 4), (7, 1, 1, 4)])
def test_roll_each_equals_the_loop(shape):
    t = torch.randn(2, 3, 4, 6)
    shifts = torch.randint(-20, 20, shape)
    rolled = roll_each(t, shifts)
    leading = torch.broadcast_shapes(t.shape[:-1], shape)
    assert rolled.shape == (*leading, 6)
    many, each = t.expand(*leading, 6), shifts.expand(leading)
    for place in itertools.product(*map(range, leading)):
        assert torch.equal(rolled[place], torch.roll(many[place], each[place].item(), -1))


@pytest.mark.parametrize("capsule", [(6,), (2, 3), (3, 4), (2, 3, 2)])
def test_capsules_of_several_dimensions_roll_along_one(capsule):
    d = torch.Size(capsule).numel()
    t = torch.randn(2, 5, 3, d)
    shifts = torch.arange(5).view(5, 1) - 2
    for axis in range(len(capsule)):
        seen = t.unflatten(-1, capsule)
        for shift in range(-4, 8):
            wanted = torch.roll(seen, shift, axis - len(capsule)).flatten(-len(capsule))
            assert torch.equal(roll(t, shift, axis, capsule), wanted)
        each = [torch.roll(seen[:, i], i - 2, axis - len(capsule)) for i in range(5)]
        wanted = torch.stack(each, 1).flatten(-len(capsule))
        assert torch.equal(roll_each(t, shifts, axis, capsule), wanted)


SHIFTS = torch.tensor([-4.0, -1.0, 0.0, 1.0, 3.0, 7.0])


@pytest.mark.parametrize("capsule, axis", [((7,), 0), ((8,), 0), ((1,), 0), ((2, 4), 0), ((3, 5), 1)])
def test_a_smooth_roll_by_whole_units_is_a_roll(capsule, axis):
    t = torch.randn(3, math.prod(capsule), dtype=torch.float64)
    rolled = roll_smoothly(t, SHIFTS.unsqueeze(1), axis, capsule)
    assert rolled.dtype == t.dtype
    torch.testing.assert_close(rolled, torch.stack([roll(t, int(s), axis, capsule) for s in SHIFTS]))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("a, b", [(0.25, 0.5), (-1.75, 0.3), (2.5, 0.5)])
def test_smooth_rolls_compose_but_for_the_highest_frequency_of_an_even_size(size, a, b):
    t = torch.randn(2, size, dtype=torch.float64)
    a, b = torch.tensor([a, b], dtype=torch.float64)
    twice = roll_smoothly(roll_smoothly(t, a), b)
    once = roll_smoothly(t, a + b)
    highest = torch.fft.rfft(twice - once)
    assert highest[:, : (size + 1) // 2].abs().max() < 1e-9
    assert (highest.abs().max() < 1e-9) == (size % 2 == 1)


def test_a_smooth_roll_moves_a_wave_by_fractions_and_keeps_its_height():
    d = torch.arange(9, dtype=torch.float64) * 2 * torch.pi / 9
    moved = roll_smoothly(torch.cos(2 * d), torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(moved, torch.cos(2 * (d - 0.4 * 2 * torch.pi / 9)))


def test_a_smooth_roll_of_some_capsules_leaves_the_others_as_they_are():
    t = torch.randn(4, 6)
    rolled = roll_smoothly(t, torch.tensor([0.0, 0.5, 0.0, 2.0]))
    torch.testing.assert_close(rolled[[0, 2]], t[[0, 2]])
    torch.testing.assert_close(rolled[3], roll(t, 2)[3])
