"""What a request comes to: each notebook asked for, what it is given, and the runs that it needs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tvae_core.experiments import read_experiment
from tvae_core.files import FIGURES, HOME, RUNS
from tvae_core.reproduce.notebooks import Notebook
from tvae_core.reproduce.report import Item, minutes
from tvae_core.reproduce.request import Request, open_pack
from tvae_core.reproduce.status import Status, status
from tvae_core.training.registry import is_source
from tvae_core.training.runs import Run, plan


@dataclass(frozen=True)
class Task:
    """A notebook asked for, with the runs that it needs."""

    notebook: Notebook
    request: Request
    # By folder or a pack's file: the experiment as the notebook says it, and the run.
    runs: Mapping[str, tuple[str, Run]]

    @property
    def parameters(self) -> dict[str, object]:
        """Return what papermill gives the notebook: those it has, for it only warns about others."""
        asked = self.request
        given = {"scale": asked.scale, "seeds": asked.seeds, "device": asked.device, "runs": str(RUNS)}
        given |= {"figures": str(FIGURES / asked.scale)} | asked.changes
        return {key: value for key, value in given.items() if key in self.notebook.parameters}

    @property
    def status(self) -> Status:
        """Return how it stands now."""
        return status(self.notebook, self.request.scale, self.parameters, self.runs)

    def job(self, jobs: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """Return what notebooks/Snakefile has to know of it; jobs: those that train (trainings)."""
        runs = {folder: [text, run.exp.seed] for folder, (text, run) in self.runs.items()}
        given = json.dumps({"parameters": self.parameters, "runs": runs})
        path, name = str(self.notebook.path), self.notebook.name
        waits = [key for key, job in jobs.items() if self.runs.keys() & job["runs"]]
        return {"name": name, "path": path, "given": given, "trainings": waits}

    def row(self, code: int) -> tuple[str, str, str, str]:
        """Return its row of the table after Snakemake ended with `code`: name, status, minutes, figure."""
        word, why = self.status
        name, scale = self.notebook.name, self.request.scale
        if word == "made":
            figures = [self.notebook.executed(scale), *self.notebook.figures(scale)]
            shown = next((path for path in figures if path.suffix == ".png"), figures[-1])
            return name, word, f"{minutes(Item(self.notebook, scale, Status(word)).seconds):>7}", str(shown)
        untrained = [str(run) for _, run in self.runs.values() if not run.complete]
        if code == 130:
            why = "interrupted; call again to go on"
        elif word == "failed":
            why += f"\n  see {self.notebook.attempt(scale)}"
        elif untrained:
            why = f"training failed: {'; '.join(untrained)} (see above)"
        elif code:
            why = f"not run; Snakemake's reason is in {HOME / '.snakemake' / 'log'}"
        return name, word, "", why


def tasks(request: Request, sources: Mapping[str, str] = MappingProxyType({})) -> list[Task]:
    """Return the notebooks asked for with the runs that they need.

    `sources` says by data set where its images come from, if that was found out already (find_sources).
    """
    found = []
    for notebook in request.chosen:
        runs = {}
        for text in notebook.experiments(request.changes):
            if pack := open_pack(text, notebook.path.parent):
                runs[str(pack.folder)] = (text, pack)
                continue
            exp = read_experiment(text, request.scale)
            exp = exp.with_options(source=sources.get(exp.dataset, exp.source))
            for seed in request.seeds or [exp.seed]:
                run = plan(exp.with_options(seed=seed), request.device, RUNS, request.data)
                runs[run.folder.name] = (text, run)
        found.append(Task(notebook, request, runs))
    return found


def trainings(asked: Iterable[Task], together: bool) -> dict[str, dict[str, object]]:
    """Return the jobs that train what is not complete, by number: experiment, seeds and the folders of runs.

    together: one job for all seeds of an experiment, which trains them at once on CUDA; else one for each.
    """
    jobs: dict[str, list[tuple[str, Run]]] = {}
    for folder, (text, run) in {k: v for task in asked for k, v in task.runs.items()}.items():
        if not run.complete:
            jobs.setdefault(text if together else folder, []).append((text, run))
    return {
        str(number): {
            "experiment": job[0][0],
            "seeds": ",".join(str(run.exp.seed) for _, run in job),
            "runs": [run.folder.name for _, run in job],
        }
        for number, job in enumerate(jobs.values())
    }


def find_sources(request: Request) -> dict[str, str]:
    """Return the source of each data set needed (data.sources); official data are downloaded.

    A network that comes and goes must not change what the jobs of one call go by. A pack has data of its own.
    """
    named = [text for notebook in request.chosen for text in notebook.experiments(request.changes)]
    texts = [text for text in named if not is_source(text)]
    exps = {exp.dataset: exp for exp in (read_experiment(text, request.scale) for text in texts)}
    return {name: exp.image_set.source_of(exp.load_images(request.data).key) for name, exp in exps.items()}
