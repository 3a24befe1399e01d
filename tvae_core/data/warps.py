"""Batched rotation, scale, hue and perspective, and the ladders of values that the MNIST factors walk."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

DEGREES = tuple(20.0 * i for i in range(18))  # rotation, counter-clockwise
HUES = tuple(20.0 * i for i in range(18))  # 180 is the red that a digit starts from
SIZES = (
    *(0.60, 0.64, 0.68, 0.72, 0.76, 0.79, 0.83, 0.87, 0.91),
    *(0.95, 0.99, 1.03, 1.07, 1.11, 1.14, 1.18, 1.22, 1.26),
)

Images = Float[Tensor, "B 1 h w"]
PerFrame = Float[Tensor, "B S"]


def hue_colours(hues: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """The RGB colour of full saturation and value at a hue in degrees, where 180 is red (and 0 cyan).

    Turning the hue of a pure red image by (hue - 180)° multiplies its grey values by this colour, which
    is all that a hue adjustment does here: no round trip through HSV.
    """
    distance = torch.stack([(hues - 180 - centre) % 360 for centre in (0, 120, 240)], -1)
    distance = torch.minimum(distance, 360 - distance)  # degrees from pure red, green, blue
    return (2 - distance / 60).clamp(0, 1)


def colour(grey: Float[Tensor, "B S h w"], hues: PerFrame) -> Float[Tensor, "B S 3 h w"]:
    """Grey frames in the colour of their hue (degrees): (B, S, h, w) → (B, S, 3, h, w)."""
    return grey.unsqueeze(2) * hue_colours(hues)[..., None, None]


def _sample(images: Images, grid: Float[Tensor, "B S h w 2"]) -> Float[Tensor, "B S h w"]:
    """Read images bilinearly, zeros outside, at the grid's normalised (x, y)."""
    b, s, h, w, _ = grid.shape
    # The frames of a sequence stand below one another in one grid: the image is never repeated.
    frames = F.grid_sample(images, grid.reshape(b, s * h, w, 2), align_corners=True)
    return frames.view(b, s, h, w)


def affine_frames(images: Images, degrees: PerFrame, scales: PerFrame, hues: PerFrame) -> Tensor:
    """Rotated, scaled and coloured frames of grey images, all at once on the images' device.

    images (B, 1, h, w) in [0, 1]; degrees counter-clockwise about the exact centre ((w-1)/2, (h-1)/2);
    scales as factors; hues in degrees, 180 for red; each (B, S) → (B, S, 3, h, w) in [0, 1].
    Bilinear, zeros outside.
    """
    h, w = images.shape[-2:]
    theta = torch.deg2rad(degrees)
    cos, sin = ((f / scales)[..., None, None] for f in (theta.cos(), theta.sin()))
    x = torch.linspace(-1, 1, w, device=images.device, dtype=images.dtype)
    y = torch.linspace(-1, 1, h, device=images.device, dtype=images.dtype).unsqueeze(1)
    aspect = (h - 1) / (w - 1)
    # Target → source: image rows count downwards, so a counter-clockwise turn is undone by this matrix.
    grid = torch.stack([cos * x - sin * aspect * y, sin / aspect * x + cos * y], -1)
    return colour(_sample(images, grid), hues)


def perspective_matrices(degrees: Float[Tensor, "*batch"], size: int = 28) -> Float[Tensor, "*batch 3 3"]:
    """The homographies (source → target pixels) of a 3-D turn by phi = gamma = degrees, theta = 0.

    M = A2 · T · (RX RY RZ) · A1 with the focal length f = d / (2 sin gamma), d the image's diagonal.
    Degree 0 is the identity, and 180, whose sine is 0, is computed as 181.
    """
    exact = torch.float32 if degrees.device.type == "mps" else torch.float64  # MPS has no float64
    degrees = torch.where(degrees % 360 == 180, 181.0, degrees.to(exact))
    angle = torch.deg2rad(degrees)
    c, s = angle.cos(), angle.sin()
    half, diagonal = size / 2, math.hypot(size, size)
    still = degrees % 360 == 0
    f = torch.where(still, diagonal, diagonal / (2 * torch.where(still, 1.0, s)))
    zero, one = torch.zeros_like(f), torch.ones_like(f)

    def stack(rows: list[list[Tensor]]) -> Tensor:
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    to_space = stack(
        [[one, zero, -half * one], [zero, one, -half * one], [zero, zero, one], [zero, zero, one]]
    )
    about_y = stack(
        [[c, zero, -s, zero], [zero, one, zero, zero], [s, zero, c, zero], [zero, zero, zero, one]]
    )
    about_z = stack(
        [[c, -s, zero, zero], [s, c, zero, zero], [zero, zero, one, zero], [zero, zero, zero, one]]
    )
    away = stack(
        [[one, zero, zero, zero], [zero, one, zero, zero], [zero, zero, one, f], [zero, zero, zero, one]]
    )
    to_plane = stack([[f, zero, half * one, zero], [zero, f, half * one, zero], [zero, zero, one, zero]])
    turned = to_plane @ away @ about_y @ about_z @ to_space
    return torch.where(still[..., None, None], torch.eye(3, dtype=f.dtype, device=f.device), turned)


def perspective_inverses(degrees: Float[Tensor, "*batch"], size: int = 28) -> Float[Tensor, "*batch 3 3"]:
    """The inverses of perspective_matrices (target → source pixels), in the precision of those."""
    return torch.linalg.inv(perspective_matrices(degrees, size))


def perspective_frames(images: Images, degrees: PerFrame, hues: PerFrame) -> Tensor:
    """Frames of grey images turned in space (perspective_matrices) and coloured.

    images (B, 1, n, n) in [0, 1]; degrees and hues (B, S) → (B, S, 3, n, n) in [0, 1]. Bilinear, zeros
    outside. Raises ValueError for images that are not square.
    """
    h, w = images.shape[-2:]
    if h != w:
        raise ValueError(f"perspective turns need square images, not {h}×{w}")
    return projected_frames(images, perspective_inverses(degrees, h).to(images.dtype), hues)


def projected_frames(images: Images, inverse: Float[Tensor, "B S 3 3"], hues: PerFrame) -> Tensor:
    """The same for homographies that are known already (perspective_inverses): (B, S, 3, n, n)."""
    w = images.shape[-1]
    pixel = torch.arange(w, dtype=images.dtype, device=images.device)
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    target = torch.stack([x, y, torch.ones_like(x)], -1)  # (h, w, 3), homogeneous
    source = torch.einsum("bsij,hwj->bshwi", inverse, target)
    grid = source[..., :2] / source[..., 2:] * (2 / (w - 1)) - 1
    return colour(_sample(images, grid), hues)
