"""Read your own sequences from a file, from a folder of pictures, or from a Dataset of torch."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image, ImageSequence

from tvae_core.data.own import KEYS, Sequences
from tvae_core.data.sequences import SPLITS

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
ANIMATIONS = (".gif", ".tif", ".tiff")  # files that hold all frames of a sequence
_ITEM = ("x", "factors", "labels")  # of a Dataset


def read_sequences(source: object, closed: bool | None = None) -> Sequences:
    """Return the sequences of any source: an object, a file, a folder or a Dataset.

    source: `Sequences`; an `.npz` file with the keys of `Sequences`, of which only `x` is needed, or an
    `.npy` file of x; a folder (read_folder); a Dataset of torch, or any list, of sequences x (S, channels,
    height, width), of tuples (x, factors (S, F), label) or of mappings with the keys x, factors and labels,
    which are stacked once; or an array x.
    closed: whether the first frame follows on the last one, if the source does not say it.
    Raises ValueError for anything else, OSError for a file that cannot be read.
    """
    if isinstance(source, Sequences):
        return source
    if isinstance(source, str | Path):
        return _read_path(Path(source).expanduser(), closed)
    end = {} if closed is None else {"closed": closed}
    if hasattr(source, "shape"):
        return Sequences(source, **end)
    if isinstance(source, Mapping):  # what np.load returns too
        raise ValueError("sequences are one mapping; give Sequences(**it), or the path of its file")
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        kind = type(source).__name__
        raise ValueError(
            f"sequences are a {kind}, but must be an array, a file, a folder, a list or a Dataset"
        )
    items = [_item(source[i]) for i in range(len(source))]
    if not items:
        raise ValueError("there are no sequences: the list is empty")
    for what, values in {
        "keys": {" and ".join(item) for item in items},
        "shapes": {np.shape(item["x"]) for item in items},
    }.items():
        if len(values) > 1:
            raise ValueError(f"sequences have {what} {_some(values)}, but all must be alike")
    return Sequences(**{key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0]}, **end)


def check_sequences(source: object, closed: bool | None = None) -> dict[str, object]:
    """Return what was understood of sequences (Sequences.describe); errors as of read_sequences."""
    return read_sequences(source, closed).describe()


def _item(item: object) -> dict[str, object]:
    """An item of a Dataset by the keys of `Sequences`."""
    if not isinstance(item, Mapping):
        return dict(zip(_ITEM, item if isinstance(item, tuple | list) else (item,), strict=False))
    if "x" not in item or not set(item) <= set(_ITEM):
        raise ValueError(
            f"an item holds {_some(item)}; it must hold x, and may hold {' and '.join(_ITEM[1:])}"
        )
    return dict(item)


def _read_path(path: Path, closed: bool | None) -> Sequences:
    end = {} if closed is None else {"closed": closed}
    if path.is_dir():
        return read_folder(path, closed is not False)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    if path.suffix not in (".npz", ".npy"):
        raise ValueError(f"{path} is neither an .npz or .npy file nor a folder of sequences")
    try:
        file = np.load(path, allow_pickle=False)
        arrays = {"x": file} if isinstance(file, np.ndarray) else {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        if getattr(error, "errno", None):  # of the system, not of what the file holds
            raise
        raise OSError(f"{path} is not a sound {path.suffix} file of plain arrays of numbers") from error
    if "x" not in arrays or not set(arrays) <= set(KEYS):
        raise ValueError(f"{path} holds {_some(arrays)}; it must hold x, and may hold {', '.join(KEYS[1:])}")
    return Sequences(**arrays | end)


def _some(names: object) -> str:
    return ", ".join(sorted(map(str, names))[:6]) or "nothing"


def read_folder(folder: Path, closed: bool = True) -> Sequences:
    """Return the sequences of a folder: each a sub-folder of pictures, or a GIF or TIFF of several pages.

    They come in the order of their names, and so do the pictures of a sub-folder (2 before 10). Folders
    `train`, `validation` and `test` hold the sequences of these splits. A picture that is not grey makes all
    of them colours. Raises ValueError, naming the file, for sequences of another length or size than the
    first, and for a folder that holds none.
    """
    inside = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    found = [
        (split, path) for split, part in (inside or {"": folder}).items() for path in _sequences_in(part)
    ]
    if not found:
        kinds = ", ".join(ANIMATIONS)
        raise ValueError(f"{folder} holds no sequences: no sub-folder of pictures, and no file {kinds}")
    frames = [(path, _frames(path)) for _, path in found]
    _, first = frames[0]
    for path, pictures in frames:
        if len(pictures) != len(first):
            raise ValueError(f"{path} has {len(pictures)} frames, but {found[0][1]} has {len(first)}")
    grey = all(picture.mode in ("1", "L") for _, pictures in frames for picture in pictures)
    x = np.stack([_stack(path, pictures, first[0].size, grey) for path, pictures in frames])
    return Sequences(x, closed=closed, split=[split for split, _ in found] if inside else None)


def _numbered(path: Path) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    parts = "".join(c if c.isdigit() else f" {c} " for c in path.name).split()
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _visible(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    return sorted((p for p in folder.iterdir() if not p.name.startswith(".") and wanted(p)), key=_numbered)


def _pictures_in(folder: Path) -> list[Path]:
    return _visible(folder, lambda path: path.suffix.lower() in PICTURES)


def _sequences_in(folder: Path) -> list[Path]:
    return _visible(folder, lambda p: bool(_pictures_in(p)) if p.is_dir() else p.suffix.lower() in ANIMATIONS)


def _frames(path: Path) -> list[Image.Image]:
    """The frames of a sequence, in grey or in colours as they are stored."""
    if path.is_dir():
        return [frame for picture in _pictures_in(path) for frame in _pages(picture)[:1]]
    return _pages(path)


def _pages(path: Path) -> list[Image.Image]:
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return [_plain(page) for page in ImageSequence.Iterator(image)]
    except Exception as error:  # decoders raise errors of many types
        raise OSError(f"{path} cannot be read as a picture: {error}") from error


def _plain(picture: Image.Image) -> Image.Image:
    """A picture in 8 bits, grey if all its colours are."""
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if picture.mode[0] in "IF":
        raise ValueError("it has more than 8 bits a pixel; save it in 8 bits, or give an .npz of floats")
    colours = picture.convert("RGB")
    red, green, blue = (np.asarray(band) for band in colours.split())
    return colours.convert("L") if (red == green).all() and (green == blue).all() else colours


def _stack(path: Path, pictures: Sequence[Image.Image], size: tuple[int, int], grey: bool) -> np.ndarray:
    for picture in pictures:
        if picture.size != size:
            (w, h), (width, height) = picture.size, size
            raise ValueError(f"{path} has frames of {w} × {h} pixels, but the first has {width} × {height}")
    frames = np.stack([np.asarray(picture.convert("L" if grey else "RGB")) for picture in pictures])
    return frames[:, None] if grey else frames.transpose(0, 3, 1, 2)
