"""Resumed equals uninterrupted, loaded is not retrained, one process trains; and the paper's protocol."""

import dataclasses
import json
import math
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tvae_core import files
from tvae_core.config import SCALES, Experiment
from tvae_core.experiments import EXPERIMENTS
from tvae_core.measures import evaluation, metrics
from tvae_core.measures.catalog import MEASURES, flat
from tvae_core.training import learner as learning
from tvae_core.training import trainer as train
from tvae_core.training.learner import Learner, build_optimizer
from tvae_core.training.provenance import software
from tvae_core.training.runs import Run, plan
from tvae_core.training.schedule import kl_weight, learning_rate
from tvae_core.training.step import Step
from tvae_core.training.trainer import Trainer, fit

NAMES = list(EXPERIMENTS)


def smoke(name, **changes):
    small = {"batch_size": 2, "eval_sequences": 4, "n_is_samples": 2}
    small |= {} if name == "tvae_2d_mnist" else {"n_caps": 2}  # a torus is one capsule
    return EXPERIMENTS[name].at_scale("smoke").with_options(**{**small, **changes})


def run_it(exp, folder, data, **options):
    return fit(exp, device="cpu", runs=folder, data=data, progress=False, **options)


def weights(run: Run):
    return load_file(run.folder / "checkpoint.safetensors")


def assert_same(a: Run, b: Run):
    """Weights, history and measures bit for bit, apart from the seconds."""
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    untimed = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.history] for run in (a, b)]
    assert untimed[0] == untimed[1]
    assert a.results == b.results


def forbid_training(monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))


def after_steps(monkeypatch, k, act):
    """Have `act` called once, when step k is done but the loop has not noticed yet."""
    call, left = Step.__call__, [k]

    def counted(self):
        call(self)
        left[0] -= 1
        if left[0] == 0:
            act()

    monkeypatch.setattr(Step, "__call__", counted)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_fits_saves_and_reloads(name, data, tmp_path, monkeypatch):
    exp = smoke(name, max_steps=2)
    run = run_it(exp, tmp_path, data)
    assert run.complete and run.history[-1]["step"] == 2
    for row in ("trained", "untrained"):
        assert list(run.results[row]) == list(MEASURES)
        parse_numbers = [v for v in run.results[row].values() if isinstance(v, float)]
        assert parse_numbers and all(map(math.isfinite, parse_numbers))
    assert run.results["trained"]["nll"] != run.results["untrained"]["nll"]
    assert (run.results["trained"]["roll_held_out"] is not None) == (exp.n_transforms > 1)
    kept = {path.name for path in run.folder.iterdir()}
    documents = {f"{part}.json" for part in ("config", "history", "results", "provenance")}
    assert kept == documents | {"checkpoint.safetensors", "per_sequence.safetensors", "history.csv"}

    forbid_training(monkeypatch)
    again = run_it(exp, tmp_path, data)
    assert again.folder == run.folder and again.results == run.results
    x = run.data.test.batch(torch.arange(2), torch.Generator()).x
    first, second = (r.load_model().latents(x) for r in (run, again))
    untrained = exp.build_model(exp.seed).latents(x)
    assert torch.equal(first, second) and not torch.equal(first, untrained)
    measured = evaluation.evaluate(run.load_model(), run.exp, data)
    assert measured["nll"] == pytest.approx(run.results["trained"]["nll"], rel=1e-6)


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C is heard, also where the tests run in the background of a script and would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_to_be_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with train.Interruption() as held:
        signal.raise_signal(signal.SIGINT)
    assert not held.requested


def tiny(**changes):
    """Six steps of a model with two capsules, one and a half epochs of the few digits."""
    return smoke("tvae_Lshort_mnist", **{"n_caps": 2, "max_steps": 6, "batch_size": 4, **changes})


SGD = {"optimizer": "sgd", "lr": 1e-4, "lr_decay": 0.0}


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
def test_an_interrupted_run_ends_as_if_it_had_never_stopped(changes, brief, data, tmp_path, monkeypatch):
    exp = tiny(**changes)
    straight = run_it(exp, tmp_path / "straight", data)
    assert [row["step"] for row in straight.history] == [2, 4, 6]
    other = run_it(exp.with_options(seed=7), tmp_path / "straight", data)
    with pytest.raises(AssertionError):
        assert_same(other, straight)
    for k in range(1, 7):
        folder = tmp_path / f"stopped-{k}"
        with monkeypatch.context() as patch:
            after_steps(patch, k, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt, match=f"step {k} of 6"):
                run_it(exp, folder, data)
        stopped = plan(exp, "cpu", folder, data)
        assert not stopped.complete and stopped.load_checkpoint()[1]["step"] == k
        assert_same(run_it(exp, folder, data), straight)


