"""Your own sequences: every source leads to the same ones, a batch is what was given, the rest is refused."""

import errno
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from tvae_core import EXPERIMENTS, own_experiment
from tvae_core.cli import main
from tvae_core.data.own import Sequences, load, stored_at
from tvae_core.data.own_files import read_sequences
from tvae_core.data.own_sequences import OwnSequences
from tvae_core.explorer.export import animate, export
from tvae_core.measures.metrics import equivariance_error
from tvae_core.training.runs import plan, stored_runs
from tvae_core.training.trainer import fit

N, S = 20, 9
TINY = {"n_caps": 2, "max_steps": 2, "batch_size": 4}


def shifting(n=N, s=S, channels=1):
    """Pictures (N, S, channels, 5, S) that move by one pixel a frame and come round."""
    first = np.random.RandomState(0).randint(0, 256, (n, 1, channels, 5, s)).astype(np.uint8)
    return np.concatenate([np.roll(first, i, -1) for i in range(s)], 1)


def turned(n=N, s=S):
    """Starts that differ, of one factor that advances by one value a frame."""
    return (np.arange(n)[:, None, None] + np.arange(s)[:, None]) % s


X = shifting()
BARS = np.where(X[:12] > 127, 255, 0).astype(np.uint8)  # binary; one of them is to test on


def test_what_is_given_comes_back_unchanged(tmp_path):
    given = Sequences(
        X, turned(), ["shift"], np.arange(N), False, ["train"] * 12 + ["test"] * 6 + ["validation"] * 2
    )
    given.save(tmp_path)
    found = load(given.key, tmp_path)
    assert found.x.dtype == torch.uint8 and np.array_equal(found.x, X)
    assert np.array_equal(found.factors, turned()) and found.names == ("shift",)
    assert found.labels.tolist() == list(range(N)) and not found.closed and found.split == given.split
    test = OwnSequences(found, "test")
    batch = test.batch(torch.arange(6))
    assert torch.equal(batch.x, found.x[12:18].float() / 255)
    assert torch.equal(batch.factors[..., 0], found.factors[12:18, :, 0]) and test.factors == ["shift"]


def test_all_doors_lead_to_the_same_sequences(tmp_path):
    np.savez(tmp_path / "own.npz", x=X)
    np.save(tmp_path / "own.npy", X)
    for kind in ("folders", "gifs", "tiffs"):
        (tmp_path / kind).mkdir()
    for i, sequence in enumerate(X):
        first, *others = [Image.fromarray(frame[0]) for frame in sequence]
        for end in ("gif", "tiff"):
            first.save(tmp_path / f"{end}s" / f"a{i}.{end}", save_all=True, append_images=others)
        (folder := tmp_path / "folders" / f"a{i}").mkdir()
        for k, frame in enumerate((first, *others)):
            frame.save(folder / f"{k + 2}.png")  # 10 comes after 9
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X))
    sources = [tmp_path / name for name in ("own.npz", "own.npy", "folders", "gifs", "tiffs")]
    keys = {read_sequences(source).key for source in (X, torch.from_numpy(X), list(X), dataset, *sources)}
    assert keys == {Sequences(X).key}


def test_a_dataset_brings_factors_and_labels_and_a_folder_its_splits(tmp_path):
    items = list(zip(X, turned(), range(N), strict=True))
    mappings = [{"labels": label, "factors": factors, "x": x} for x, factors, label in items]
    assert read_sequences(items).key == Sequences(X, turned(), labels=range(N)).key
    assert read_sequences(mappings).key == read_sequences(items).key
    for split, n in {"train": 3, "test": 2}.items():
        for i in range(n):
            (folder := tmp_path / split / f"s{i}").mkdir(parents=True)
            for k in range(S):
                colours = Image.fromarray(shifting(channels=3)[i, k].transpose(1, 2, 0))
                colours.save(folder / f"{k}.png")
    found = read_sequences(tmp_path)
    assert found.split.count("test") == 2 and len(found.split) == 5
    assert np.array_equal(found.x[found.members("test")], shifting(channels=3)[:2])


