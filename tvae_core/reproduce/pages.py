"""Write pages about the public names of the library, from their docstrings."""

import inspect
import re
import warnings
from pathlib import Path
from unittest import mock

import pdoc

import tvae_core
from tvae_core.config import Experiment
from tvae_core.files import PAGES


def write_pages(folder: Path) -> Path:
    """Write the pages (pdoc) and return the first of them. Whatever pdoc warns of is an error."""
    for name in tvae_core.__all__:  # imported lazily, and pdoc takes what is there
        setattr(tvae_core, name, getattr(tvae_core, name))
    described = f"{Experiment.__doc__}\n{_options()}"
    with warnings.catch_warnings(), mock.patch.object(Experiment, "__doc__", described):
        warnings.simplefilter("error")
        pdoc.pdoc("tvae_core", output_directory=folder)
    return folder / PAGES.name


def _options() -> str:
    """The options of an experiment with their meanings, which stand beside them as comments."""
    found = re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", inspect.getsource(Experiment), re.M)
    return "\n".join(f"    - `{name}`: {meaning}" for name, meaning in found)


if __name__ == "__main__":
    print(write_pages(PAGES.parent))
