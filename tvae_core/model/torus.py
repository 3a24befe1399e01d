"""Every topography is one matrix W: the offsets on a small torus that build it, and rolls on that torus."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tvae_core.validation import check_choice, check_number, check_tensors

BOUNDARIES = ("circular", "zero", "edge")

Offset = tuple[int, ...]


def window(length: int) -> range:
    """Return the offsets of a kernel of length k: -(k//2) … k//2 for odd k, -(k/2 - 1) … k/2 for even k.

    Raises ValueError unless the length is a whole number from 1 up.
    """
    check_number("the length of a kernel", length, least=1)
    start = -((length - 1) // 2)
    return range(start, start + length)


def offsets(height: int, width: int, skew: int | None = None) -> list[Offset]:
    """Return all (a, b) in window(height) × window(width) with |a - b| ≤ skew (no bound if skew is None).

    (13, 13, 1) is a shifting capsule of L = 13/36 S and K = 3, (5, 3) a stationary one, (5, 5) the 2-D torus.
    b never leaves its window, so the ends of a shifting window have fewer terms: 37, not 39, for (13, 13, 1).
    Raises ValueError for lengths below 1 and a skew below 0.
    """
    if skew is not None:
        check_number("skew", skew, least=0)
    pairs = itertools.product(window(height), window(width))
    return [(a, b) for a, b in pairs if skew is None or abs(a - b) <= skew]


def check_kernel(
    kernel: Sequence[int], capsule: Sequence[int], frames: int | None, stationary: bool
) -> tuple[int, ...]:
    """Return the lengths of a kernel over (frames, units), or without `frames` over the axes of a capsule.

    A last length of 1, as in the official (13, 13, 1), is left out. Raises ValueError for another number of
    lengths, and for one longer than its axis; a shifting kernel may go round a capsule frame by frame.
    """
    rank, kernel = len(capsule) if frames is None else 2, tuple(kernel)
    kernel = kernel[:rank] if set(kernel[rank:]) == {1} else kernel
    if len(kernel) != rank:
        raise ValueError(f"group_kernel is {kernel}, but must have {rank} lengths")
    if frames is not None and kernel[0] > frames:
        raise ValueError(f"group_kernel is {kernel}, but there are {frames} frames")
    if stationary and any(map(int.__gt__, kernel if frames is None else kernel[1:], capsule)):
        raise ValueError(f"group_kernel is {kernel}, but a capsule has {tuple(capsule)} units")
    return kernel


def embed(pairs: Sequence[Offset], axes: tuple[int, ...], rank: int) -> list[Offset]:
    """Return the offsets as those of a lattice of that rank which move along the given axes only."""
    return [tuple(dict(zip(axes, p, strict=True)).get(axis, 0) for axis in range(rank)) for p in pairs]


def neighbours(
    shape: Sequence[int], steps: Sequence[Offset], boundary: str = "circular"
) -> tuple[Int[Tensor, "N P"], Bool[Tensor, "N P"]]:
    """Return the site that each of the P offsets leads to from each of the N sites of a lattice (row-major).

    Returns also whether the step stayed on the lattice. `circular` wraps round, `zero` leaves the lattice
    (the term is to be dropped), `edge` stops at the border. Raises ValueError for an unknown boundary, and
    for no offsets or offsets of another rank than the lattice.
    """
    check_choice(boundary, BOUNDARIES, "boundary")
    for n in shape:
        check_number("an axis of the lattice", n, least=1)
    if not steps or any(len(step) != len(shape) for step in steps):
        raise ValueError(f"offsets {list(steps)[:1]} do not fit a lattice of shape {tuple(shape)}")
    size = torch.tensor(shape)
    sites = torch.cartesian_prod(*(torch.arange(n) for n in shape)).view(-1, 1, len(shape))
    moved = sites + torch.tensor(steps)  # (N, P, rank)
    inside = ((moved >= 0) & (moved < size)).all(-1) | (boundary != "zero")
    landed = moved % size if boundary == "circular" else moved.minimum(size - 1).clamp(min=0)
    strides = torch.tensor([math.prod(shape[i + 1 :]) for i in range(len(shape))])
    return (landed * strides).sum(-1), inside


def neighbourhood(
    sites: Int[Tensor, "N P"], weights: Float[Tensor, "N P"] | Float[Tensor, " P"]
) -> Float[Tensor, "N N"]:
    """Return W of v = W u²: W[i, j] is the sum of the weights of all offsets from site i to site j."""
    n = sites.shape[0]
    weights = weights.expand(sites.shape)
    return torch.zeros(n, n, dtype=weights.dtype, device=weights.device).scatter_add(1, sites, weights)


def roll(t: Tensor, shift: int, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll every capsule by `shift` units: Roll_δ(t)[…, d] = t[…, (d - δ) mod D] (paper, section 5).

    t: (…, D). For a capsule of several dimensions give its shape, `capsule`, and the axis to roll along.
    Raises ValueError for a shift that is no whole number, and for units or an axis that are not there.

    >>> roll(torch.arange(5), 1)
    tensor([4, 0, 1, 2, 3])
    """
    check_number("shift", shift)
    capsule = _capsule(t, axis, capsule)
    return t.unflatten(-1, capsule).roll(shift, axis - len(capsule)).flatten(-len(capsule))


def roll_each(t: Tensor, shifts: Tensor, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll every capsule of t (…, D) by its own shift, all at once; `axis` and `capsule` as in roll.

    shifts: whole numbers of any sign that broadcast against t's leading axes, as the result does. Raises
    ValueError for others, and as roll does.
    """
    check_tensors(shifts=(shifts, "whole ..."))
    t, shifts, back = _axis_last(t, shifts, axis, capsule)
    units = torch.arange(t.shape[-1], device=t.device)
    return back(t.gather(-1, ((units - shifts) % len(units)).expand(t.shape)))


def roll_smoothly(t: Tensor, shifts: Tensor, axis: int = 0, capsule: Sequence[int] | None = None) -> Tensor:
    """Roll every capsule of t by its own shift, fractions of a unit included; arguments as in roll_each.

    The Fourier transform along the capsule is multiplied by exp(-2πikδ/D): an interpolation by sines and
    cosines, equal to roll for whole shifts. Two shifts compose to their sum, but for the highest frequency
    of an even D, which turns as cos(πδ) and is 0 at half a unit. No real roll could do better: for even D a
    roll by one unit has determinant -1, and no square of a real matrix has a determinant below 0.
    """
    check_tensors(t=(t, "float ..."), shifts=(shifts, "number ..."))
    t, shifts, back = _axis_last(t, shifts, axis, capsule)
    size = t.shape[-1]
    k = torch.arange(size // 2 + 1, dtype=t.dtype, device=t.device)
    angle = -2 * torch.pi / size * k * shifts.to(t.dtype)
    spectrum = torch.fft.rfft(t) * torch.polar(torch.ones_like(angle), angle)
    return back(torch.fft.irfft(spectrum, n=size))  # of the last frequency of an even size the real part


def _axis_last(
    t: Tensor, shifts: Tensor, axis: int, capsule: Sequence[int] | None
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """t with the rolled axis last, shifts that broadcast against it, and the way back to (…, D)."""
    capsule = _capsule(t, axis, capsule)
    try:
        leading, place = torch.broadcast_shapes(t.shape[:-1], shifts.shape), axis - len(capsule)
    except RuntimeError:
        shapes = f"shifts of shape {tuple(shifts.shape)} do not broadcast against"
        raise ValueError(f"{shapes} the leading axes {tuple(t.shape[:-1])} of t") from None
    t = t.unflatten(-1, capsule).expand(*leading, *capsule).movedim(place, -1)
    shifts = shifts.to(t.device).view(*shifts.shape, *[1] * len(capsule))
    return t, shifts, lambda rolled: rolled.movedim(-1, place).flatten(-len(capsule))


def _capsule(t: Tensor, axis: int, capsule: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of a capsule of t (…, D), checked."""
    if not isinstance(t, Tensor) or not t.ndim:
        raise ValueError(f"t is {' '.join(repr(t).split()):.60}, but must be a tensor (…, D)")
    shape = tuple(t.shape[-1:] if capsule is None else capsule)
    if math.prod(shape) != t.shape[-1]:
        raise ValueError(f"capsule is {shape}, but t has {t.shape[-1]} units")
    check_number("axis", axis, 0, len(shape) - 1)
    return shape