def test_a_killed_run_goes_on_from_its_last_checkpoint(brief, data, tmp_path, monkeypatch):
    def die():
        raise RuntimeError("killed")

    straight = run_it(tiny(), tmp_path / "straight", data)
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)  # one after each step
    with monkeypatch.context() as patch:
        after_steps(patch, 4, die)
        with pytest.raises(RuntimeError, match="killed"):
            run_it(tiny(), tmp_path / "killed", data)
    assert plan(tiny(), "cpu", tmp_path / "killed", data).load_checkpoint()[1]["step"] == 3
    assert_same(run_it(tiny(), tmp_path / "killed", data), straight)


@pytest.mark.parametrize("last", ["history.json", "provenance.json", "results.json"])
def test_a_kill_between_checkpoint_and_results_costs_no_training(last, brief, data, tmp_path, monkeypatch):
    straight = run_it(tiny(), tmp_path / "straight", data)

    def write(path, value):
        if path.name == last:
            raise RuntimeError("killed")
        files.write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(train, "write_json", write)
        with pytest.raises(RuntimeError, match="killed"):
            run_it(tiny(), tmp_path / "killed", data)
    monkeypatch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was made again"))
    assert_same(run_it(tiny(), tmp_path / "killed", data), straight)


@pytest.mark.parametrize("lost", ["results.json", "per_sequence.safetensors"])
def test_a_run_that_lost_its_results_is_measured_again_not_trained(lost, brief, data, tmp_path, monkeypatch):
    straight = run_it(tiny(), tmp_path / "straight", data)
    trained = run_it(tiny(), tmp_path / "lost", data)
    (trained.folder / lost).unlink()
    monkeypatch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was made again"))
    measured = run_it(tiny(), tmp_path / "lost", data)
    assert_same(measured, straight)
    assert measured.provenance == trained.provenance  # of the training, not of the measuring


def test_measures_are_the_means_of_what_is_kept_for_each_sequence(brief, data, tmp_path):
    run = run_it(tiny(), tmp_path, data)
    for kind in ("trained", "untrained"):
        row, kept = run.results[kind], run.per_sequence(kind)
        assert {len(values) for values in kept.values()} == {row["n_sequences"]}
        means = {name for name, value in row.items() if isinstance(value, float)} - {"e_eq_share"}
        assert means == {name for name, values in kept.items() if values.is_floating_point()}
        assert all(kept[name].mean().item() == row[name] for name in means)
        for omega in ("first", "nearest"):
            r = metrics.pearson_per_factor(kept[f"observed_{omega}"], kept["start"], kept["varied"], 3)
            assert [None if v != v else v for v in r.tolist()] == list(row[f"capcorr_{omega}"].values())
    with pytest.raises(AssertionError):
        assert torch.equal(*(run.per_sequence(kind)["nll"] for kind in ("trained", "untrained")))


def test_of_two_that_ask_for_the_same_run_one_trains(brief, data, tmp_path, monkeypatch):
    began, trained, found = threading.Event(), [], []
    train_it = Trainer.train

    def slowly(self, progress, watch):
        began.set()
        trained.append(self)
        time.sleep(0.3)  # the other one is at the lock by now
        train_it(self, progress, watch)

    def ask():
        found.append(run_it(tiny(), tmp_path, data))

    monkeypatch.setattr(Trainer, "train", slowly)
    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    first.start()
    assert began.wait(60)
    second.start()
    first.join()
    second.join()
    assert len(trained) == 1 and len(found) == 2
    assert found[0].folder == found[1].folder and found[0].results == found[1].results


def test_a_second_signal_goes_through_at_once():
    before = signal.getsignal(signal.SIGINT)
    with train.Interruption() as held:
        signal.raise_signal(signal.SIGINT)
        assert held.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# For every option another value that is allowed.
OTHER = {
    "name": "another",
    "shows": "nothing",
    "scale": "quick",
    "data": "mnist_dual",
    "test_data": "mnist_dual",
    "source": "offline",
    "capsule": (3, 6),
    "topography": "lattice",
    "group_kernel": (5, 5),
    "n_off_diag": None,
    "boundary": "zero",
    "likelihood": "gaussian",
    "optimizer": "adamw",
    "precision": "bfloat16",
    "kl_floor": 0.5,
    "n_caps": 2,
    "cap_dim": 4,
    "max_steps": 3,
    "eval_sequences": 3,
    "beta2": 0.9,
    "momentum": 0.5,
    "warm_start": "tvae_Lhalf_mnist-0123456789ab",
    "sequences": "own-0123456789ab",
    "frame_shape": (1, 8, 8),
    "closed": False,
    "encoder": "convolutional",
    "tracker": "tensorboard",
}


