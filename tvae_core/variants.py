"""Variants of the sixteen in words, such as `tvae_Lpartial_mnist n_off_diag=2 group_kernel=(5,5)`."""

import dataclasses
import re

from tvae_core.choices import read_setting, require
from tvae_core.experiments import EXPERIMENTS, Experiment

# They name a run, or say where it is from, but do not make it another model.
_ASIDE = ("name", "shows", "scale", "seed", "source", "wandb_on")


def read_experiment(text: str, scale: str) -> Experiment:
    """The experiment of that name at that scale, with the options changed that follow it as `key=value`.

    Values are read as Python, or else as text. Raises ValueError for an unknown name, option or scale,
    naming the nearest, and for values that cannot be.
    """
    name, *settings = re.split(r"\s+(?=\w+=)", text.strip())
    row = EXPERIMENTS[require(name, EXPERIMENTS, "experiment")].scaled(scale)
    return row.having(**dict(map(read_setting, settings)))


def label(exp: Experiment) -> str:
    """The text that `read_experiment` reads as this experiment, whatever its seed."""
    row = EXPERIMENTS[exp.name].scaled(exp.scale)
    options = [f.name for f in dataclasses.fields(exp) if f.name not in _ASIDE]
    changed = [o for o in options if getattr(row, o) not in (getattr(exp, o), "auto")]  # a run resolves auto
    values = [str(getattr(exp, option)).replace(" ", "") for option in changed]
    return " ".join([exp.name, *(f"{o}={v}" for o, v in zip(changed, values, strict=True))])
