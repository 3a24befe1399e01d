"""The official dSprites archive: finding, downloading and verifying it, and reading a part of it."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tvae_core.data.sources import fetch_once

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{FILE}"
# The project publishes no digest; this one is pinned by at least ten public repositories that load the
# file (the libraries vaetc and latte among them).
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"

AXES = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}  # slowest first: 737,280 images
IMAGE_SIZE = 64


def verify(path: Path, md5: str = MD5) -> Path:
    """Return the path itself; ValueError if the file there is not the official archive."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ValueError(f"{path.name} is not the official archive: its MD5 is {found}, not {md5}")
    return path


def download(folder: Path, url: str = URL, md5: str = MD5) -> None:
    """Download the archive (27 MB) into the folder, unless it is there.

    A broken or wrong download leaves nothing behind. Raises OSError if it cannot be had.
    """
    from torchvision.datasets.utils import download_url  # takes two seconds, and few processes need it

    fetch_once(folder / FILE, lambda into: download_url(url, into, FILE, md5))


def read(
    path: Path, wanted: Mapping[str, range], axes: Mapping[str, int] = AXES
) -> UInt8[np.ndarray, "images 512"]:
    """The images with the wanted indices of each factor, eight pixels to a byte, in the archive's order.

    The 3 GB of images are streamed, 4 MB at a time. Raises ValueError if they aren't bytes of the
    expected shape, zipfile.BadZipFile if the archive is damaged.
    """
    inner = [name for name in axes if name in ("x", "y")]
    outer = [name for name in axes if name not in inner]
    block = tuple(axes[name] for name in inner)
    kept = []
    with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as images:
        _check_header(images, int(np.prod(list(axes.values()))))
        # To the very end, since that is where the archive's own check sum is compared.
        for indices in np.ndindex(*(axes[name] for name in outer)):
            data = images.read(int(np.prod(block)) * IMAGE_SIZE**2)
            if all(i in wanted[name] for i, name in zip(indices, outer, strict=True)):
                pixels = np.frombuffer(data, np.uint8).reshape(*block, IMAGE_SIZE**2)
                pixels = pixels[np.ix_(*(wanted[name] for name in inner))]
                kept.append(np.packbits(pixels.reshape(-1, IMAGE_SIZE**2), axis=1))
    return np.concatenate(kept)


def _check_header(images, n: int) -> None:
    """Read a .npy header without ever unpickling; ValueError unless it announces n images, byte by byte."""
    version = np.lib.format.read_magic(images)
    if version != (1, 0):
        raise ValueError(f"imgs is in version {version} of numpy's format, not (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(images)
    if fortran or dtype != np.uint8 or shape != (n, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"imgs is {dtype} {shape}, not uint8 {(n, IMAGE_SIZE, IMAGE_SIZE)}")
