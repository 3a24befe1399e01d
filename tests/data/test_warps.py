"""The warps against kornia and a literal loop over pixels, the sense of rotation, the values of factors."""

import itertools
import math

import numpy as np
import pytest
import torch
from kornia.enhance import adjust_hue
from kornia.geometry.transform import get_rotation_matrix2d, warp_affine, warp_perspective

from tvae_core.data.warps import (
    DEGREES,
    HUES,
    SIZES,
    affine_frames,
    perspective_frames,
    perspective_matrices,
)

SPEC_SCALES = "0.60 0.64 0.68 0.72 0.76 0.79 0.83 0.87 0.91 0.95 0.99 1.03 1.07 1.11 1.14 1.18 1.22 1.26"


def noise(n=2):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def with_kornia(images, degrees, scales, hues):
    """Frames (B, S, 3, h, w) by kornia: warp about the centre, make red, turn the hue by h - 180."""
    (b, s), (h, w) = degrees.shape, images.shape[-2:]
    many = images.repeat_interleave(s, 0)
    centre = torch.tensor([(w - 1) / 2, (h - 1) / 2]).expand(b * s, 2)
    m = get_rotation_matrix2d(centre, degrees.flatten(), scales.flatten().unsqueeze(1).expand(-1, 2))
    warped = warp_affine(many, m, (h, w), "bilinear", "zeros", align_corners=True)
    red = torch.cat([warped, torch.zeros_like(warped), torch.zeros_like(warped)], 1)
    return adjust_hue(red, torch.deg2rad(hues.flatten() - 180)).view(b, s, 3, h, w)


def by_loop(image, degrees):
    """One perspective frame, pixel by pixel in float64, from the specification's matrices."""
    h, w = image.shape
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    d = math.sqrt(w**2 + h**2)
    f = d / (2 * sin) if sin != 0 else d
    a1 = np.array([[1, 0, -w / 2], [0, 1, -h / 2], [0, 0, 1], [0, 0, 1]])
    ry = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    rz = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, f], [0, 0, 0, 1]])
    a2 = np.array([[f, 0, w / 2, 0], [0, f, h / 2, 0], [0, 0, 1, 0]])
    inverse = np.linalg.inv(a2 @ away @ (np.eye(4) @ ry @ rz) @ a1)
    padded = np.pad(image, 1)  # zeros outside
    warped = np.zeros((h, w))
    for row, column in itertools.product(range(h), range(w)):
        x, y, scale = inverse @ (column, row, 1)
        x, y = x / scale + 1, y / scale + 1
        if 0 <= x < w + 1 and 0 <= y < h + 1:
            i, j = int(y), int(x)
            top = padded[i, j] * (j + 1 - x) + padded[i, j + 1] * (x - j)
            bottom = padded[i + 1, j] * (j + 1 - x) + padded[i + 1, j + 1] * (x - j)
            warped[row, column] = top * (i + 1 - y) + bottom * (y - i)
    return warped


def test_affine_frames_agree_with_kornia():
    places = list(
        itertools.product(range(18), repeat=2)
    )  # every angle at every scale, every hue along the way
    degrees = torch.tensor([[DEGREES[i] for i, _ in places]]).expand(2, -1)
    scales = torch.tensor([[SIZES[j] for _, j in places]]).expand(2, -1)
    hues = torch.tensor([[HUES[(i + j) % 18] for i, j in places]]).expand(2, -1)
    frames = affine_frames(noise(), degrees, scales, hues)
    assert frames.shape == (2, 324, 3, 28, 28) and 0 <= frames.min() and frames.max() <= 1
    assert (frames - with_kornia(noise(), degrees, scales, hues)).abs().max() < 1e-4
    for wrong in ((degrees + 1, scales, hues), (degrees, 1.01 * scales, hues), (degrees, scales, hues + 2)):
        assert (frames - with_kornia(noise(), *wrong)).abs().max() > 1e-2


@pytest.mark.parametrize("size", [(12, 20), (20, 12), (2, 5)])
def test_images_that_are_not_square_turn_about_their_own_centre(size):
    images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1))
    degrees = torch.tensor([[0.0, 30.0, 100.0, 250.0]]).expand(2, -1)
    given = images, degrees, degrees / 250 + 0.5, degrees
    torch.testing.assert_close(affine_frames(*given), with_kornia(*given), atol=1e-4, rtol=0)


