"""Test your own encoder or grouper in one call, before it is trained."""

import math

import torch
from torch import Tensor, nn

from tvae_core.model.losses import Gaussian
from tvae_core.seeding import generator
from tvae_core.validation import check_number

MOST_SIZE = 5000  # frames, capsules or units
SEQUENCES, FRAMES = 3, 4  # B and S that an encoder is tried with


def check_encoder(encoder: nn.Module, image_shape: tuple[int, ...], capsules: int, units: int) -> str:
    """Return a sentence about an encoder that a TVAE can use; ValueError says what is wrong with another.

    It takes frames (B, S, channels, height, width) and gives the mean and the log-variance of q(z|x), each
    (B, S, C, D), finite and float32. Each frame is seen by itself, two frames give two posteriors, and every
    parameter has a gradient.
    """
    _check_arguments("encoder", encoder, capsules=capsules, units=units)
    if not isinstance(image_shape, tuple | list) or len(image_shape) != 3:
        raise ValueError(f"image_shape is {image_shape!r:.60}, but must be (channels, height, width)")
    g = generator("cpu", 0, "check")
    x = torch.rand(SEQUENCES, FRAMES, *image_shape, generator=g)
    encoder = encoder.eval()
    found = encoder(x)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ValueError(f"the encoder returns {type(found).__name__}, but must return (mean, log-variance)")
    q, wanted = Gaussian(*found), (SEQUENCES, FRAMES, capsules, units)
    for name, values in zip(("mean", "log-variance"), q, strict=True):
        _check_values(values, f"the {name}", wanted)
    order = torch.randperm(SEQUENCES * FRAMES, generator=g)
    again = Gaussian(*encoder(x.flatten(0, 1)[order].view_as(x)))
    for name, values, other in zip(("mean", "log-variance"), q, again, strict=True):
        if not torch.allclose(values.flatten(0, 1)[order], other.flatten(0, 1), rtol=1e-3, atol=1e-4):
            raise ValueError(f"the {name} of a frame depends on other frames, but each is encoded by itself")
        _check_differs(values.flatten(0, 1), f"the {name}")
    _check_gradients(encoder, sum(values.square().sum() for values in q))
    n = sum(parameter.numel() for parameter in encoder.parameters())
    return f"an encoder of {n:,} parameters: frames {tuple(image_shape)} to {capsules} × {units} units"


def check_grouper(grouper: nn.Module, frames: int, capsules: int, units: int) -> str:
    """Return a sentence about a grouper that a TVAE can use; ValueError says what is wrong with another.

    It takes z and u, each (B, S, C, D), and gives a finite t of this shape, which depends on u by u² alone
    and only inside each sequence and capsule. Given `frames` and z of these, it gives their t. Its attribute
    `frames` is S, and `capsule` the shape of a capsule. Every parameter has a gradient.
    """
    _check_arguments("grouper", grouper, frames=frames, capsules=capsules, units=units)
    g = generator("cpu", 0, "check")
    z, u = torch.randn(2, SEQUENCES, frames, capsules, units, generator=g)
    shape = getattr(grouper, "frames", None), math.prod(getattr(grouper, "capsule", ()))
    if shape != (frames, units):
        raise ValueError(f"the grouper's frames and units are {shape}, but must be {(frames, units)}")
    t = grouper(z, u)
    _check_values(t, "t", (SEQUENCES, frames, capsules, units))
    if not torch.allclose(t, grouper(z, -u), rtol=1e-4):
        raise ValueError("t changes with the sign of u, but must depend on u² alone")
    other = u.clone()
    other[0, :, 0] = 2 * u[0, :, 0]
    changed = ~torch.isclose(t, grouper(z, other), rtol=1e-4).all(-1).all(1)  # (B, C)
    if changed[0, 1:].any() or changed[1:].any():
        raise ValueError("t of one capsule or sequence depends on u of another")
    some = torch.arange(0, frames, 2)
    if not torch.allclose(t[:, some], grouper(z[:, some], u, some), rtol=1e-4):
        raise ValueError("t of some frames, grouper(z[:, frames], u, frames), is not that of all frames")
    _check_gradients(grouper, t.square().sum())
    return f"a grouper of {frames} frames of {capsules} × {units} units: {_rolls(grouper, z, u, t)}"


def _rolls(grouper: nn.Module, z: Tensor, u: Tensor, t: Tensor) -> str:
    """Whether t commutes with a step of frames and units together, as it does for a circulant W."""
    moved = [v.roll((1, 1), (1, 3)) for v in (z, u)]
    same = torch.allclose(grouper(*moved), t.roll((1, 1), (1, 3)), rtol=1e-3)
    return "t rolls where z and u roll" if same else "t does not roll with z and u everywhere (a border)"


def _check_arguments(name: str, module: object, **sizes: object) -> None:
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} is a {type(module).__name__}, but must be a torch.nn.Module")
    for size, value in sizes.items():
        check_number(size, value, 1, MOST_SIZE)


def _check_values(values: Tensor, name: str, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, but must have {shape}")
    if values.dtype != torch.float32:
        raise ValueError(f"{name} is of type {values.dtype}, but must be float32")
    if not values.isfinite().all():
        raise ValueError(f"{name} is not finite")


def _check_differs(values: Tensor, name: str) -> None:
    if torch.allclose(values, values[:1], rtol=1e-6, atol=1e-9):
        raise ValueError(f"{name} is the same for every frame")


def _check_gradients(module: nn.Module, loss: Tensor) -> None:
    named = dict(module.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True) if named else ()
    for name, gradient in zip(named, gradients, strict=True):
        if gradient is None or not gradient.isfinite().all() or not gradient.any():
            raise ValueError(f"the parameter {name} has no gradient, or one that is not finite")
