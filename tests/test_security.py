"""Nothing that is read is executed: pickles under every loader, archives that climb, pages that hold code."""

import contextlib
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tvae_core.data import dsprites_archive, mnist
from tvae_core.data.own_files import read_sequences
from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.export import animate, animate_own_digit, export
from tvae_core.explorer.live import save_live_page
from tvae_core.explorer.panel_digit import read_upload
from tvae_core.reproduce.notebook_text import read_article
from tvae_core.reproduce.notebooks import Notebook
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.report import read_figure, read_table
from tvae_core.store import read_about, read_json, read_tensors
from tvae_core.training.latents import read_array
from tvae_core.training.pack import pack, read_pack
from tvae_core.training.registry import read_registry
from tvae_core.training.runs import Run
from tvae_core.training.trainer import fit

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


SECRETS = {  # by where a program would find it
    "WANDB_API_KEY": "0123456789secretkey",
    "JUPYTER_TOKEN": "secrettoken",
    "HF_TOKEN": "hf_secret",
    "USER": "secretuser",
    "LOGNAME": "secretuser",
}


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A home of a user with a name, on a machine with a name, with tokens, and own digits in it."""
    home = tmp_path / "home" / "secretuser"
    raw = home / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, n in (("train", 60), ("t10k", 20)):
        images, labels = bytes(range(196)) * 4 * n, bytes(i % 10 for i in range(n))
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + images)
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels)
    for name, value in {**SECRETS, "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    for call in ("socket.gethostname", "platform.node"):
        monkeypatch.setattr(call, lambda: "secrethost")
    return home


def test_no_name_path_or_token_of_a_user_gets_into_what_may_be_shared(private, tmp_path):
    few = {"n_caps": 2, "max_steps": 1, "batch_size": 2, "eval_sequences": 4, "n_is_samples": 1}
    exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(source="own", **few)
    run = fit(exp, "cpu", private / "runs", private / "data", progress=False)
    pack(run, run.folder / "run.tvae")
    save_live_page(run, run.folder / "live.html")
    export(animate(run), run.folder / "page.html")
    written = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert {"provenance.json", "checkpoint.safetensors", "run.tvae", "live.html", "page.html"} <= set(written)
    assert b"80 images of your own" in written["provenance.json"] and b"secret" in str(run.folder).encode()
    assert [name for name, content in written.items() if b"secret" in content] == []


def test_jupyter_is_started_for_this_machine_alone():
    (line,) = [line for line in (ROOT / "run_all.sh").read_text().splitlines() if "-m jupyter lab" in line]
    assert "--ip=127.0.0.1" in line and "token=" not in line and "password" not in line
