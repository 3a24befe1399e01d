"""The literal step computes what the library computes, and the bench's rows hang together."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tvae_core.benchmark import literal, scaling
from tvae_core.benchmark import step_time as bench
from tvae_core.cli import main
from tvae_core.experiments import EXPERIMENTS
from tvae_core.seeding import generator

CPU = torch.device("cpu")
COUPLED = [e for e in EXPERIMENTS.values() if e.topography != "none"]


@pytest.mark.parametrize("exp", COUPLED, ids=lambda exp: exp.name)
def test_a_padded_convolution_gives_the_energy(exp):
    grouper = exp.build_grouper()
    u = torch.randn(2, exp.n_transforms, 3, exp.cap_dim)
    torch.testing.assert_close(literal.literal_energy(grouper, u), grouper.energy(u)[0])


@pytest.mark.parametrize("name", ["tvae_Lpartial_mnist", "tvae_Lpartial_dsprites", "tvae_2d_mnist"])
def test_frame_by_frame_gives_the_batch(name, tmp_path):
    sequences = EXPERIMENTS[name].with_options(source="offline").build_sequences("train", 1, folder=tmp_path)
    index = torch.tensor([3, 5, 11])
    batch = sequences.batch(index, generator("cpu", 0, "test"))
    frames = literal.literal_frames(sequences, index, batch)
    assert (frames - batch.x).abs().max() < 1e-4


def test_the_products_are_those_of_every_layer():
    model = EXPERIMENTS["tvae_Lpartial_mnist"].build_model()
    counted = FlopCounterMode(display=False)
    with counted:
        bench.matrix_products(model, 144, torch.float32)()
    x = torch.rand(8, 18, 3, 28, 28)
    real = FlopCounterMode(display=False)
    with real:
        (-model(x).elbo.mean()).backward()
    assert counted.get_total_flops() == real.get_total_flops()


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(bench, "milliseconds", lambda work, *_: (work(), 2.0)[1])


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("name", ["tvae_Lpartial_mnist", "nontvae_dsprites", "tvae_2d_mnist"])
def test_a_row_follows_from_its_parts(name, seeds, brief, tmp_path):
    exp = EXPERIMENTS[name].at_scale("smoke").with_options(source="offline")
    row = bench.measure(exp, CPU, tmp_path, seeds=seeds)
    assert row["seeds"] == seeds and row["step_ms"] == 2 / seeds
    assert row["floor_ms"] == row["matrix_products_ms"] + row["optimizer_ms"] == 4
    assert row["ratio"] == 0.5 / seeds and row["data_share"] == seeds
    assert row["frames_per_second"] == 1000 * exp.batch_size * exp.n_transforms / 2 * seeds
    epochs = 300 * seeds / (0.002 * 48_000 / exp.batch_size)
    assert row.get("epochs_in_5_minutes") == (None if exp.data == "dsprites" else epochs)
    assert row["peak_memory_bytes"] > 1e8


def test_medians_are_taken_number_by_number():
    rows = [{"name": "a", "ms": 1.0}, {"name": "a", "ms": 9.0}, {"name": "a", "ms": 2.0}]
    assert bench.medians(rows) == {"name": "a", "ms": 2.0}


def test_a_json_file_says_where_it_was_measured(brief, tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert main(["bench", "--name", "tvae_L0_mnist", "--scale", "smoke", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert {"device", "threads", "torch", "literal_step_ms", "rows"} <= set(written)
    assert "float32" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--name", "tvae_lhalf"], ["--name", "tvae_L0_mnist", "--device", "tpu"]]
)
def test_a_wrong_word_is_refused(arguments, capsys):
    assert main(["bench", *arguments]) == 2
    assert "is not one of" in capsys.readouterr().err


def test_costs_are_measured_at_every_size(monkeypatch):
    sizes = []

    def counted(step, *_):
        step()
        sizes.append(1)
        return float(len(sizes))

    monkeypatch.setattr(scaling, "milliseconds", counted)
    monkeypatch.setattr(scaling, "AXES", {"batch": (1, 2), "frames": (3, 6), "k": (1, 25)})
    costs = scaling.scaling("cpu")
    assert costs == {
        "batch": [(1, 1.0), (2, 2.0)],
        "frames": [(3, 3.0), (6, 4.0)],
        "k": [(1, 5.0), (25, 6.0)],
    }
    panels = scaling.scaling_panels(costs)
    assert panels[0].title.endswith("the power 1.0") and panels[0].curves[0].y == (1.0, 2.0)


def test_the_exponent_of_a_power_is_the_power():
    assert scaling.exponent([(1, 5.0), (2, 1.0), (6, 9.0)]) == pytest.approx(2)
