"""Begin training with the weights of another run: kept beside the runs, under a digest that is an option."""

import json
from pathlib import Path

from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.files import RUNS
from tvae_core.store import digest_of, read_about, read_tensors, write_tensors
from tvae_core.training.runs import Run


def start_from(exp: Experiment, run: Run, runs: Path | str | None = RUNS) -> Experiment:
    """Return the experiment, beginning with the weights of a run instead of new ones.

    Its option `warm_start` names them by a digest, which makes it another run than the same without. The
    weights are written to the folder `runs`, from which training reads them (None: nothing is written). All
    else is the experiment's own: its window W, data, optimizer and steps. The decoder goes on taking out the
    mean and spread of t that it took out in the run. Raises ValueError for weights of other shapes.

    >>> from tvae_core import EXPERIMENTS
    >>> exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(n_caps=2)
    >>> run = Run(exp, Path())
    >>> run.__dict__["model"] = exp.build_model()  # a trained run reads its own
    >>> start_from(exp.with_options(seed=7), run, None).warm_start.startswith("tvae_Lshort_mnist-")
    True
    """
    for what, given, kind in (("exp", exp, Experiment), ("run", run, Run)):
        if not isinstance(given, kind):
            raise ValueError(f"{what} is a {type(given).__name__}, but must be of type {kind.__name__}")
    weights = {f"model.{name}": weight.detach().cpu() for name, weight in run.model.named_parameters()}
    wanted = {f"model.{name}": weight.shape for name, weight in exp.build_model().named_parameters()}
    for name in sorted(weights.keys() | wanted.keys()):
        there, here = weights[name].shape if name in weights else None, wanted.get(name)
        if there != here:
            there, here = (tuple(shape) if shape else "missing" for shape in (there, here))
            part = name.removeprefix("model.")
            raise ValueError(
                f"the weights of {run} do not fit {exp.name} ({part} is {there} there, {here} here): n_caps, "
                "cap_dim, the size of the frames and the kind of model must agree"
            )
    decoder = run.model.decoder.centre, run.model.decoder.spread
    start = f"{run.exp.name}-{digest_of(weights, json.dumps(decoder))[:12]}"
    if runs is not None and not _place(runs, start).is_file():
        origin = {"run": str(run), "opened": run.folder.name, "provenance": run.provenance}
        write_tensors(_place(runs, start), weights, {"decoder": decoder, "origin": origin})
    return exp.with_options(warm_start=start)


def load_start(run: Run) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the weights that a run begins with, and what `restore` wants to know of them.

    Raises FileNotFoundError where they are not beside the run, DamagedFile, and ValueError for a name that is
    none.
    """
    place = _place(run.folder.parent, run.exp.warm_start)
    if not place.is_file():
        raise FileNotFoundError(
            f"the weights {run.exp.warm_start} that training begins with are not in {place.parent}; name the "
            "pack or run that they are from with --from"
        )
    return read_tensors(place)


def about_start(run: Run) -> dict[str, object]:
    """Return what provenance says of the weights that a run began with; nothing for new ones."""
    name = run.exp.warm_start
    if not name:
        return {}
    place = _place(run.folder.parent, name)
    return {"warm_start": {"weights": name} | (read_about(place)["origin"] if place.is_file() else {})}


def _place(runs: Path | str, start: str) -> Path:
    return Path(runs).expanduser() / ".starts" / f"{start}.safetensors"
