"""Packs that are kept: those of the repository, and one that the first format wrote, are what they say."""

from pathlib import Path

import pytest

from tvae_core.files import PACKS
from tvae_core.store import read_tensors, write_tensors
from tvae_core.training.pack import CHECK_SEQUENCES, costs
from tvae_core.training.registry import REGISTRY, open_run, read_registry

MOST_BYTES = 10_000_000  # of a pack that lies in the repository
FORMAT_1 = Path(__file__).with_name("format_1.tvae")  # of a version without n_draws, lr_warmup and warm_start


def check_measured(run):
    """AssertionError unless the model costs what its pack says, in nats/frame on the first test sequences."""
    found = costs(run.model, run.exp, run.data.test, CHECK_SEQUENCES)
    for key, values in found.items():
        assert values.mean().item() == pytest.approx(run.about["check"][key], abs=0.05), key
    assert run.about["check"]["sequences"] == CHECK_SEQUENCES


def test_the_packs_of_the_repository_have_their_digests_and_their_measures():
    kept = {path.name for path in PACKS.iterdir()} - {REGISTRY}
    entries = read_registry(PACKS / REGISTRY)
    assert kept == {Path(entry.source).name for entry in entries.values()}
    for name, entry in entries.items():
        assert Path(entry.source).stat().st_size == entry.bytes <= MOST_BYTES
        run = open_run(name)  # which checks the digest
        assert entry.measures["elbo"] == run.results["trained"]["elbo"]
        check_measured(run)


def test_a_pack_of_the_first_format_is_read():
    run = open_run(FORMAT_1)
    assert (
        run.about["format"] == 1 and not {"n_draws", "lr_warmup", "warm_start"} & run.about["config"].keys()
    )
    assert (run.exp.n_caps, run.exp.cap_dim, run.exp.n_draws, run.exp.warm_start) == (1, 2, 1, "")
    assert run.complete and run.history[-1]["step"] == 2
    check_measured(run)


def test_other_weights_are_seen(tmp_path):
    tensors, about = read_tensors(FORMAT_1)
    write_tensors(
        tmp_path / "other.tvae",
        tensors | {"decoder.channel_bias": tensors["decoder.channel_bias"] + 1},
        about,
    )
    with pytest.raises(AssertionError, match="reconstruction"):
        check_measured(open_run(tmp_path / "other.tvae"))
