"""Turn, scale and colour whole batches of digits, and the values that their factors take."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tvae_core.validation import check_tensors, check_values

DEGREES = tuple(20.0 * i for i in range(18))  # rotation, counter-clockwise
HUES = tuple(20.0 * i for i in range(18))  # 180 is the red that a digit starts from
SIZES = (
    *(0.60, 0.64, 0.68, 0.72, 0.76, 0.79, 0.83, 0.87, 0.91),
    *(0.95, 0.99, 1.03, 1.07, 1.11, 1.14, 1.18, 1.22, 1.26),
)

Images = Float[Tensor, "B 1 h w"]
PerFrame = Float[Tensor, "B S"]
Frames = Float[Tensor, "B S 3 h w"]


def hue_colours(hues: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """Return the RGB colour of full saturation and value at a hue in degrees; 180 is red, 0 is cyan.

    Turning the hue of a pure red image by (hue - 180)° multiplies its grey values by this colour, so no round
    trip through HSV is needed.
    """
    distance = torch.stack([(hues - 180 - centre) % 360 for centre in (0, 120, 240)], -1)
    distance = torch.minimum(distance, 360 - distance)  # degrees from pure red, green, blue
    return (2 - distance / 60).clamp(0, 1)


def _sample(images: Images, grid: Float[Tensor, "B S h w 2"], hues: PerFrame) -> Frames:
    """Frames read bilinearly, zeros outside, at the grid's normalised (x, y), in the colour of their hue."""
    b, s, h, w, _ = grid.shape
    # The frames of a sequence stand below one another in one grid: the image is never repeated.
    grey = F.grid_sample(images, grid.reshape(b, s * h, w, 2), align_corners=True).view(b, s, 1, h, w)
    return grey * hue_colours(hues)[..., None, None]


def _check(images: Images, **per_frame: PerFrame) -> tuple[int, int]:
    """Height and width of images (B, 1, h, w) in [0, 1] that belong to these values (B, S) of each frame."""
    wanted = {name: (values, "float B S") for name, values in per_frame.items()}
    sizes = check_tensors(images=(images, "float B 1 h w"), **wanted)
    if min(sizes["h"], sizes["w"]) < 2:
        raise ValueError(f"images have {sizes['h']} × {sizes['w']} pixels, but must have 2 × 2 at least")
    check_values(0, 1, images=images)
    check_values(**per_frame)
    return sizes["h"], sizes["w"]


def affine_frames(images: Images, degrees: PerFrame, scales: PerFrame, hues: PerFrame) -> Frames:
    """Return rotated, scaled and coloured frames of grey images, all at once on the images' device.

    images (B, 1, h, w) in [0, 1]; degrees counter-clockwise about the exact centre ((w-1)/2, (h-1)/2), where
    the official code turns about (14, 14); scales as factors; hues in degrees, 180 for red; each (B, S).
    Returns (B, S, 3, h, w) in [0, 1], read bilinearly, zeros outside. Raises ValueError for other shapes and
    types, and on a CPU for values that cannot be.

    >>> still = torch.zeros(2, 18)
    >>> affine_frames(torch.rand(2, 1, 28, 28), still, still + 1, still + 180).shape
    torch.Size([2, 18, 3, 28, 28])
    """
    _check(images, degrees=degrees, scales=scales, hues=hues)
    if scales.device.type == "cpu" and (scales <= 0).any():
        raise ValueError(f"scales has values down to {scales.min():g}, but they must be above 0")
    return turned_frames(images, degrees, scales, hues)


def turned_frames(images: Images, degrees: PerFrame, scales: PerFrame, hues: PerFrame) -> Frames:
    """Return affine_frames of values that are known to be right; none of them is read for a check."""
    h, w = images.shape[-2:]
    degrees, scales, hues = (values.to(images.dtype) for values in (degrees, scales, hues))
    theta = torch.deg2rad(degrees)
    cos, sin = ((f / scales)[..., None, None] for f in (theta.cos(), theta.sin()))
    x = torch.linspace(-1, 1, w, device=images.device, dtype=images.dtype)
    y = torch.linspace(-1, 1, h, device=images.device, dtype=images.dtype).unsqueeze(1)
    aspect = (h - 1) / (w - 1)
    # Target → source: image rows count downwards, so a counter-clockwise turn is undone by this matrix.
    return _sample(images, torch.stack([cos * x - sin * aspect * y, sin / aspect * x + cos * y], -1), hues)


def perspective_matrices(degrees: Float[Tensor, "*batch"], size: int = 28) -> Float[Tensor, "*batch 3 3"]:
    """Return the homographies (source → target pixels) of a 3-D turn by phi = gamma = degrees, theta = 0.

    M = A2 · T · (RX RY RZ) · A1 with the focal length f = d / (2 sin gamma), d the image's diagonal. Degree 0
    is the identity, and 180, whose sine is 0, is computed as 181.
    """
    exact = torch.float32 if degrees.device.type == "mps" else torch.float64  # MPS has no float64
    degrees = torch.where(degrees % 360 == 180, 181.0, degrees.to(exact))
    still = degrees % 360 == 0
    c, s = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    half, f = size / 2, math.hypot(size, size) / (2 * torch.where(still, 0.5, s))
    one, zero = torch.ones_like(c), torch.zeros_like(c)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).unflatten(-1, (3, 3))

    centred = matrix(one, zero, -half * one, zero, one, -half * one, zero, zero, one)
    moved = matrix(c * c, -c * s, -s, s, c, zero, s * c, -s * s, c + f)  # T · RY · RZ of a point (x, y, 1)
    plane = matrix(f, zero, half * one, zero, f, half * one, zero, zero, one)
    return torch.where(still[..., None, None], torch.eye(3).to(c), plane @ moved @ centred)


def perspective_inverses(degrees: Float[Tensor, "*batch"], size: int = 28) -> Float[Tensor, "*batch 3 3"]:
    """Return the inverses of perspective_matrices (target → source pixels), in their precision."""
    return torch.linalg.inv(perspective_matrices(degrees, size))


def perspective_frames(images: Images, degrees: PerFrame, hues: PerFrame) -> Frames:
    """Return frames of grey images turned in space (perspective_matrices) and coloured.

    images (B, 1, n, n) in [0, 1]; degrees and hues (B, S). Returns (B, S, 3, n, n) in [0, 1], read
    bilinearly, zeros outside. Raises ValueError for images that are not square, and as affine_frames does.
    """
    h, w = _check(images, degrees=degrees, hues=hues)
    if h != w:
        raise ValueError(f"perspective turns need square images, not {h}×{w}")
    return projected_frames(images, perspective_inverses(degrees, h).to(images.dtype), hues)


def projected_frames(images: Images, inverse: Float[Tensor, "B S 3 3"], hues: PerFrame) -> Frames:
    """Return the same for homographies that are known already (perspective_inverses)."""
    w, hues = images.shape[-1], hues.to(images.dtype)
    pixel = torch.arange(w, dtype=images.dtype, device=images.device)
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    target = torch.stack([x, y, torch.ones_like(x)], -1)  # (h, w, 3), homogeneous
    source = torch.einsum("bsij,hwj->bshwi", inverse, target)
    return _sample(images, source[..., :2] / source[..., 2:] * (2 / (w - 1)) - 1, hues)
