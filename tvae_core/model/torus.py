"""Every topography is one matrix: offsets on a small torus, the neighbourhood they build, and its rolls."""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BOUNDARIES = ("circular", "zero", "edge")

Offset = tuple[int, ...]


def window(length: int) -> range:
    """The offsets of a kernel of this length: -(k//2) … k//2 for odd k, -(k/2 - 1) … k/2 for even k.

    Raises ValueError if the length is below 1.
    """
    if length < 1:
        raise ValueError(f"a kernel of length {length} has no offsets; the shortest is 1")
    start = -((length - 1) // 2)
    return range(start, start + length)


def offsets(height: int, width: int, skew: int | None = None) -> list[Offset]:
    """All (a, b) in window(height) × window(width) with |a - b| ≤ skew (no bound if skew is None).

    (13, 13, 1) is a shifting capsule of L = 13/36 S and K = 3, (5, 3) a stationary one, (5, 5) the
    2-D torus. b is clipped to its window, so the ends of a shifting window have fewer terms.
    """
    pairs = itertools.product(window(height), window(width))
    return [(a, b) for a, b in pairs if skew is None or abs(a - b) <= skew]


def embed(pairs: Sequence[Offset], axes: tuple[int, ...], rank: int) -> list[Offset]:
    """Offsets of a lattice of that rank which move along the given axes only."""
    return [tuple(dict(zip(axes, p, strict=True)).get(axis, 0) for axis in range(rank)) for p in pairs]


def neighbours(
    shape: Sequence[int], steps: Sequence[Offset], boundary: str = "circular"
) -> tuple[Int[Tensor, "N P"], Bool[Tensor, "N P"]]:
    """For each of the N sites of a lattice (row-major) the site that each of the P offsets leads to.

    Returns the sites, and whether the step stayed on the lattice. `circular` wraps round, `zero` leaves
    the lattice (its contribution is to be dropped), `edge` stops at the border.
    Raises ValueError for an unknown boundary or offsets of another rank than the lattice.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary {boundary!r} is not one of {', '.join(BOUNDARIES)}")
    if any(len(step) != len(shape) for step in steps):
        raise ValueError(f"offsets {list(steps)[:1]} do not fit a lattice of shape {tuple(shape)}")
    size = torch.tensor(shape)
    sites = torch.cartesian_prod(*(torch.arange(n) for n in shape)).view(-1, 1, len(shape))
    moved = sites + torch.tensor(steps)  # (N, P, rank)
    inside = ((moved >= 0) & (moved < size)).all(-1) | (boundary != "zero")
    landed = moved % size if boundary == "circular" else moved.minimum(size - 1).clamp(min=0)
    strides = torch.tensor([torch.tensor(shape[i + 1 :]).prod().int() for i in range(len(shape))])
    return (landed * strides).sum(-1), inside


def neighbourhood(
    sites: Int[Tensor, "N P"], weights: Float[Tensor, "N P"] | Float[Tensor, " P"]
) -> Float[Tensor, "N N"]:
    """W with W[i, j] = Σ of the weights of all offsets that lead from site i to site j (spec: v = W u²)."""
    n = sites.shape[0]
    weights = weights.expand(sites.shape)
    return torch.zeros(n, n, dtype=weights.dtype, device=weights.device).scatter_add(1, sites, weights)


def roll(t: Tensor, shift: int, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll_δ(t)[…, d] = t[…, (d - δ) mod D], cyclic inside each capsule (paper, section 5).

    t: (…, D). For a capsule of several dimensions give its shape, `capsule` with product D, and the
    axis of it along which to roll.
    """
    capsule = tuple(capsule or t.shape[-1:])
    return t.unflatten(-1, capsule).roll(shift, axis - len(capsule)).flatten(-len(capsule))


def roll_each(t: Tensor, shifts: Tensor, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll every capsule of t by its own shift, all at once.

    t: (…, D); shifts: whole numbers of any sign that broadcast against t's leading axes, as the result
    does. `axis` and `capsule` as in roll.
    """
    capsule = tuple(capsule or t.shape[-1:])
    leading = torch.broadcast_shapes(t.shape[:-1], shifts.shape)
    t = t.unflatten(-1, capsule).movedim(axis - len(capsule), -1)
    size = t.shape[-1]
    index = (torch.arange(size, device=t.device) - shifts.unsqueeze(-1)) % size
    index = index.view(*index.shape[:-1], *[1] * (len(capsule) - 1), size)
    shape = (*leading, *t.shape[-len(capsule) :])
    rolled = t.expand(shape).gather(-1, index.expand(shape))
    return rolled.movedim(-1, axis - len(capsule)).flatten(-len(capsule))


def roll_smoothly(t: Tensor, shifts: Tensor, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll every capsule of t by its own shift, fractions of a unit included (Fourier shift).

    The discrete Fourier transform along the capsule times exp(-2πikδ/D): trigonometric interpolation, so
    whole shifts are those of roll. t: (…, D); shifts: real numbers that broadcast against t's leading
    axes, as the result does. `axis` and `capsule` as in roll.

    Two shifts compose to their sum, but for the highest frequency of an even D, which turns as cos(πδ)
    and so fades at half a step (unless one of the two is whole). No real shift could do better: for even
    D a roll by one unit has determinant -1, and what has a real square root has a positive one.
    """
    capsule = tuple(capsule or t.shape[-1:])
    leading = torch.broadcast_shapes(t.shape[:-1], shifts.shape)
    t = t.unflatten(-1, capsule).movedim(axis - len(capsule), -1)
    size = t.shape[-1]
    k = torch.arange(size // 2 + 1, dtype=t.dtype, device=t.device)
    angle = -2 * torch.pi / size * k * shifts.to(t.device, t.dtype).unsqueeze(-1)
    turn = torch.polar(torch.ones_like(angle), angle)
    turn = turn.view(*turn.shape[:-1], *[1] * (len(capsule) - 1), len(k))
    spectrum = torch.fft.rfft(t).expand(*leading, *t.shape[-len(capsule) : -1], len(k))
    rolled = torch.fft.irfft(spectrum * turn, n=size)  # of the last frequency of an even size the real part
    return rolled.movedim(-1, axis - len(capsule)).flatten(-len(capsule))
