"""Each grouper against the loop over (frame, unit, offset), its equivariance, and the frames it sees."""

import itertools

import numpy as np
import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.model.grouper import Grouper

# The specification's table, on its own: kernel lengths along both axes, and the largest |a - e|.
SHIFTING, STATIONARY = 1, None
TABLE = {
    "tvae_2d_mnist": (5, 5, STATIONARY),
    "tvae_Lpartial_mnist": (13, 13, SHIFTING),
    "tvae_Lpartial_dsprites": (10, 10, 0),
    "tvae_Lhalf_mnist": (18, 18, SHIFTING),
    "tvae_Lshort_mnist": (5, 5, SHIFTING),
    "bubbles_mnist": (5, 3, STATIONARY),
    "tvae_L0_mnist": (1, 3, STATIONARY),
    "tvae_Lhalf_dsprites": (15, 15, 0),
    "tvae_Lshort_dsprites": (5, 5, 0),
    "bubbles_dsprites": (5, 5, STATIONARY),
    "tvae_L0_dsprites": (1, 3, STATIONARY),
    "tvae_Lpartial_mnist_generalization": (13, 13, SHIFTING),
    "tvae_Lpartial_perspective_mnist": (13, 13, SHIFTING),
    "tvae_Lpartial_rotcolor_mnist": (13, 13, SHIFTING),
}
SEEN = {  # l0 and the number of frames its window holds, from frame 0 on
    "tvae_2d_mnist": (0, 1),
    "tvae_Lpartial_mnist": (6, 13),
    "tvae_Lpartial_dsprites": (4, 10),
    "tvae_Lhalf_mnist": (8, 18),
    "tvae_Lshort_mnist": (2, 5),
    "bubbles_mnist": (2, 5),
    "tvae_L0_mnist": (0, 1),
    "nontvae_mnist": (0, 1),
    "tvae_Lhalf_dsprites": (7, 15),
    "tvae_Lshort_dsprites": (2, 5),
    "bubbles_dsprites": (2, 5),
    "tvae_L0_dsprites": (0, 1),
    "nontvae_dsprites": (0, 1),
    "tvae_Lpartial_mnist_generalization": (6, 13),
    "tvae_Lpartial_perspective_mnist": (6, 13),
    "tvae_Lpartial_rotcolor_mnist": (6, 13),
}
EPS = {"tvae_L0_dsprites": 1e-3}
SHORT = EXPERIMENTS["tvae_Lshort_mnist"].with_options(data="dsprites")  # whose sequences may have any length


