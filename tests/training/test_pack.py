"""A pack is the run it was made from, but for the bits of its weights, and the cost of these is measured."""

import re

import jaxtyping
import pytest
import torch

from tvae_core.cli import main
from tvae_core.measures.evaluation import first_batches
from tvae_core.store import DamagedFile, read_about, read_tensors, write_tensors
from tvae_core.training.pack import (
    FORMAT,
    PRECISIONS,
    cost_lines,
    decode_weights,
    encode_weights,
    pack,
    read_pack,
)

WORDS = [
    "--set",
    "n_is_samples=1",
    "--set",
    "n_caps=2",
    "--set",
    "max_steps=2",
    "--set",
    "batch_size=2",
    "--set",
    "eval_sequences=4",
]


def nearest(weight, precision):
    """How far a weight may be from what is written in its place: half a step, or bfloat16's rounding."""
    if precision == "int8":
        return weight.abs().amax(1, keepdim=True) / 127 / 2 * (1 + 1e-5)
    return weight.abs() * 2**-8


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_rounded_to_the_nearest_row_by_row(precision):
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 7, generator=g) * torch.tensor([1e-6, 1.0, 0.0, 3.0, 1e4]).unsqueeze(1)
    bias = torch.randn(7, generator=g)
    kernel = rows.view(5, 7, 1, 1)
    encoded = encode_weights({"a.weight": rows, "a.bias": bias, "k.weight": kernel}, precision)
    assert encoded["a.weight"].dtype == encoded["k.weight"].dtype == getattr(torch, precision)
    decoded = decode_weights(encoded)
    assert decoded.keys() == {"a.weight", "a.bias", "k.weight"}
    assert torch.equal(decoded["a.bias"], bias) and torch.equal(
        decoded["k.weight"].view(5, 7), decoded["a.weight"]
    )
    assert ((decoded["a.weight"] - rows).abs() <= nearest(rows, precision)).all()


def test_a_pack_is_the_run_it_was_made_from(small_run, packed):
    again = read_pack(packed[0])
    assert (again.exp, again.identity, again.label) == (
        small_run.exp,
        small_run.identity,
        small_run.label,
    ) and again.complete
    assert (again.results, again.history, again.provenance) == (
        small_run.results,
        small_run.history,
        small_run.provenance,
    )
    own, other = small_run.model.state_dict(), again.model.state_dict()
    assert own.keys() == other.keys() and not torch.equal(
        own["decoder.last.weight"], other["decoder.last.weight"]
    )
    for name, weight in own.items():
        if name.endswith(".weight"):
            assert ((other[name] - weight).abs() <= nearest(weight, "int8")).all()
        else:
            assert torch.equal(other[name], weight)
    assert (again.model.decoder.centre, again.model.decoder.spread) == (
        small_run.model.decoder.centre,
        small_run.model.decoder.spread,
    )
    for kind in ("trained", "untrained"):
        values, truth = again.per_sequence(kind), small_run.per_sequence(kind)
        assert values.keys() == truth.keys() and torch.equal(values["varied"], truth["varied"])
        torch.testing.assert_close(values["elbo"], truth["elbo"], rtol=0.01 * (kind == "trained"), atol=1e-2)


def cost_by_hand(model, exp, sequences):
    """The mean of −log p(x|t) over all frames of the first sequences."""
    with torch.no_grad():
        parts = [
            (batch.x, model.decode(model.latents(batch.x))) for batch, _ in first_batches(exp, sequences)
        ]
    x, p = (torch.cat(part) for part in zip(*parts, strict=True))
    return -(x * p.log() + (1 - x) * (1 - p).log()).sum((-3, -2, -1)).mean().item()


def test_the_cost_is_that_of_the_models_before_and_after(small_run, packed):
    path, about = packed
    every = small_run.exp.with_options(eval_sequences=None)
    for model, row in ((small_run.model, "before"), (read_pack(path).model, "after")):
        assert about["cost"][row]["reconstruction"] == pytest.approx(
            cost_by_hand(model, every, 30), abs=0.004
        )
    again = cost_by_hand(read_pack(path).model, every, about["check"]["sequences"])
    assert about["check"]["reconstruction"] == pytest.approx(again, abs=0.004)
    assert about["cost"]["before"] != about["cost"]["after"]
    assert re.search(r"reconstruction .* \d+\.\d\d +\d+\.\d\d$", cost_lines(about)[1])