def named(exp, key):
    return Run(exp, Path(), data_key=key)


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(Experiment)])
def test_what_determines_a_run_determines_its_folder(option):
    exp = EXPERIMENTS["tvae_Lpartial_mnist"]
    if option in ("sequences", "frame_shape", "closed", "binary"):  # that only own sequences have
        exp = exp.with_options(data="own", sequences="own-ba9876543210", frame_shape=(3, 8, 8))
    value = getattr(exp, option)
    other = OTHER[option] if option in OTHER else (not value if isinstance(value, bool) else value + 1)
    fits = {"topography": {"group_kernel": (5,)}, "closed": {"boundary": "zero"}}.get(option, {})
    exp = exp.with_options(data="dsprites") if option == "n_transforms" else exp  # MNIST has 18 frames
    changed = dataclasses.replace(exp, **{option: other}, **fits)
    assert getattr(changed, option) != value
    same = option in ("shows", "scale", "source", "wandb_on", "tracker")
    assert (named(changed, "k").identity == named(exp, "k").identity) == same
    assert named(exp, "k").identity == named(dataclasses.replace(exp), "k").identity
    assert named(exp, "k").identity != named(exp, "other images").identity


def test_seed_and_folder_of_a_run(brief, data, tmp_path):
    a, b = (plan(tiny(**changes), "cpu", tmp_path, data) for changes in ({}, {"seed": 5}))
    assert (a.exp.seed, b.exp.seed) == (2, 5) and a.folder != b.folder
    assert a.folder.parent == tmp_path and a.folder.name.startswith("tvae_Lshort_mnist-")
    assert not list(tmp_path.iterdir())  # finding makes nothing


def test_provenance_and_config(brief, data, tmp_path):
    run = run_it(tiny(), tmp_path, data)
    assert set(run.provenance) >= {"data", "commit", "device", "system", "python", "versions", "seconds"}
    assert run.provenance["data"] == "a few random digits" and run.provenance["seconds"] > 0
    weights = 4 * sum(p.numel() for p in run.load_model().parameters())
    assert run.provenance["peak_memory"] > weights and run.provenance["peak_device_memory"] is None
    assert run.provenance["versions"]["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__
    config = json.loads((run.folder / "config.json").read_text())
    assert config == json.loads(json.dumps(dataclasses.asdict(run.exp)))
    assert {"step", "nll", "kl_z", "kl_u", "elbo", "seconds"} <= run.history[0].keys()
    assert "validation_elbo" in run.history[-1]


def test_without_git_the_commit_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software()["commit"] is None and software()["python"]


def test_history_holds_the_means_since_the_last_row(brief, data, tmp_path, monkeypatch):
    fine = run_it(tiny(eval_epochs=9), tmp_path / "a", data)
    for module in (learning, train):
        monkeypatch.setattr(module, "LOG_STEPS", 1)
    finest = run_it(tiny(eval_epochs=9), tmp_path / "b", data)
    for i, row in enumerate(fine.history):
        pair = finest.history[2 * i : 2 * i + 2]
        for term in ("nll", "kl_z", "kl_u"):
            assert row[term] == pytest.approx(sum(r[term] for r in pair) / 2, rel=1e-5)


def test_untrained_and_chance_rows(brief, data, tmp_path):
    run = run_it(tiny(), tmp_path, data)
    fresh = evaluation.evaluate(run.exp.build_model(), run.exp, data)
    assert run.results["untrained"] == fresh
    assert run.results["chance"]["e_eq"] == pytest.approx(13_270.7 * 2 / 18, rel=1e-5)
    assert set(run.results["chance"]) == set(run.results["trained"])
    known = {key for key in flat(run.history[-1]) if key.startswith("validation_")}
    assert {"validation_elbo", "validation_roll_margin_at_draws/hue"} <= known


@pytest.mark.parametrize(
    "done, weight", [(0, 0.01), (0.3, 0.01), (0.6, 0.01), (0.75, 0.1), (0.9, 1.0), (1.0, 1.0)]
)
def test_the_kl_weight_rises(done, weight):
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(kl_floor=0.01, kl_hold=0.6, kl_ramp=0.3)
    assert kl_weight(exp, round(1000 * done), 1000) == pytest.approx(weight)


def test_the_kl_weight_rises_by_a_factor():
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(kl_floor=0.02, kl_hold=0.25, kl_ramp=0.5)
    weights = torch.tensor([kl_weight(exp, step, 80) for step in range(20, 61)], dtype=torch.float64)
    torch.testing.assert_close(
        weights[1:] / weights[:-1], torch.full((40,), 50 ** (1 / 40), dtype=torch.float64)
    )


def test_a_kl_weight_without_ramp_jumps():
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(kl_floor=0.1, kl_hold=0.5)
    assert [kl_weight(exp, step, 10) for step in (0, 4, 5, 9)] == [0.1, 0.1, 1.0, 1.0]


def test_learning_rates():
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(lr=1e-3, lr_decay=0.4)
    rates = [learning_rate(exp, step, 100) for step in (0, 59, 60, 80, 100)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 0], abs=1e-12)
    assert {learning_rate(exp.with_options(lr_decay=0.0), step, 100) for step in (0, 99)} == {1e-3}
    rising = [learning_rate(exp.with_options(lr_warmup=0.1), step, 100) for step in (0, 4, 9, 10, 80)]
    assert rising == pytest.approx([1e-4, 5e-4, 1e-3, 1e-3, 5e-4])
    with pytest.raises(ValueError, match=r"lr_warmup \+ lr_decay is 1.1, but must be at most 1"):
        exp.with_options(lr_warmup=0.7)


