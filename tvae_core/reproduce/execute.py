"""Execute a notebook and let it say in its metadata what it was made from: a job of notebooks/Snakefile."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError

from tvae_core.files import write_atomically
from tvae_core.reproduce.notebooks import RECORD
from tvae_core.reproduce.status import input_digests
from tvae_core.training.provenance import peak_memory, software


def execute(notebook: Path, output: Path, parameters: dict[str, object], runs: dict[str, list]) -> None:
    """Run a notebook in its own folder with these parameters; `output` has the results, or the traceback.

    `runs` names the folder of each trained run that it needs, with experiment and seed; they are kept in its
    metadata, beside digests of what it was made from (status.input_digests), commit, versions and the most
    memory that the kernel took. Raises PapermillExecutionError for a cell that fails.
    """
    record = {"runs": runs, "input_digests": input_digests(notebook, runs), **software()}
    output.parent.mkdir(parents=True, exist_ok=True)
    options = {"kernel_name": "python3", "progress_bar": False, "log_output": False}
    done = papermill.execute_notebook(notebook, output, parameters, cwd=notebook.parent, **options)
    done.metadata[RECORD] = {**record, "peak_memory": peak_memory(children=True)}
    write_atomically(output, json.dumps(done, indent=1, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str]) -> int:
    """NOTEBOOK OUTPUT DEVICE JSON, the last with `parameters` and `runs`; 1 for a cell that fails."""
    notebook, output, device, given = arguments
    asked = json.loads(given)
    try:
        execute(Path(notebook), Path(output), {**asked["parameters"], "device": device}, asked["runs"])
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