def test_a_pack_of_a_pack_says_what_it_was_made_from(packed, tmp_path, monkeypatch):
    monkeypatch.setattr("tvae_core.training.pack.COST_SEQUENCES", 4)
    about = pack(read_pack(packed[0]), tmp_path / "again.tvae", "bfloat16")
    heads = [cost_lines(header)[0].split()[-2:] for header in (packed[1], about)]
    assert heads == [["float32", "int8"], ["int8", "bfloat16"]]


def test_the_same_tensors_make_the_same_bytes_however_often(tmp_path):
    tensors, contents = {"b": torch.zeros(2), "a": torch.ones(1, dtype=torch.int8)}, set()
    for _ in range(20):
        write_tensors(tmp_path / "file", tensors, {"one": 1})
        contents.add((tmp_path / "file").read_bytes())
    assert len(contents) == 1


def changed(path, **words):
    tensors, about = read_tensors(path)
    write_tensors(path, tensors, about | words)


NOT_PACKS = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged"),
    "flipped": (lambda path: flip(path), "its contents do not match its digest"),
    "foreign": (lambda path: path.write_bytes(b"PK"), "is damaged"),
    "newer": (lambda path: changed(path, format=FORMAT + 1), "update it"),
    "without results": (lambda path: changed(path, results={}), "lacks rows"),
    "not a pack": (lambda path: changed(path, format=None), "is not a pack"),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", NOT_PACKS)
def test_what_is_no_sound_pack_is_refused(kind, packed, tmp_path):
    path = tmp_path / "model.tvae"
    path.write_bytes(packed[0].read_bytes())
    spoil, words = NOT_PACKS[kind]
    spoil(path)
    with pytest.raises(OSError, match=words):
        read_pack(path)


def test_weights_that_are_not_those_of_the_configuration_are_refused(packed, tmp_path):
    tensors, about = read_tensors(packed[0])
    del tensors["decoder.channel_bias"]
    write_tensors(tmp_path / "less.tvae", tensors, about)
    with pytest.raises(DamagedFile, match="weights do not fit the model"):
        read_pack(tmp_path / "less.tvae").load_model()


def test_a_checkpoint_is_not_a_pack(small_run):
    with pytest.raises(DamagedFile, match="is not a pack"):
        read_pack(small_run.folder / "checkpoint.safetensors")


@pytest.mark.parametrize("config", [{"colour": 1}, {"name": "tvae_renamed"}, {"lr": -1.0}])
def test_a_pack_of_another_version_is_refused_by_name(config, packed, tmp_path):
    path = tmp_path / "model.tvae"
    path.write_bytes(packed[0].read_bytes())
    changed(path, config=read_about(path)["config"] | config)
    with pytest.raises(ValueError, match=f"{next(iter(config))}|experiment"):
        read_pack(path)


def test_an_option_that_an_older_version_did_not_have_takes_its_default(small_run, packed, tmp_path):
    path = tmp_path / "model.tvae"
    path.write_bytes(packed[0].read_bytes())
    config = read_about(path)["config"]
    del config["decode_every"], config["boundary"]
    changed(path, config=config)
    assert (read_pack(path).exp.decode_every, read_pack(path).exp.boundary) == (1, "circular")


def test_the_command_makes_the_same_bytes_again_and_refuses_what_is_not_trained(
    small_run, packed, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("tvae_core.training.pack.COST_SEQUENCES", 30)
    out = tmp_path / "own.tvae"
    words = ["pack", "tvae_Lshort_mnist", "--scale", "smoke", "--device", "cpu", *WORDS]
    words += ["--runs", str(small_run.folder.parent), "--out"]
    assert main([*words, str(out)]) == 0
    assert out.read_bytes() == packed[0].read_bytes() and "roll, held out" in capsys.readouterr().out
    refusals = {
        (str(tmp_path / "own.pt"),): (2, "must end in .tvae"),
        (str(tmp_path / "b.tvae"), "--precision", "int4"): (2, "did you mean 'int8'"),
        (str(tmp_path / "b.tvae"), "--seed", "1,2"): (2, "--seed names 2 seeds"),
        (str(tmp_path / "b.tvae"), "--seed", "9"): (1, "is not trained in"),
    }
    for more, (code, sentence) in refusals.items():
        assert main([*words, *more]) == code
        assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.tvae"]