SEEDS = {"tvae_Lpartial_mnist": 2, "tvae_Lshort_mnist": 2, "tvae_Lpartial_mnist_generalization": 2}


@pytest.mark.parametrize("name", NAMES)
def test_paper_scale_is_the_protocol(name):
    exp = EXPERIMENTS[name].at_scale("paper")
    torus = name == "tvae_2d_mnist"
    protocol = {
        "seed": SEEDS.get(name, 1),
        "batch_size": 128 if torus else 8,
        "max_epochs": 250 if torus else 100,
        "max_steps": None,
        "optimizer": "sgd",
        "lr": 1e-4,
        "momentum": 0.9,
        "lr_decay": 0.0,
        "kl_floor": 1.0,
        "kl_hold": 0.0,
        "kl_ramp": 0.0,
        "lr_warmup": 0.0,
        "n_draws": 1,
        "decode_every": 1,
        "window_hold": 0.0,
        "window_ramp": 0.0,
        "precision": "float32",
        "eval_epochs": 5,
        "eval_sequences": None,
        "n_is_samples": 10,
        "mu_init": 10.0 if torus else 30.0,
        "eps": 1e-3 if name == "tvae_L0_dsprites" else 1e-6,
        "likelihood": "bernoulli",
        "u_mean_init": 0.0,
        "u_logvar_init": 0.0,
        "standardised": False,
        "he_init": False,
        "boundary": "circular",
        "trainable_w": False,
        "source": "auto",
    }
    assert {option: getattr(exp, option) for option in protocol} == protocol
    assert exp == EXPERIMENTS[name]
    for step in (0, 1, 500, 999):
        assert kl_weight(exp, step, 1000) == 1.0 and learning_rate(exp, step, 1000) == 1e-4
    optimizer = build_optimizer(exp, exp.build_model())
    assert type(optimizer) is torch.optim.SGD
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (1e-4, 0.9, 0, False)


def test_the_sixteen_and_their_data():
    kinds = {name: (exp.data, exp.test_data) for name, exp in EXPERIMENTS.items()}
    for name, (kind, test_kind) in kinds.items():
        special = {"2d": "mnist_grey", "perspective": "mnist_perspective", "rotcolor": "mnist_dual"}
        wanted = next((k for part, k in special.items() if part in name), "mnist")
        assert kind == ("dsprites" if "dsprites" in name else wanted)
        assert test_kind == ("mnist_dual" if "generalization" in name else "")
    assert len(kinds) == 16 and set(SCALES) == {"smoke", "quick", "long", "paper"}


def test_training_sees_the_train_split_and_measuring_the_test_split(data):
    exp = smoke("tvae_Lpartial_mnist_generalization")
    assert [exp.build_sequences(s, 1, folder=data).kind for s in ("train", "validation", "test")] == [
        *("single", "single", "dual")
    ]
    parts = [set(exp.load_images(data).split(s, 1).tolist()) for s in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 5000


def test_an_epoch_visits_every_digit_once(brief, data, tmp_path):
    learner, orders = Learner(plan(tiny(), "cpu", tmp_path, data)), []
    for learner.step in range(8):
        orders.append(learner.members())
    epochs = [torch.cat(orders[i : i + 4]).tolist() for i in (0, 4)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(16)) and epochs[0] != epochs[1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_freed_memory is for glibc")
def test_a_training_step_hands_no_memory_back(tmp_path, data):
    """Counted in page faults; without keep_freed_memory there are thousands in every step."""
    code = """
import sys, resource, torch
from pathlib import Path
from tvae_core.benchmark.step_time import fresh_learners
from tvae_core.experiments import EXPERIMENTS
from tvae_core.training.step import Step
changes = {"source": "offline", "optimizer": "adamw", "precision": "bfloat16"}
exp = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(**changes)
with fresh_learners(exp, torch.device("cpu"), Path(sys.argv[1])) as learners:
    step = Step(learners)
    for number in range(8):
        if number == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""
    done = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000
