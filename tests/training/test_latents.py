"""Latents go out as arrays and come back as frames, the same from the command and from Python."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tvae_core import Sequences, decode, encode, open_run
from tvae_core.cli import main
from tvae_core.experiments import EXPERIMENTS
from tvae_core.measures.evaluation import first_batches
from tvae_core.training import share
from tvae_core.training.latents import read_array, write_arrays
from tvae_core.training.runs import Run


@pytest.fixture(scope="module")
def sequences(small_run):
    """The first 30 test sequences as evaluate measures them."""
    batches = [b for b, _ in first_batches(small_run.exp.with_options(eval_sequences=None), 30)]
    return tuple(torch.cat(part) for part in zip(*batches, strict=True))


@pytest.fixture(scope="module")
def arrays(small_run):
    return encode(small_run, n=30)


def test_the_arrays_are_those_of_the_model(small_run, sequences, arrays):
    x, factors, varied, labels = sequences
    with torch.no_grad():
        q_z, q_u = small_run.model.encode(x)
        t = small_run.model.latents(x)
    truth = {"t": t, "z_mean": q_z.mean, "z_logvar": q_z.logvar, "u_mean": q_u.mean, "u_logvar": q_u.logvar}
    truth |= {"factors": factors, "varied": varied, "labels": labels}
    assert arrays.keys() == {*truth, "names"} and list(arrays["names"]) == ["rotation", "hue", "scale"]
    for key, value in truth.items():
        np.testing.assert_allclose(arrays[key], value.numpy(), rtol=1e-4, atol=1e-4, err_msg=key)


def test_t_decodes_to_what_the_model_says_of_the_frames(small_run, sequences, arrays):
    with torch.no_grad():
        frames = small_run.model.decode(small_run.model.latents(sequences[0]))
    np.testing.assert_allclose(decode(small_run, arrays["t"]), frames.numpy(), atol=1e-5)
    rolled = decode(small_run, np.roll(arrays["t"], 1, -1))
    assert rolled.shape == frames.shape and np.abs(rolled - frames.numpy()).max() > 1e-3
    assert decode(small_run, arrays["t"][:1, :1]).shape == (1, 1, 3, 28, 28)


def test_the_moments_make_t_again(small_run, arrays):
    energy = np.square(arrays["u_mean"]) + np.exp(arrays["u_logvar"])
    with torch.no_grad():
        t = small_run.model.group(torch.tensor(arrays["z_mean"]), torch.tensor(energy).sqrt())
    np.testing.assert_allclose(t.numpy(), arrays["t"], rtol=1e-5)


def test_own_sequences_are_encoded_as_those_of_a_split(small_run, sequences, arrays):
    own = encode(small_run, sequences[0])
    assert own.keys() == {"t", "z_mean", "z_logvar", "u_mean", "u_logvar"}
    np.testing.assert_allclose(own["t"], arrays["t"], rtol=1e-5)
    whole = (sequences[0][:2] * 255).round().to(torch.uint8)
    np.testing.assert_allclose(
        encode(small_run, whole.numpy())["t"], encode(small_run, whole / 255)["t"], rtol=1e-5
    )


def test_what_is_known_of_own_sequences_goes_with_their_latents(small_run, sequences, tmp_path):
    x, factors, _, labels = (part[:3] for part in sequences)
    known = {"factors": factors.numpy(), "names": np.array(["a", "b", "c"]), "labels": labels.numpy()}
    own = encode(small_run, Sequences(x, **known), n=2)
    assert all(
        np.array_equal(own[key], value[: None if key == "names" else 2]) for key, value in known.items()
    )
    assert np.array_equal(own["t"], encode(small_run, x, n=2)["t"])
    np.savez(tmp_path / "own.npz", x=x.numpy(), **known)
    assert list(share._own(tmp_path / "own.npz", small_run)["names"]) == ["a", "b", "c"]
    assert encode(small_run, Sequences(x), n=1).keys() == encode(small_run, x, n=1).keys()
    for given in (Sequences(x, labels=[0] * 3), {"x": x, "labels": [0] * 3}):
        assert encode(small_run, given, n=2)["labels"].tolist() == [0, 0]


def test_a_plain_vae_has_no_u():
    exp = EXPERIMENTS["nontvae_mnist"].at_scale("smoke").with_options(n_caps=2)
    run = Run(exp, Path())
    run.__dict__["model"] = exp.build_model().eval()
    found = encode(run, split="validation", n=2)
    assert "u_mean" not in found and np.array_equal(found["t"], found["z_mean"])


def test_what_cannot_be_encoded_or_decoded_is_refused(small_run):
    frames = torch.zeros(1, 18, 3, 28, 28)
    refusals = {
        r"x is \(1, 18, 1, 28, 28\), but must be \(N, 18, 3, 28, 28\)": lambda: encode(
            small_run, frames[:, :, :1]
        ),
        "outside": lambda: encode(small_run, frames + 2),
        r"outside \[0, 1\]": lambda: encode(small_run, frames * torch.nan),
        "did you mean 'test'": lambda: encode(small_run, split="tets"),
        r"t is \(1, 18, 3\), but must be \(N, S, 2, 18\)": lambda: decode(small_run, torch.zeros(1, 18, 3)),
        "sequences hold frames; they must hold x": lambda: encode(small_run, {"frames": frames}),
        r"labels has shape \(2,\)": lambda: encode(small_run, {"x": frames, "labels": [0, 1]}),
        "not finite": lambda: decode(small_run, torch.full((1, 1, 2, 18), torch.inf)),
    }
    for words, call in refusals.items():
        with pytest.raises(ValueError, match=words):
            call()


def test_the_commands_write_what_the_calls_return(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    from_pack, latents, frames = ["--from", str(packed[0])], tmp_path / "latents.npz", tmp_path / "frames.npz"
    assert main(["encode", *from_pack, "--first", "4", "--out", str(latents)]) == 0
    assert "t          float32  (4, 18, 2, 18)" in capsys.readouterr().out
    assert main(["decode", *from_pack, str(latents), "--out", str(frames)]) == 0
    run = open_run(packed[0])
    for key, value in encode(run, n=4).items():
        assert np.array_equal(read_array(latents, key), value), key
    assert np.array_equal(read_array(frames, "frames"), decode(run, read_array(latents, "t")))
    content = latents.read_bytes()
    assert main(["encode", *from_pack, "--first", "4", "--out", str(latents)]) == 0
    assert latents.read_bytes() == content
    write_arrays(tmp_path / "own.npz", {"x": np.zeros((1, 18, 3, 28, 28), np.uint8)})
    assert (
        main(["encode", *from_pack, "--x", str(tmp_path / "own.npz"), "--out", str(tmp_path / "z.npz")]) == 0
    )


def test_files_that_could_not_be_trained_on_are_encoded(packed, sequences, arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    known = {key: arrays[key] for key in ("factors", "labels", "names", "varied")}
    first = {key: value[:2] for key, value in known.items() if key == "labels"}
    for n, said in {2: first, 30: known}.items():
        np.savez(tmp_path / "own.npz", x=sequences[0][:n].numpy(), **said)
        words = ["--from", str(packed[0]), "--x", str(tmp_path / "own.npz"), "--out", str(tmp_path / "z.npz")]
        assert main(["encode", *words]) == 0
        with np.load(tmp_path / "z.npz") as found:
            assert found["t"].shape == (n, 18, 2, 18) and "varied" not in found.files
            assert {k: found[k].tolist() for k in said if k != "varied"} == {
                k: v.tolist() for k, v in said.items() if k != "varied"
            }


def test_files_that_are_no_arrays_are_refused_and_nothing_is_written(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    np.savez(tmp_path / "objects.npz", t=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    np.save(tmp_path / "t.npy", np.zeros(2))
    (tmp_path / "text.npz").write_text("t")
    before = sorted(tmp_path.iterdir())
    refusals = {
        "objects.npz": (1, "is not a sound .npz file of plain arrays"),
        "text.npz": (1, "is not a sound .npz file"),
        "t.npy": (1, "is not a sound .npz file"),
        "other.npz": (2, "has no array t; it has a"),
        "missing.npz": (1, "No such file"),
    }
    for name, (code, words) in refusals.items():
        arguments = [
            "decode",
            "--from",
            str(packed[0]),
            str(tmp_path / name),
            "--out",
            str(tmp_path / "f.npz"),
        ]
        assert main(arguments) == code and words in capsys.readouterr().err, name
    with pytest.raises(SystemExit) as stop:
        main(["encode", "--from", str(packed[0]), "--out", str(tmp_path / "a.npy")])
    assert stop.value.code == 2 and "must end in .npz" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
