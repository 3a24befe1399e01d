"""Latents as arrays: encode the sequences of a run, decode t, and keep both in files that numpy reads."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tvae_core.data.own import Sequences, check_known
from tvae_core.data.sequences import SPLITS, to_tensor
from tvae_core.files import write_atomically
from tvae_core.measures.evaluation import BATCH, test_batches
from tvae_core.store import DamagedFile
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice, check_number

Arrays = dict[str, np.ndarray]


@torch.inference_mode()
def encode(
    run: Run,
    x: np.ndarray | Tensor | Sequences | Mapping | None = None,
    split: str = "test",
    n: int | None = None,
) -> Arrays:
    """Encode sequences with the model of a run and return their latents as arrays.

    x: your own sequences (N, S, channels, height, width), uint8 or in [0, 1]; `Sequences`; or a mapping
    with the key x and, if they are known, factors, names and labels as of `Sequences`: without a split, one
    sequence is enough. None: those of a split of the run's data, `train`, `validation` or `test`. Those of
    the test split are the ones that evaluate measures. n: only the first n of them.

    Axes: N sequences, S frames, C capsules, D units, F factors. Returned, float32 unless said otherwise:
    t (N, S, C, D) at E[z] and E[u²] (TVAE.latents); z_mean and z_logvar, u_mean and u_logvar (N, S, C, D),
    the posteriors of z and u, the latter not for a plain VAE; and of a split factors (N, S, F), varied (N,)
    and labels (N,), int64, as in Batch, and names (F,), those of the factors. Of your own
    factors, names and labels, if they were given.

    Raises ValueError for another split, for frames that the model cannot see, and for values outside [0, 1].

    >>> from tvae_core import EXPERIMENTS
    >>> exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(n_caps=2)
    >>> run = Run(exp, Path())
    >>> run.__dict__["model"] = exp.build_model()  # a trained run reads its own
    >>> latents = encode(run, n=4)
    >>> latents["t"].shape, latents["factors"].shape, decode(run, latents["t"]).shape
    ((4, 18, 2, 18), (4, 18, 3), (4, 18, 3, 28, 28))
    """
    n = None if n is None else check_number("n", n, 1)
    parts: dict[str, list[Tensor]] = {}
    frames, known = (None, {}) if x is None else _read(run, x, n)
    for batch in _split(run, split, n) if frames is None else _own(frames):
        q_z, q_u = run.model.encode(batch["x"])
        found = {"t": run.model.latents_of(q_z, q_u), "z_mean": q_z.mean, "z_logvar": q_z.logvar}
        found |= {"u_mean": q_u.mean, "u_logvar": q_u.logvar} if q_u else {}
        for key, value in (found | batch).items():
            if key != "x":
                parts.setdefault(key, []).append(value)
    arrays = {key: torch.cat(values).numpy() for key, values in parts.items()}
    return arrays | ({"names": np.array(run.data.test.factors, str)} if x is None else known)


@torch.inference_mode()
def decode(run: Run, t: np.ndarray | Tensor) -> np.ndarray:
    """Return the frames (N, S, channels, height, width) that t (N, S, C, D) decodes to, float32 in [0, 1].

    S is any number of frames, since each is decoded by itself. Raises ValueError for another shape of t, and
    for values that are not finite.
    """
    t, model = to_tensor("t", t), run.model
    if t.ndim != 4 or t.shape[2:] != (model.capsules, model.units):
        raise ValueError(f"t is {tuple(t.shape)}, but must be (N, S, {model.capsules}, {model.units})")
    if not t.isfinite().all():
        raise ValueError("t has values that are not finite")
    return torch.cat([model.decode(part) for part in t.float().split(BATCH)]).numpy()


def _split(run: Run, split: str, n: int | None) -> Iterator[dict[str, Tensor]]:
    sequences = getattr(run.data, check_choice(split, SPLITS, "split"))
    for batch, _ in test_batches(run.exp.with_options(eval_sequences=n), sequences):
        yield batch._asdict()


def _read(run: Run, own: np.ndarray | Tensor | Sequences | Mapping, n: int | None) -> tuple[Tensor, Arrays]:
    """The frames of own sequences, and what is known of them, as of a split."""
    if isinstance(own, Sequences):
        known = ("factors", "names") * bool(own.names) + ("labels",) * own.labelled
        own = {key: getattr(own, key) for key in ("x", *known)}
    own = own if isinstance(own, Mapping) else {"x": own}
    if "x" not in own:
        raise ValueError(f"sequences hold {', '.join(map(str, own)) or 'nothing'}; they must hold x")
    x, wanted = to_tensor("x", own["x"]), (run.exp.n_transforms, *run.model.image_shape)
    if x.ndim != 5 or tuple(x.shape[1:]) != wanted:
        raise ValueError(f"x is {tuple(x.shape)}, but must be (N, {', '.join(map(str, wanted))})")
    names = own.get("names", ()) if "factors" in own else ()
    factors, names, labels = check_known(x.shape[:2], own.get("factors"), names, own.get("labels"))
    found = {"factors": factors[:n].numpy(), "names": np.array(names, str)} if names else {}
    return x[:n], found | ({"labels": labels[:n].numpy()} if own.get("labels") is not None else {})


def _own(x: Tensor) -> Iterator[dict[str, Tensor]]:
    for part in x.split(BATCH):
        part = part.float() / 255 if x.dtype == torch.uint8 else part.float()
        if not ((part >= 0) & (part <= 1)).all():
            raise ValueError("x has values outside [0, 1]; give uint8, or a float in [0, 1]")
        yield {"x": part}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as .npz, whole or not at all; the same arrays make the same bytes.

    Raises ValueError for another suffix.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path} must end in .npz")
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def read_array(path: Path, key: str) -> np.ndarray:
    """Return one array of an .npz file; pickled objects are refused.

    Raises FileNotFoundError, DamagedFile for a file that is not of this format, ValueError for a key that it
    lacks.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name == key} or dict.fromkeys(file.files)
    except (zipfile.BadZipFile, AttributeError, EOFError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path} is not a sound .npz file of plain arrays") from error
    if key not in arrays:
        raise ValueError(f"{path} has no array {key}; it has {', '.join(arrays) or 'none'}")
    return arrays[key]
