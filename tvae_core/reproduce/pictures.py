"""Keep figures of a real run in the repository: small pictures, shown at the head of their notebooks.

`python -m tvae_core.reproduce.pictures SCALE [NAME ...]`: for whoever made the figures of a scale (all
notebooks by default). A picture is a WebP of at most 200 kB; its words lie beside it as JSON.
"""

import io
import json
import shutil
import sys
from pathlib import Path

import nbformat
from PIL import Image

from tvae_core.config import SCALES
from tvae_core.files import write_atomically
from tvae_core.reproduce.notebooks import NOTEBOOKS, Notebook, reproducible
from tvae_core.reproduce.refresh import strip
from tvae_core.validation import check_choice

PICTURES = NOTEBOOKS / "pictures"
LARGEST = 200_000  # bytes
QUALITIES = (95, 90, 85, 80, 70, 60)


def shrink(path: Path) -> bytes:
    """Return a PNG as a WebP of at most LARGEST bytes: of the best quality, or else of fewer pixels."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    while True:
        for quality in QUALITIES:
            small = io.BytesIO()
            image.save(small, "WEBP", quality=quality, method=6)
            if small.tell() <= LARGEST:
                return small.getvalue()
        image = image.resize([size * 4 // 5 for size in image.size], Image.Resampling.LANCZOS)


def keep(figure: Path, folder: Path = PICTURES) -> Path:
    """Write the small picture of a figure and its words into a folder, and return the picture's path."""
    picture = folder / f"{figure.stem}.webp"
    write_atomically(picture, shrink(figure))
    shutil.copyfile(figure.with_suffix(".json"), picture.with_suffix(".json"))
    return picture


def first_picture(notebook: Notebook, folder: Path = PICTURES) -> Path | None:
    """Return the picture that a notebook shows: the one of its own name, or else the first that begins so."""
    found = sorted(folder.glob(f"{notebook.name}_*.webp"))
    own = folder / f"{notebook.name}.webp"
    return own if own.is_file() else next(iter(found), None)


def show(notebook: Notebook, picture: Path) -> None:
    """Put the picture with its words into a cell tagged `picture`, after the first cell of the notebook."""
    words = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    text = f"![{words['alt']}](pictures/{picture.name})\n\n*{words['caption']}*"
    stored = nbformat.read(notebook.path, nbformat.NO_CONVERT)
    cell = nbformat.v4.new_markdown_cell(text, metadata={"tags": ["picture"]}, id="picture")
    others = [c for c in stored.cells if "picture" not in c.metadata.get("tags", [])]
    stored.cells = [others[0], cell, *others[1:]]
    write_atomically(notebook.path, nbformat.writes(strip(stored)) + "\n")


def main(scale: str, *names: str) -> None:
    """Renew the pictures that are kept, or keep the first of a notebook, and show it there."""
    check_choice(scale, SCALES, "scale")
    available = reproducible()[0]
    for name in [check_choice(name, available, "notebook") for name in names] or available:
        drawn = [path for path in available[name].figures(scale) if path.suffix == ".png" and path.is_file()]
        for figure in [path for path in drawn if (PICTURES / f"{path.stem}.webp").is_file()] or drawn[:1]:
            print(keep(figure))
        if picture := first_picture(available[name]):
            show(available[name], picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