REFUSED = {  # by what the sentence must say
    "has shape .* grey frames need an axis": lambda: Sequences(X[:, :, 0]),
    "channels come before height": lambda: Sequences(np.zeros((N, S, 5, 5, 3), np.uint8)),
    "must be uint8, or a float": lambda: Sequences(X.astype(np.int64)),
    "255.*uint8": lambda: Sequences(X.astype(np.float32)),
    "nan": lambda: Sequences(np.full(X.shape, np.nan)),
    "2 frames": lambda: Sequences(X[:, :2]),
    "at least 3": lambda: Sequences(X[:2]),
    r"factors has shape \(20, 8, 1\)": lambda: Sequences(X, turned(s=8)),
    "whole numbers": lambda: Sequences(X, turned() / 2),
    "names are": lambda: Sequences(X, turned(), ["a", "b"]),
    "split has 3": lambda: Sequences(X, split=["train"] * 3),
    "did you mean 'train'": lambda: Sequences(X, split=["trian"] * N),
    "all must be alike": lambda: read_sequences([X[0], X[1, :5]]),
    "have keys x, x and labels": lambda: read_sequences([{"x": X[0]}, {"x": X[1], "labels": 1}]),
    "an item holds frames; it must hold x": lambda: read_sequences([{"frames": X[0]}]),
    "sequences are one mapping; give": lambda: read_sequences({"x": X}),
    "the list is empty": lambda: read_sequences([]),
    "n_transforms is 12, but .* 9": lambda: own_experiment(X, folder=None, n_transforms=12),
    "boundary is 'circular'": lambda: own_experiment(X, folder=None, closed=False, boundary="circular"),
    "did you mean 'likelihood'": lambda: own_experiment(X, folder=None, likelihod="gaussian"),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_is_refused_with_a_reason(said):
    with pytest.raises(ValueError, match=said):
        REFUSED[said]()


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.gif").write_bytes(b"no picture")
    np.savez(tmp_path / "d.npz", y=X)
    for name, error in (
        ("a.npy", OSError),
        ("b", ValueError),
        ("c", OSError),
        ("d.npz", ValueError),
        ("e", OSError),
    ):
        with pytest.raises(error, match=str(tmp_path / name[:1])):
            read_sequences(tmp_path / name)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    np.savez(tmp_path / "own.npz", x=X)
    with np.load(tmp_path / "own.npz") as file, pytest.raises(ValueError, match="sequences are one mapping"):
        read_sequences(file)
    forbidden = PermissionError(errno.EACCES, "Permission denied", "own.npz")
    monkeypatch.setattr(np, "load", Mock(side_effect=forbidden))
    with pytest.raises(PermissionError, match="Permission denied"):
        read_sequences(tmp_path / "own.npz")


def test_splits_are_drawn_once_for_all_and_share_no_sequence():
    sequences = Sequences(shifting(200))
    members = [sequences.members(split).tolist() for split in ("train", "validation", "test")]
    assert [len(m) for m in members] == [171, 9, 20]
    assert sorted(i for m in members for i in m) == list(range(200))
    assert Sequences(shifting(200)).split == sequences.split


def test_closed_sequences_start_anywhere_and_open_ones_where_they_start():
    for closed in (True, False):
        test = OwnSequences(Sequences(X, turned(), ["shift"], closed=closed), "test")
        batch = test.batch(torch.tensor([0, 1] * 20), torch.Generator().manual_seed(0))
        starts = (batch.factors[:, 0, 0] - test.batch(torch.tensor([0, 1] * 20)).factors[:, 0, 0]) % S
        assert (len(starts.unique()) > 4) == closed and (closed or not starts.any())
        moved = batch.x[:, :-1].roll(1, -1)
        assert torch.equal(batch.x[:, 1:], moved)  # frames and factors stay together
        assert test.cyclic == (("shift",) if closed else ())


def test_the_varied_factor_is_the_one_that_changes():
    still = np.zeros((N, S, 1), int)
    a, b = turned(), turned()[:, ::-1]
    factors = np.concatenate([np.where(np.arange(N)[:, None, None] < 10, a, still), still, b], 2)
    factors[:5, :, 2] = 3  # a alone, a and c, c alone
    factors[-5:] = 0  # nothing
    split = (["train", "validation", "test"] + ["test"] * 2) * 4
    sequences = Sequences(X, factors, ["a", "b", "c"], split=split)
    test = OwnSequences(sequences, "test")
    assert test.varying == ("a", "c", "time") and test.factors == ["a", "c", "time", "b"]
    assert (test.title("c"), test.title("time")) == ("c", "time")
    assert test.cyclic == ("a", "time")  # c goes backwards
    for varied, name in enumerate(test.varying):
        batch = test.sequence(torch.arange(7), varied)
        assert (batch.varied == varied).all()
        changing = [
            n
            for n, changes in zip(test.factors, (batch.factors != batch.factors[:, :1]).any(1).T, strict=True)
            if changes.any()
        ]
        assert name in changing and ("a" in changing) == (name == "a")
    alone = OwnSequences(
        Sequences(X, factors[..., ::2], ["a", "c"], split=["train"] * 5 + ["test"] * 5 + ["validation"] * 10),
        "test",
    )
    assert alone.title("a") == "a and c together"


def test_e_eq_of_open_sequences_is_the_sum_over_pairs_in_order():
    t = torch.randn(3, 5, 2, 7, generator=torch.Generator().manual_seed(0))
    unit = t / t.norm(dim=-1, keepdim=True)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    slow = sum((unit[:, i].roll(j - i, -1) - unit[:, j]).abs().sum((1, 2)) for i, j in pairs)
    assert torch.allclose(equivariance_error(t, closed=False), slow, rtol=1e-5)
    square = torch.randn(3, 7, 2, 7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(equivariance_error(square), equivariance_error(square, closed=False), rtol=1e-4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A closed run in colours with D ≠ S, and an open grey one, trained from the command line."""
    home = tmp_path_factory.mktemp("own")
    colours = Sequences(shifting(channels=3), turned(), ["shift"])
    exp = own_experiment(colours, "colours", "smoke", home / "data", likelihood="gaussian", cap_dim=6, **TINY)
    fit(exp, "cpu", home / "runs", home / "data", progress=False)
    np.savez(home / "bars.npz", x=BARS, closed=False)
    words = ["--sequences", str(home / "bars.npz"), "--scale", "smoke", "--device", "cpu"]
    words += ["--runs", str(home / "runs"), "--data", str(home / "data")]
    words += [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    assert main(words) == 0
    return {run.exp.name: run for run in stored_runs(home / "runs")}, home


def test_runs_are_measured_by_what_applies(runs):
    assert runs[0].keys() == {"bars", "colours"}
    row = runs[0]["colours"].results["trained"]
    assert row["capcorr_first"].keys() == {"shift"} and row["roll_margin"]["shift"] is not None
    assert row["iou_roll_held_out"] is None
    row = runs[0]["bars"].results["trained"]
    assert row["capcorr_first"] == {"time": None} and row["e_eq"] > 0
    assert row["iou_roll_margin"]["time"] is not None  # the frames are binary
    assert runs[0]["bars"].exp.boundary == "zero"
    for run in runs[0].values():
        assert run.results["chance"]["nll"] is not None
        assert "own sequences of 9 frames" in run.provenance["data"]


def test_a_run_is_that_of_its_data_and_finds_them_again(runs):
    found, home = runs
    exp = found["bars"].exp
    assert plan(exp, "cpu", home / "runs", home / "data").complete
    other = own_experiment(Sequences(255 - BARS, closed=False), "bars", "smoke", home / "data", **TINY)
    assert not plan(other, "cpu", home / "runs", home / "data").complete
    path = stored_at(exp.sequences, home / "data")
    content = path.read_bytes()
    path.write_bytes(content.replace(BARS.tobytes(), (255 - BARS).tobytes()))
    with pytest.raises(OSError, match="damaged"):
        exp.build_sequences("test", 1, folder=home / "data")
    path.write_bytes(content)
    with pytest.raises(OSError, match="once more"):
        exp.build_sequences("test", 1, folder=home / "elsewhere")


def test_rolls_of_own_sequences_are_written(runs, tmp_path, capsys):
    found, home = runs
    for name, run in found.items():
        run = plan(run.exp, "cpu", home / "runs", home / "data")
        assert export(animate(run), tmp_path / f"{name}.html").stat().st_size > 1000
    words = ["--sequences", str(home / "bars.npz"), "--scale", "smoke", "--show-config"]
    assert main([*words, "--data", str(tmp_path)]) == 0
    assert '"train": 10' in capsys.readouterr().out and not (tmp_path / "sequences").exists()


def test_digests_of_other_runs_know_nothing_of_own_sequences():
    for exp in EXPERIMENTS.values():
        assert not {"sequences", "frame_shape", "closed"} & exp.options().keys()
    assert own_experiment(X, folder=None).options()["sequences"] == Sequences(X).key
