"""Write pages about the public names of the library, from their docstrings."""

import warnings
from pathlib import Path

import pdoc

import tvae_core
from tvae_core.files import PAGES


def write_pages(folder: Path) -> Path:
    """Write the pages (pdoc) and return the first of them. Whatever pdoc warns of is an error."""
    for name in tvae_core.__all__:  # imported lazily, and pdoc takes what is there
        setattr(tvae_core, name, getattr(tvae_core, name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc("tvae_core", output_directory=folder)
    return folder / PAGES.name


if __name__ == "__main__":
    print(write_pages(PAGES.parent))
