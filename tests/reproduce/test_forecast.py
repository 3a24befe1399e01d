"""The forecast of a full reproduction: its steps, hours and gigabytes as one reckons them by hand."""

from pathlib import Path

import pytest

from tvae_core.experiments import EXPERIMENTS
from tvae_core.reproduce import forecast


def test_steps_and_hours_are_those_of_the_protocol():
    digits, sprites, torus = (
        EXPERIMENTS[n] for n in ("tvae_Lhalf_mnist", "tvae_Lhalf_dsprites", "tvae_2d_mnist")
    )
    assert list(map(forecast.steps, (digits, sprites, torus))) == [600_000, 632_800, 93_750]
    assert forecast.hours(digits) * 3600 == pytest.approx(300 + 33)  # the least that a step takes
    long = digits.at_scale("long")
    assert forecast.steps(long) == 6000
    assert forecast.hours(long) * 3600 == pytest.approx(6 * 1.24 + 33)
    assert forecast.hours(long, "float32") * 3600 == pytest.approx(6 * 1.80 + 33)


def test_a_machine_that_is_free_takes_the_longest_job_left():
    assert forecast.makespan([1.0, 2.0, 3.0, 4.0], 1) == 10
    assert forecast.makespan([3.0, 1.0, 4.0, 2.0], 2) == 5
    assert forecast.makespan([3.0, 1.0, 4.0, 2.0], 64) == 4
    assert forecast.makespan([], 8) == 0


def test_all_seeds_of_an_experiment_are_one_job():
    one, other = (EXPERIMENTS[n].at_scale("long") for n in ("nontvae_mnist", "bubbles_mnist"))
    runs = [exp.with_options(seed=seed) for seed in (1, 2, 3) for exp in (one, other)]
    assert forecast.job_hours(runs) == pytest.approx([3 * forecast.hours(one)] * 2)


def test_storage_is_that_of_two_checkpoints():
    parameters = sum(p.numel() for p in EXPERIMENTS["nontvae_mnist"].build_model().parameters())
    assert forecast.gigabytes(EXPERIMENTS["nontvae_mnist"]) == pytest.approx(16 * parameters / 1e9)


def test_a_request_is_forecast_without_training(capsys):
    assert (
        forecast.main(["--scale", "smoke", "--only", "fig2,fig23", "--seeds", "1,2", "--device", "cpu"]) == 0
    )
    head, counted, stored, heading, *rows = capsys.readouterr().out.splitlines()
    assert head == "Scale: smoke, trainings: 2, notebooks: 2, jobs: 2" and counted.startswith("16 steps")
    assert stored == "0.5 GB if all are trained at once" and heading.startswith("GPUs")
    assert [row.split()[0] for row in rows] == ["1", "8", "64"]
    assert forecast.main(["--scale", "smok"]) == 2
    assert "did you mean 'smoke'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "head"),
    [
        ("", "trainings: 0, notebooks: 1, jobs: 1"),
        (",'nontvae_mnist'", "trainings: 1, notebooks: 1, jobs: 2"),
    ],
)
def test_a_pack_is_trained_already(others, head, capsys):
    pack = Path(__file__).parents[1] / "training" / "format_1.tvae"
    words = ["--scale", "smoke", "--only", "fig23", "--device", "cpu"]
    assert forecast.main([*words, "--set", f"experiments=['{pack}'{others}]"]) == 0
    assert capsys.readouterr().out.startswith(f"Scale: smoke, {head}\n")
