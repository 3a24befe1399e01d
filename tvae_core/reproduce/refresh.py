"""Run the notebooks as they are stored and keep what nbval compares: for developers, after changing one.

`python -m tvae_core.reproduce.refresh [NAME ...]` (all of them by default). Pictures, widgets, progress bars
and times are left out, and so is all that a cell tagged `nbval-ignore-output` shows, as it differs
between machines.
"""

import itertools
import sys
from collections.abc import Sequence

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tvae_core.files import write_atomically
from tvae_core.reproduce.notebook_text import SMOKE
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.validation import check_choice

KEPT = ("text/plain", "text/markdown")
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar too: its text/plain says how far it got


CHANGE = "**Change it and run it again:**"


def say_noise(notebook: NotebookNode) -> None:
    """Say in the first cell that scale smoke shows noise, if its line of times names that scale."""
    cell = notebook.cells[0]
    time = cell.source.partition("**Time:**")[2].partition(CHANGE)[0]
    if "smoke" in time and "nothing is trained" not in time and SMOKE not in time:
        cell.source = cell.source.replace(CHANGE, f"{SMOKE}\n\n{CHANGE}")


def strip(notebook: NotebookNode) -> NotebookNode:
    """The notebook without anything that differs between two runs, or that a browser would have to draw."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    parse_numbers = itertools.count(1)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.execution_count = next(parse_numbers)  # nbval takes a cell without for one never run
            outputs = [] if "nbval-ignore-output" in tags else cell.outputs
            cell.outputs = [kept for output in outputs if (kept := _kept(output, cell.execution_count))]
    return notebook


def _kept(output: NotebookNode, number: int) -> NotebookNode | None:
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    data = {kind: value for kind, value in output.get("data", {}).items() if kind in KEPT}
    if not data or WIDGET in output.data:
        return None
    count = {"execution_count": number} if output.output_type == "execute_result" else {}
    return nbformat.v4.new_output(output.output_type, data, **count)


def main(names: Sequence[str]) -> None:
    """Execute and strip these notebooks in place; a cell that fails raises and leaves the file alone."""
    available = notebooks()
    for name in [check_choice(name, available, "notebook") for name in names] or available:
        path = available[name].path
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        say_noise(notebook)
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, kernel_name="python3", resources=where, coalesce_streams=True).execute()
        write_atomically(path, nbformat.writes(strip(notebook)) + "\n")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
