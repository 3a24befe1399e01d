"""Nothing that is read is executed: pickles under every loader, archives that climb, pages that hold code."""

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tvae_core.data import dsprites_archive, mnist
from tvae_core.data.own_files import read_sequences
from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.export import animate_own_digit
from tvae_core.explorer.panel_digit import read_upload
from tvae_core.reproduce.notebook_text import read_article
from tvae_core.reproduce.notebooks import Notebook
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.report import read_figure, read_table
from tvae_core.store import read_about, read_json, read_tensors
from tvae_core.training.latents import read_array
from tvae_core.training.pack import read_pack
from tvae_core.training.registry import read_registry
from tvae_core.training.runs import Run

ROOT = Path(__file__).parents[1]


class Evil:
    """A pickle of it makes a file when it is read."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


def written(write, *arguments):
    into = io.BytesIO()
    write(into, *arguments)
    return into.getvalue()


def climbing(name):
    """An archive whose member leads out of the folder it is unpacked in."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr(name, b"climbed")
    return into.getvalue()


def payloads(proof):
    evil = np.array([Evil(proof)], dtype=object)
    return {
        "pickle": pickle.dumps(Evil(proof)),
        "torch.save": written(lambda into: torch.save({"model": Evil(proof)}, into)),
        "npy": written(lambda into: np.save(into, evil, allow_pickle=True)),
        "npz": written(lambda into: np.savez(into, x=evil, t=evil, packed=evil, sha256=evil, imgs=evil)),
        "climbing": climbing("../../climbed"),
        "absolute": climbing(f"{proof}"),
    }


LOADERS = {  # by the name of the file
    "checkpoint.safetensors": read_tensors,
    "per_sequence.safetensors": read_about,
    "results.json": read_json,
    "run.pack": read_pack,
    "latents.npz": lambda path: read_array(path, "t"),
    "x.npz": read_sequences,
    "x.npy": read_sequences,
    "registry.json": read_registry,
    "archive.npz": lambda path: dsprites_archive.read(path, {k: range(1) for k in dsprites_archive.AXES}),
    "kept.npz": lambda path: dsprites_archive.read_kept(path, 16),
    "train-images-idx3-ubyte.gz": mnist._read_idx,
    "digit.png": lambda path: animate_own_digit(Run(EXPERIMENTS["nontvae_mnist"], path), path, "hue"),
    "upload.png": lambda path: read_upload(path.read_bytes(), path.name),
    "reference.csv": lambda path: read_reference(["a"], ["elbo"], path),
    "fig1.ipynb": lambda path: Notebook(path).cells,
    "executed.ipynb": read_article,
    "t.csv": read_table,
    "fig1.png": read_figure,
}


def pickles_are_read(path):
    with path.open("rb") as file:
        pickle.load(file)


@pytest.mark.parametrize("name", LOADERS)
def test_what_a_file_holds_is_never_executed_or_unpacked(name, tmp_path):
    folder, proof = tmp_path / "deep" / "folder", tmp_path / "proof"
    folder.mkdir(parents=True)
    for content in payloads(proof).values():
        (folder / name).write_bytes(content)
        with contextlib.suppress(ValueError, OSError, KeyError, zipfile.BadZipFile):
            LOADERS[name](folder / name)
        assert not proof.exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_a_payload_that_is_executed_is_seen(tmp_path):
    (tmp_path / "file").write_bytes(payloads(tmp_path / "proof")["pickle"])
    pickles_are_read(tmp_path / "file")
    assert (tmp_path / "proof").exists()


def test_jupyter_is_started_for_this_machine_alone():
    (line,) = [line for line in (ROOT / "run_all.sh").read_text().splitlines() if "-m jupyter lab" in line]
    assert "--ip=127.0.0.1" in line and "token=" not in line and "password" not in line
