"""Execute a notebook and note in its metadata what it was made from: a job of notebooks/Snakefile."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from tvae_core.files import write_atomically
from tvae_core.reproduce.notebooks import RECORD, Notebook
from tvae_core.reproduce.status import file_digest, input_digests
from tvae_core.training.provenance import peak_memory, software

_UNFINISHED = ".unfinished-"  # before a notebook's name: the folder of its figures while it runs
_LONGEST_FOLDER = 75  # bytes; with 25 more for folder and name, an address may have 103 on macOS


def execute(notebook: Notebook, scale: str, parameters: dict[str, object], runs: dict[str, list]) -> None:
    """Execute a notebook in its own folder with these parameters; its outputs are replaced once it succeeds.

    `runs` names the folder of each trained run that it needs, with experiment and seed. It is kept in the
    metadata, beside the digests of its files and of what they were made from (status.input_digests), commit,
    versions and the most memory that the kernel took. Raises PapermillExecutionError for a cell that fails,
    and ValueError for files that it may not write: their names must begin with its own.
    """
    attempt, output = notebook.attempt(scale), notebook.executed(scale)
    record = {"runs": runs, "input_digests": input_digests(notebook, runs), **software()}
    figures = Path(parameters["figures"])
    unfinished = figures / f"{_UNFINISHED}{notebook.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder in (attempt.parent, output.parent, unfinished):
        folder.mkdir(parents=True, exist_ok=True)
    given = {**parameters, "figures": str(unfinished)}
    options = {"kernel_name": "python3", "language": "python", "progress_bar": False, "log_output": False}
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (notebook.path, attempt)]
    with kernel_sockets() as config:
        done = papermill.execute_notebook(  # formats paths
            *paths, given, cwd=notebook.path.parent, config=config, **options
        )
    files = sorted(path for path in unfinished.iterdir() if path.is_file())
    check_names(notebook.name, files)
    record |= {"files": {path.name: file_digest(path) for path in files}}
    done.cells = [
        cell for cell in done.cells if "picture" not in cell.metadata.get("tags", [])
    ]  # another run's
    done.metadata[RECORD] = {**record, "peak_memory": peak_memory(children=True)}
    text = json.dumps(done, indent=1, ensure_ascii=False) + "\n"
    for path in files:
        os.replace(path, figures / path.name)
    write_atomically(output, text.replace(f"{os.sep}{unfinished.name}", ""))
    shutil.rmtree(unfinished)
    attempt.unlink()


@contextmanager
def kernel_sockets() -> Iterator[Config]:
    """Give the block the configuration of a kernel that listens on sockets in a folder of its own.

    By TCP a kernel takes ports that were free a moment before; of many that start at once, one finds a port
    taken and ends with a ZMQError.
    """
    with tempfile.TemporaryDirectory(prefix="tvae-", dir=_folder_of_sockets()) as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": str(Path(folder) / "kernel")}})


def _folder_of_sockets() -> str:
    """The folder for temporary files, or /tmp where its path is too long for the address of a socket."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _LONGEST_FOLDER else "/tmp"


def check_names(name: str, files: Sequence[Path]) -> None:
    """Raise ValueError unless a notebook wrote files, and named them NAME.* or NAME_*.*."""
    if not files:
        raise ValueError(f"{name} wrote no file into the folder `figures`")
    for path in files:
        if path.stem != name and not path.name.startswith(f"{name}_"):
            raise ValueError(f"{name} wrote {path.name}; the names of its files must begin with {name}")


def main() -> int:
    """Execute NOTEBOOK SCALE JSON, the last with `parameters` and `runs`; return 1 for one that fails."""
    notebook, scale, given = sys.argv[1:]
    asked = json.loads(given)
    try:
        execute(Notebook(Path(notebook)), scale, asked["parameters"], asked["runs"])
    except (PapermillExecutionError, ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