def test_rotation_is_counter_clockwise_about_the_centre():
    image = torch.zeros(1, 1, 28, 28)
    image[..., 13:15, 22:24] = 1  # right of the centre
    turned = affine_frames(image, torch.tensor([[90.0]]), torch.ones(1, 1), torch.tensor([[180.0]]))[0, 0, 0]
    above = torch.zeros(28, 28)
    above[4:6, 13:15] = 1
    torch.testing.assert_close(turned, above, atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames_of", [affine_frames, None])
def test_hues(frames_of):
    def frame(hue):
        one = torch.zeros(1, 1)
        if frames_of:
            return frames_of(noise(1), one, one + 1, one + hue)[0, 0]
        return perspective_frames(noise(1), one, one + hue)[0, 0]

    grey, black = noise(1)[0, 0], torch.zeros(28, 28)
    colours = {180: (1, 0, 0), 300: (0, 1, 0), 60: (0, 0, 1), 0: (0, 1, 1), 240: (1, 1, 0)}
    for hue, mixture in colours.items():
        wanted = torch.stack([grey if there else black for there in mixture])
        torch.testing.assert_close(frame(hue), wanted, atol=1e-5, rtol=0)


def test_perspective_frames_equal_the_loop():
    image = noise(1)
    hues = torch.full((1, 18), 180.0)
    frames = perspective_frames(image, torch.tensor([DEGREES]), hues)[0, :, 0]
    for frame, degrees in zip(frames, DEGREES, strict=True):
        if degrees % 180:
            wanted = torch.from_numpy(by_loop(image[0, 0].double().numpy(), degrees)).float()
            torch.testing.assert_close(frame, wanted, atol=1e-3, rtol=0)
            assert (frame - image[0, 0]).abs().max() > 0.1


def test_perspective_frames_agree_with_kornia():
    images, degrees = noise(), torch.tensor([DEGREES]).expand(2, -1)
    frames = perspective_frames(images, degrees, torch.full((2, 18), 180.0))[:, :, 0]
    for many, wrong in ((degrees, False), (degrees + 2, True)):
        m = perspective_matrices(many).flatten(0, 1).float()
        warped = warp_perspective(images.repeat_interleave(18, 0), m, (28, 28), align_corners=True)
        assert ((frames - warped.view(2, 18, 28, 28)).abs().amax((0, 2, 3))[1:] > 1e-2).all() == wrong
        assert (torch.allclose(frames, warped.view(2, 18, 28, 28), atol=2e-3)) != wrong


def test_images_of_another_size_turn_in_space_about_their_own_centre():
    image = torch.rand(1, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    turned = perspective_frames(image, torch.tensor([[40.0]]), torch.full((1, 1), 180.0))[0, 0, 0]
    wanted = torch.from_numpy(by_loop(image[0, 0].double().numpy(), 40)).float()
    torch.testing.assert_close(turned, wanted, atol=1e-3, rtol=0)


def test_perspective_of_0_is_the_image_and_of_180_that_of_181():
    image, red = noise(1), torch.full((1, 3), 180.0)
    still, half, more = perspective_frames(image, torch.tensor([[0.0, 180.0, 181.0]]), red)[0, :, 0]
    torch.testing.assert_close(still, image[0, 0], atol=1e-5, rtol=0)
    assert torch.equal(half, more) and not torch.allclose(half, still, atol=0.1)
    torch.testing.assert_close(
        half, torch.from_numpy(by_loop(image[0, 0].double().numpy(), 181)).float(), atol=1e-3, rtol=0
    )
    assert torch.equal(perspective_matrices(torch.tensor(0.0)), torch.eye(3, dtype=torch.float64))


def test_perspective_needs_square_images():
    with pytest.raises(ValueError, match="28×20"):
        perspective_frames(torch.zeros(1, 1, 28, 20), torch.zeros(1, 1), torch.zeros(1, 1))


def test_frames_of_a_batch_do_not_mix():
    images, angles = noise(3), torch.tensor([[0.0, 40.0], [80.0, 120.0], [160.0, 200.0]])
    together = affine_frames(images, angles, torch.ones(3, 2), angles)
    for i, s in itertools.product(range(3), range(2)):
        one = (slice(i, i + 1), slice(s, s + 1))
        alone = affine_frames(images[i : i + 1], angles[one], torch.ones(1, 1), angles[one])
        torch.testing.assert_close(alone[0, 0], together[i, s], atol=1e-6, rtol=0)


def test_values_of_the_factors():
    assert DEGREES == HUES == tuple(range(0, 360, 20))
    assert SIZES == tuple(float(value) for value in SPEC_SCALES.split())
    assert HUES.index(180) == 9


def test_a_whole_turn_more_changes_nothing():
    degrees = torch.tensor([0.0, 20.0, 180.0, 340.0], dtype=torch.float64)
    for whole in (-360, 360, 720):
        torch.testing.assert_close(perspective_matrices(degrees + whole), perspective_matrices(degrees))
    turned, more = (
        affine_frames(noise(1), 40 + whole, torch.ones(1, 2), 100 + whole)
        for whole in (torch.zeros(1, 2), torch.tensor([[360.0, -720.0]]))
    )
    torch.testing.assert_close(turned, more, atol=1e-4, rtol=0)


def test_float64_images_are_read_in_float64():
    image, zero = noise(1).double(), torch.zeros(1, 1)
    for frames in (
        affine_frames(image, zero, zero + 1, zero + 180),
        perspective_frames(image, zero, zero + 180),
    ):
        torch.testing.assert_close(frames[0, 0, 0], image[0, 0], atol=1e-12, rtol=0)