def window(k):
    return range(-(k // 2), k // 2 + 1) if k % 2 else range(-(k // 2 - 1), k // 2 + 1)


def lattice_energy(u, moves, boundary="circular"):
    """Σ u²[site + move] over the moves, for u (*lattice, B, C), by the loop, in float64."""
    rank = len(moves[0])
    shape = u.shape[:rank]
    v = np.zeros(u.shape)
    for site in itertools.product(*map(range, shape)):
        for move in moves:
            there = [p + q for p, q in zip(site, move, strict=True)]
            if boundary == "circular":
                there = [p % n for p, n in zip(there, shape, strict=True)]
            elif boundary == "edge":
                there = [min(max(p, 0), n - 1) for p, n in zip(there, shape, strict=True)]
            elif any(not 0 <= p < n for p, n in zip(there, shape, strict=True)):
                continue
            v[site] += u[tuple(there)] ** 2
    return v


def literal(z, u, lattice, moves_of_axes, mu, eps=1e-6, boundary="circular"):
    """t = (z + mu) / Σ_axis sqrt(v_axis + eps) in float64, with u² seen on the lattice (S, *capsule)."""
    seen = u.transpose(1, 2).reshape(len(u), u.shape[2], *lattice)  # (B, C, *lattice)
    seen = np.moveaxis(seen.double().numpy(), (0, 1), (-2, -1))
    roots = [np.sqrt(lattice_energy(seen, moves, boundary) + eps) for moves in moves_of_axes]
    root = np.moveaxis(sum(roots), (-2, -1), (0, 1)).reshape(len(u), u.shape[2], u.shape[1], u.shape[3])
    return (z.double().numpy() + mu) / root.transpose(0, 2, 1, 3)


def draw(exp, b=2, c=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, b, exp.n_transforms, c, exp.cap_dim, generator=g)


def relative_error(t, wanted):
    return np.abs(t.detach().double().numpy() / wanted - 1).max()


def shifting(k, skew):
    return [(a, e) for a in window(k) for e in window(k) if abs(a - e) <= skew]


def shift(x, frames, units, exp):
    """x (B, S, C, D) translated on its torus: (frames, units), or (rows, columns) of a single frame."""
    if exp.n_transforms > 1:
        return torch.roll(x, (frames, units), (1, 3))
    return torch.roll(x.unflatten(-1, exp.capsule_shape), (frames, units), (-2, -1)).flatten(-2)


def test_the_tables_cover_the_registry():
    assert set(SEEN) == set(EXPERIMENTS)
    assert set(TABLE) == {name for name, exp in EXPERIMENTS.items() if exp.build_grouper() is not None}


@pytest.mark.parametrize("name", TABLE)
def test_t_equals_the_literal_loop(name):
    exp, (height, width, skew) = EXPERIMENTS[name], TABLE[name]
    moves = [(a, e) for a in window(height) for e in window(width) if skew is None or abs(a - e) <= skew]
    lattice, mu = ((18, 18), 10.0) if name == "tvae_2d_mnist" else ((exp.n_transforms, exp.cap_dim), 30.0)
    z, u = draw(exp)
    wanted = literal(z, u, lattice, [moves], mu, EPS.get(name, 1e-6))
    grouper = exp.build_grouper()
    assert relative_error(grouper(z, u), wanted) < 1e-6
    mistaken = literal(z, u, lattice, [moves[:-1]], mu, EPS.get(name, 1e-6))
    assert relative_error(grouper(z, u), mistaken) > 1e-3


@pytest.mark.parametrize("name", TABLE)
def test_t_is_equivariant_to_every_translation(name):
    exp = EXPERIMENTS[name]
    grouper = exp.build_grouper()
    z, u = draw(exp, b=1, c=1)
    torus = (exp.n_transforms, exp.cap_dim) if exp.n_transforms > 1 else exp.capsule_shape
    moves = list(itertools.product(*map(range, torus)))
    moved_z, moved_u = (torch.cat([shift(x, a, e, exp) for a, e in moves]) for x in (z, u))
    moved_t = torch.cat([shift(grouper(z, u), a, e, exp) for a, e in moves])
    torch.testing.assert_close(grouper(moved_z, moved_u), moved_t, rtol=2e-6, atol=0)
    assert not torch.allclose(moved_t, moved_t[:1], rtol=1e-2)


@pytest.mark.parametrize(
    "exp",
    [
        EXPERIMENTS["tvae_Lhalf_mnist"].with_options(n_off_diag=0),
        EXPERIMENTS["tvae_Lhalf_dsprites"],
        SHORT.with_options(n_off_diag=0, n_transforms=6, cap_dim=6, group_kernel=(6, 6)),
    ],
    ids=["18", "15", "6"],
)
def test_a_full_diagonal_window_rolls_exactly(exp):
    _, u = draw(exp)
    v = exp.build_grouper().energy((3 * u).round())[0]  # whole numbers: their sums are exact in any order
    assert torch.equal(torch.roll(v, -1, 1), torch.roll(v, 1, -1))
    assert not torch.equal(torch.roll(v, -1, 1), v)


@pytest.mark.parametrize("boundary", ["zero", "edge", "circular"])
@pytest.mark.parametrize("capsule", [(18,), (3, 6), (2, 3, 3)])
def test_capsules_of_several_dimensions_and_boundaries(capsule, boundary):
    exp = SHORT.with_options(capsule=capsule, boundary=boundary, n_transforms=5)
    z, u = draw(exp, c=2)

    def along(axis, a, e):
        return (a, *(e if i == axis else 0 for i in range(len(capsule))))

    moves = [[along(axis, a, e) for a, e in shifting(5, 1)] for axis in range(len(capsule))]
    wanted = literal(z, u, (5, *capsule), moves, 30.0, boundary=boundary)
    assert relative_error(exp.build_grouper()(z, u), wanted) < 1e-6


@pytest.mark.parametrize("kernel, capsule", [((4,), (18,)), ((3, 2), (3, 6)), ((1, 3, 2), (2, 3, 3))])
def test_lattices_without_time(kernel, capsule):
    exp = SHORT.with_options(topography="lattice", group_kernel=kernel, capsule=capsule, n_transforms=3)
    z, u = draw(exp)
    moves = [(0, *move) for move in itertools.product(*map(window, kernel))]
    assert relative_error(exp.build_grouper()(z, u), literal(z, u, (3, *capsule), [moves], 30.0)) < 1e-6


@pytest.mark.parametrize("changes", [{}, {"capsule": (3, 6)}, {"boundary": "zero"}, {"boundary": "edge"}])
def test_a_trainable_w_starts_at_the_fixed_one(changes):
    exp = SHORT.with_options(**changes)
    z, u = draw(exp)
    torch.testing.assert_close(
        exp.with_options(trainable_w=True).build_grouper()(z, u), exp.build_grouper()(z, u), rtol=1e-6, atol=0
    )


def test_a_trainable_w_stays_non_negative_and_circulant():
    exp = SHORT.with_options(trainable_w=True)
    grouper = exp.build_grouper()
    before = grouper.matrices.detach().clone()
    z, u = draw(exp)
    optimizer = torch.optim.Adam(grouper.parameters(), lr=0.7)  # two steps carry the weights past 0
    for _ in range(2):
        optimizer.zero_grad()
        (-grouper(z, u).mean()).backward()
        assert grouper.weights.grad.abs().min() > 0 and grouper.mu.grad != 0
        optimizer.step()
    w = grouper.matrices.detach()
    assert grouper.weights.min() < 0 <= w.min()
    assert not torch.allclose(w, before, rtol=0.1)
    sites = torch.arange(18 * 18).view(18, 18)
    for move in itertools.product(range(18), repeat=2):
        p = torch.roll(sites, move, (0, 1)).flatten()
        assert torch.equal(w[:, p][:, :, p], w)


def test_a_fixed_w_is_not_trained():
    assert [name for name, _ in SHORT.build_grouper().named_parameters()] == ["mu"]


@pytest.mark.parametrize("shape", [(1, 17, 2, 18), (1, 18, 2, 17), (1, 1, 2, 18)])
def test_frames_and_units_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="but this W couples 18 of 18"):
        SHORT.build_grouper()(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("name", SEEN)
def test_seen_frames(name):
    exp, (anchor, n) = EXPERIMENTS[name], SEEN[name]
    assert exp.anchor == anchor
    assert exp.held_out == list(range(n, exp.n_transforms))


@pytest.mark.parametrize("name", [name for name in TABLE if name != "tvae_2d_mnist"])
def test_t_depends_on_the_seen_frames_only(name):
    exp = EXPERIMENTS[name]
    grouper = exp.build_grouper()
    z, u = draw(exp, b=1, c=1)
    t = grouper(z, u)[:, exp.anchor]
    changing = []
    for frame in range(exp.n_transforms):
        other_u, other_z = u.clone(), z.clone()
        other_u[:, frame] += 1
        other_z[:, frame] += 1
        if not torch.equal(grouper(z, other_u)[:, exp.anchor], t):
            changing.append(frame)
        assert torch.equal(grouper(other_z, u)[:, exp.anchor], t) == (frame != exp.anchor)
    assert changing == grouper.seen_frames(exp.anchor) == list(range(SEEN[name][1]))


def test_what_a_grouper_is_unless_it_is_told_otherwise():
    """mu is 30, eps 1e-6, W wraps round and is fixed."""
    z, u = torch.randn(2, 1, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    steps = [(0, 0), (1, -1), (2, 3)]
    plain = Grouper((3, 4), [steps])
    told = Grouper((3, 4), [steps], mu=30.0, eps=1e-6, boundary="circular", trainable=False)
    assert torch.equal(plain(z, u), told(z, u)) and [n for n, _ in plain.named_parameters()] == ["mu"]
    assert relative_error(plain(z, u), literal(z, u, (3, 4), [steps], 30.0)) < 1e-6


@pytest.mark.parametrize("trainable, kept", [(False, {"mu"}), (True, {"mu", "weights"})])
def test_a_checkpoint_holds_parameters_alone(trainable, kept):
    """W is built from the experiment, so no file can bring another one."""
    assert set(Grouper((3, 4), [[(0, 0), (1, 1)]], trainable=trainable).state_dict()) == kept


def test_under_autocast_the_energy_is_summed_in_float32():
    grouper, u = SHORT.build_grouper(), draw(SHORT)[1]
    with torch.autocast("cpu", torch.bfloat16):
        under = grouper.energy(u)
    assert under.dtype == torch.float32 and torch.equal(under, grouper.energy(u))
