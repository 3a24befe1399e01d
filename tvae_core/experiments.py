"""The sixteen experiments of the paper, one row of differences each, and variants of them as text.

>>> len(EXPERIMENTS), EXPERIMENTS["bubbles_mnist"].group_kernel
(16, (5, 3))
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from tvae_core.config import Experiment
from tvae_core.data.own_files import read_sequences
from tvae_core.data.sequences import held_out_frames
from tvae_core.files import DATA
from tvae_core.scales import RECIPE_OPTIONS, SCALES
from tvae_core.validation import check_choice, parse_setting

_DSPRITES = {"data": "dsprites", "n_caps": 15, "cap_dim": 15, "n_transforms": 15}
_TORUS = {"data": "mnist_grey", "n_caps": 1, "cap_dim": 324, "n_transforms": 1, "capsule": (18, 18)}
_STATIONARY = {"n_off_diag": None}
_PLAIN = {"topography": "none", "group_kernel": (), "n_off_diag": None}


def _rows() -> list[Experiment]:
    table_1, table_2 = "Table 1", "Table 2"
    exp = Experiment
    square = {"topography": "lattice", "group_kernel": (5, 5), "n_off_diag": None}
    long = {"batch_size": 128, "max_epochs": 250, "mu_init": 10.0}
    diagonal = {**_DSPRITES, "n_off_diag": 0}
    bubbles = {**_DSPRITES, **_STATIONARY}
    return [
        exp("tvae_2d_mnist", "Figure 3", **_TORUS, **square, **long),
        exp("tvae_Lpartial_mnist", "Figure 4, Table 1", seed=2),
        exp("tvae_Lpartial_dsprites", "Figure 4, Table 2", **diagonal, group_kernel=(10, 10)),
        exp("tvae_Lhalf_mnist", table_1, group_kernel=(18, 18)),
        exp("tvae_Lshort_mnist", table_1, group_kernel=(5, 5), seed=2),
        exp("bubbles_mnist", table_1, **_STATIONARY, group_kernel=(5, 3)),
        exp("tvae_L0_mnist", table_1, **_STATIONARY, group_kernel=(1, 3)),
        exp("nontvae_mnist", table_1, **_PLAIN),
        exp("tvae_Lhalf_dsprites", table_2, **diagonal, group_kernel=(15, 15)),
        exp("tvae_Lshort_dsprites", table_2, **diagonal, group_kernel=(5, 5)),
        exp("bubbles_dsprites", table_2, **bubbles, group_kernel=(5, 5)),
        exp("tvae_L0_dsprites", table_2, **bubbles, group_kernel=(1, 3), eps=1e-3),
        exp("nontvae_dsprites", table_2, **_DSPRITES, **_PLAIN),
        exp("tvae_Lpartial_mnist_generalization", "Figures 1, 6", test_data="mnist_dual", seed=2),
        exp("tvae_Lpartial_perspective_mnist", "Figure 22", data="mnist_perspective"),
        exp("tvae_Lpartial_rotcolor_mnist", "Figure 23", data="mnist_dual"),
    ]


class _Table(dict):
    def __missing__(self, name: str):
        try:
            check_choice(name, self, "experiment")
        except ValueError as error:
            raise KeyError(str(error)) from None


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(_Table({row.name: row for row in _rows()}))

# What people call a model; a name without its data stands for both.
_TITLES = {
    "tvae_Lhalf": "TVAE, L = S/2",
    "tvae_Lpartial_mnist": "TVAE, L = 13/36 S",
    "tvae_Lpartial_dsprites": "TVAE, L = S/3",
    "tvae_Lshort_mnist": "TVAE, L = 5/36 S",
    "tvae_Lshort_dsprites": "TVAE, L = S/6",
    "tvae_Lpartial_mnist_generalization": "TVAE, L = 13/36 S, both factors new",
    "tvae_Lpartial_rotcolor_mnist": "TVAE, L = 13/36 S, both trained",
    "tvae_Lpartial_perspective_mnist": "TVAE, L = 13/36 S, in space",
    "tvae_2d_mnist": "TVAE on a 2-D torus",
    "bubbles": "BubbleVAE",
    "tvae_L0": "TVAE, L = 0",
    "nontvae": "VAE",
}


# They name a run, or say where it is from, but do not make it another model.
_ASIDE = ("name", "shows", "scale", "seed", "source", "wandb_on", "tracker")


def own_experiment(
    source: object,
    name: str = "own",
    scale: str = "quick",
    folder: Path | None = DATA,
    closed: bool | None = None,
    **options: object,
) -> Experiment:
    """Return the experiment that trains on your own sequences, which are stored in the folder of data.

    source: what data.own_files.read_sequences takes. name: what the run is called. folder: None stores
    nothing. closed: see data.own.Sequences. options: those of Experiment. Without them D = S, and the window
    of t_l0 sees all frames but the last third, at most five. Raises ValueError for what is refused, OSError
    for files.

    >>> import numpy as np
    >>> turning = np.random.default_rng(0).integers(0, 256, (20, 12, 3, 16, 16), np.uint8)
    >>> exp = own_experiment(turning, "noise", "smoke", folder=None, n_caps=4, likelihood="gaussian")
    >>> exp.image_shape, exp.n_transforms, exp.group_kernel, exp.held_out
    ((3, 16, 16), 12, (8, 8), [8, 9, 10, 11])
    """
    sequences = read_sequences(source, closed)
    if folder is not None:
        sequences.save(folder)
    about = {"name": name, "sequences": sequences.key, "frame_shape": sequences.frame_shape}
    white = 255 if sequences.x.dtype == torch.uint8 else 1
    binary = bool(((sequences.x == 0) | (sequences.x == white)).all())
    row = replace(OWN, **about, binary=binary, **_usual(sequences.x.shape[1], sequences.closed))
    exp = row.at_scale(scale).with_options(**options)
    sequences.check(exp.n_transforms, exp.frame_shape, exp.closed)
    return exp


OWN = Experiment("own", data="own")  # what a name that is not in the table stands for


def _usual(frames: int, closed: bool) -> dict[str, object]:
    """The options of own sequences that nobody set."""
    window = frames - held_out_frames(frames)
    boundary = "circular" if closed else "zero"
    sizes = {"n_transforms": frames, "cap_dim": frames, "group_kernel": (window, window)}
    return {"closed": closed, "boundary": boundary, **sizes}


def row_of(exp: Experiment) -> Experiment:
    """Return the row of which an experiment is a variant; for own sequences OWN."""
    return _row(exp.name, exp.data == "own")


def _row(name: str, own: bool) -> Experiment:
    return replace(OWN, name=name) if own else EXPERIMENTS[check_choice(name, EXPERIMENTS, "experiment")]


def read_experiment(text: str, scale: str, settings: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a name at a scale, with the options changed that follow it as `key=value`.

    Values are read as Python, or else as text. `max_steps=5x` is five times as many steps, or epochs, as the
    scale has. `recipe=paper` takes the options of training (scales.RECIPE_OPTIONS) from scale paper;
    length, data and measuring stay those of this scale.
    settings: more options, written alike. Raises ValueError for an unknown name, option or scale, naming the
    nearest, or a wrong value.

    >>> exp = read_experiment("tvae_Lpartial_mnist n_off_diag=2 group_kernel=(5, 5)", "quick")
    >>> exp.n_off_diag, write_experiment(exp)
    (2, 'tvae_Lpartial_mnist group_kernel=(5,5) n_off_diag=2')
    >>> exp = read_experiment("tvae_Lpartial_mnist recipe=paper", "quick")
    >>> exp.optimizer, exp.max_steps
    ('sgd', 1200)
    """
    if not isinstance(text, str):
        raise ValueError(f"an experiment is named by a text, not by a {type(text).__name__}")
    name, *written = re.split(r"\s+(?=\w+=)", text.strip())
    options = dict(map(parse_setting, [*written, *settings]))
    row = _row(name, "sequences" in options).at_scale(scale)
    if "recipe" in options:
        row = _with_recipe(row, check_choice(str(options.pop("recipe")), SCALES, "recipe"))
    if times := re.fullmatch(r"(\d{0,6}\.?\d{1,6})x", str(options.get("max_steps"))):
        length = "max_steps" if row.max_steps else "max_epochs"
        options.pop("max_steps")
        options[length] = max(1, round(float(times[1]) * getattr(row, length)))
    return row.with_options(**options)


