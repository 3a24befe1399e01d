"""Follow a training in Weights & Biases or in TensorBoard, both by three calls: log, show and close."""

import dataclasses
import importlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.model.tvae import TVAE
from tvae_core.training.runs import Run

SHOWN = 4  # sequences in the final picture of each transformation

Row = Mapping[str, int | float]


class WandbTracker:
    """A run of Weights & Biases, by its own settings of project, entity and mode; offline without an account.

    W&B cannot resume a run that is offline: then `history`, the rows before an interruption, is logged anew,
    and the folder that is written last holds the whole run.
    """

    def __init__(self, run: Run, history: Sequence[Row]):
        self.wandb = importlib.import_module("wandb")
        alone = not (os.environ.get("WANDB_MODE") or self.wandb.login(prompt=False))
        self.run = self.wandb.init(
            id=run.folder.name,
            name=f"{run.exp.name}, seed {run.exp.seed}",
            group=run.label,
            config=dataclasses.asdict(run.exp),
            resume="allow",
            mode="offline" if alone else None,
            dir=os.environ.get("WANDB_DIR") or run.folder,
        )
        self.run.define_metric("*", step_metric="step")
        if self.run.offline:
            for row in history:
                self.log(row)

    def log(self, row: Row) -> None:
        """Log a row of the history."""
        self.run.log(dict(row))

    def show(self, name: str, picture: UInt8[Tensor, "height width 3"]) -> None:
        """Log a picture."""
        self.run.log({name: self.wandb.Image(picture.numpy())})

    def close(self) -> None:
        """Write what is left."""
        self.run.finish()


class TensorBoardTracker:
    """Event files of TensorBoard in the folder `tensorboard` of the run; a resumed run goes on in them."""

    def __init__(self, run: Run, history: Sequence[Row]):
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self.step = history[-1]["step"] if history else 0
        self.writer = writer(run.folder / "tensorboard", purge_step=self.step + 1)
        if not history:
            self.writer.add_text("config", json.dumps(dataclasses.asdict(run.exp), indent=1))

    def log(self, row: Row) -> None:
        """Log a row of the history."""
        self.step = row["step"]
        for key, value in row.items():
            self.writer.add_scalar(key, value, self.step)

    def show(self, name: str, picture: UInt8[Tensor, "height width 3"]) -> None:
        """Log a picture."""
        self.writer.add_image(name, picture.numpy(), self.step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


Tracker = WandbTracker | TensorBoardTracker
TRACKERS: Mapping[str, type[Tracker]] = {"wandb": WandbTracker, "tensorboard": TensorBoardTracker}


def tracker_of(exp: Experiment) -> str:
    """Return what follows a training: `none`, `wandb` or `tensorboard`."""
    return "wandb" if exp.wandb_on else exp.tracker


def require_tracker(exp: Experiment) -> None:
    """Raise ValueError if the experiment wants a tracker whose package is not installed."""
    package = tracker_of(exp)  # of the same name
    if package != "none" and importlib.util.find_spec(package) is None:
        said = "wandb_on is True" if exp.wandb_on else f"tracker is {exp.tracker!r}"
        raise ValueError(f"{said}, but the package {package} is not installed: pip install {package}")


def start_tracker(run: Run, history: Sequence[Row]) -> Tracker | None:
    """Return the tracker that the experiment names, None for none; history: the rows so far."""
    name = tracker_of(run.exp)
    return None if name == "none" else TRACKERS[name](run, history)


def show_rolls(tracker: Tracker, run: Run, model: TVAE) -> None:
    """Log a picture for each transformation of the test split: input, reconstruction, rolls of t_l0."""
    if run.exp.n_transforms == 1:
        return
    device = next(model.parameters()).device
    for varied, name in enumerate(run.data.test.varying):
        x = run.data.test.sequence(torch.arange(SHOWN), varied).x.to(device)
        with torch.inference_mode():
            t = model.latents(x)
            rows = x, model.decode(t), model.traverse(t, run.exp.anchor).sigmoid()
        frames = torch.stack(rows, 1).expand(-1, -1, -1, 3, -1, -1)  # (B, rows, S, 3, h, w)
        picture = frames.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(0, 2)
        tracker.show(f"rolls/{name}", (255 * picture.clamp(0, 1)).round().byte().cpu())
