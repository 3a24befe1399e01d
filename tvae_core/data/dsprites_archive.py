"""The official dSprites archive, and the file that keeps the images which are used."""

import contextlib
import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import UInt8

from tvae_core.data.sources import fetch_once
from tvae_core.files import atomic, remove_unfinished

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{FILE}"
# The project publishes no digest; this one is pinned by at least ten public repositories that load the
# file (the libraries vaetc and latte among them).
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"

AXES = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}  # slowest first: 737,280 images
IMAGE_SIZE = 64

Packed = UInt8[np.ndarray, "images 512"]  # eight pixels to a byte, the leftmost in the highest bit

log = logging.getLogger("tvae_core")


def verify(path: Path, md5: str = MD5) -> Path:
    """Return the path itself; ValueError if the file there is not the official archive."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ValueError(f"{path.name} is not the official archive: its MD5 is {found}, not {md5}")
    return path


def download(folder: Path, url: str = URL, md5: str = MD5) -> None:
    """Download the archive (27 MB) into the folder, unless it is there; OSError if it cannot be had.

    A broken or wrong download leaves nothing behind.
    """
    from torchvision.datasets.utils import download_url  # takes two seconds, and few processes need it

    fetch_once(folder / FILE, lambda into: download_url(url, into, FILE, md5))


def read(path: Path, wanted: Mapping[str, range], axes: Mapping[str, int] = AXES) -> Packed:
    """Return the images with the wanted indices of each factor, in the archive's order.

    The 3 GB of images are streamed, 4 MB at a time. Raises ValueError if they are not bytes of the expected
    shape, zipfile.BadZipFile if the archive is damaged.
    """
    n, block, kept = np.prod(list(axes.values())), axes["x"] * axes["y"], []
    inner = np.ix_(wanted["x"], wanted["y"])
    outer = [name for name in axes if name not in ("x", "y")]
    with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as images:
        np.lib.format.read_magic(images)  # a header is read by hand, so nothing is ever unpickled
        header = np.lib.format.read_array_header_1_0(images)
        if header != ((n, IMAGE_SIZE, IMAGE_SIZE), False, np.uint8):
            raise ValueError(f"imgs is {header[2]} {header[0]}, not uint8 {(n, IMAGE_SIZE, IMAGE_SIZE)}")
        # To the very end, since that is where the archive's own check sum is compared.
        for indices in np.ndindex(*(axes[name] for name in outer)):
            data = images.read(block * IMAGE_SIZE**2)
            if all(i in wanted[name] for i, name in zip(indices, outer, strict=True)):
                pixels = np.frombuffer(data, np.uint8).reshape(axes["x"], axes["y"], -1)[inner]
                kept.append(np.packbits(pixels.reshape(-1, IMAGE_SIZE**2), axis=1))
    return np.concatenate(kept)


def _digest(packed: Packed) -> str:
    return hashlib.sha256(packed.tobytes()).hexdigest()


def read_kept(path: Path, n: int) -> Packed | None:
    """Return the n images that `keep` wrote; None if there is no such file, or if it is damaged (logged)."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            packed, digest = file["packed"], str(file["sha256"])
        if packed.shape == (n, IMAGE_SIZE**2 // 8) and digest == _digest(packed):
            return packed
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.debug("%s: %s", path, error)
    log.warning("%s is damaged: it is made anew", path)
    return None


def keep(path: Path, n: int, make: Callable[[], Packed]) -> Packed:
    """Return n images from a file, which is made if need be; a folder that takes no file is no obstacle."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    writable = os.access(path.parent, os.W_OK)
    with FileLock(path.with_suffix(".lock")) if writable else contextlib.nullcontext():
        if (packed := read_kept(path, n)) is None:
            if writable:
                remove_unfinished(path)
            packed = make()
            try:
                with atomic(path) as unfinished:
                    np.savez(unfinished, packed=packed, sha256=_digest(packed))
            except OSError as error:
                log.warning("%s could not be written: %s", path, error)
    return packed