def write_experiment(exp: Experiment) -> str:
    """Return the text that `read_experiment` reads as this experiment, whatever its seed."""
    row = row_of(exp).at_scale(exp.scale)
    if exp.scale != "paper" and follows_paper(exp):
        return " ".join([exp.name, "recipe=paper", *_changes(exp, _with_recipe(row, "paper"))])
    return " ".join([exp.name, *_changes(exp, row)])


def follows_paper(exp: Experiment) -> bool:
    """Return whether an experiment is trained as in the paper: optimizer, start, batch and precision."""
    row = row_of(exp)  # at scale paper
    return all(getattr(exp, option) == getattr(row, option) for option in RECIPE_OPTIONS)


def _with_recipe(exp: Experiment, scale: str) -> Experiment:
    row = row_of(exp).at_scale(scale)
    return replace(exp, **{option: getattr(row, option) for option in RECIPE_OPTIONS})


def _changes(exp: Experiment, row: Experiment) -> list[str]:
    """The options, as `key=value`, in which an experiment differs from a row."""
    options = [f.name for f in dataclasses.fields(exp) if f.name not in _ASIDE]
    changed = [o for o in options if getattr(row, o) not in (getattr(exp, o), "auto")]  # a run resolves auto
    values = [str(getattr(exp, option)).replace(" ", "") for option in changed]
    return [f"{option}={value}" for option, value in zip(changed, values, strict=True)]


def title(exp: Experiment) -> str:
    """Return what people call the model: `TVAE, L = 13/36 S`, and the options that were changed after it."""
    if exp.data == "own":
        about = {"sequences": exp.sequences, "frame_shape": exp.frame_shape, "binary": exp.binary}
        usual = replace(OWN, **about, **_usual(exp.n_transforms, exp.closed)).at_scale(exp.scale)
        return ", ".join([exp.name, *_changes(exp, usual)])
    name, *options = write_experiment(exp).split(" ", 1)
    words = _TITLES.get(name) or _TITLES.get(name.rsplit("_", 1)[0], name)
    return ", ".join([words, *options])
