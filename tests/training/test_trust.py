"""What is read back is what was written: damage is named and put aside, divergence stops, threads stay."""

import errno
import json
import logging
import os
import signal
import warnings
from pathlib import Path

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.store import DamagedFile, read_about, read_tensors, write_tensors
from tvae_core.training import learner as learning
from tvae_core.training import trainer as training
from tvae_core.training.learner import DivergedError, Learner
from tvae_core.training.runs import CHECKPOINT, Run, plan, stored_runs
from tvae_core.training.step import Step
from tvae_core.training.trainer import Trainer, fit, fit_seeds

SMALL = {"max_steps": 4, "batch_size": 2, "n_caps": 2, "eval_sequences": 2, "n_is_samples": 1}


@pytest.fixture(autouse=True)
def said(brief, monkeypatch, caplog):
    """What the library says."""
    monkeypatch.setattr(logging.getLogger("tvae_core"), "propagate", True)
    caplog.set_level("INFO", "tvae_core")
    return caplog


def tiny(name="tvae_Lshort_mnist", **changes):
    return EXPERIMENTS[name].at_scale("smoke").with_options(**{**SMALL, **changes})


def trained(folder, exp=None, **options):
    return fit(exp or tiny(), "cpu", folder, folder, progress=False, **options)


def weights(run):
    return {k: v for k, v in run.load_checkpoint()[0].items() if k.startswith("model.")}


def same_weights(a, b):
    return all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip(path):
    """One bit in the middle of the tensors."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_step(path):
    tensors, about = read_tensors(path)
    path.unlink()
    write_tensors(path, tensors, about | {"step": 1, "run": "another"})


def foreign(path):
    path.write_bytes(b"no tensors")


MOMENTS = [4, 9, 16, 26]


def says(words):
    """A file of the format that says of itself what no version of this package says."""

    def damage(path):
        header = json.dumps({"__metadata__": {"about": words, "digest": ""}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)

    damage.__name__ = f"says {words}"
    return damage


DAMAGES = [cut, flip, other_step, foreign, says("no JSON"), says("[]"), says("{}")]


def unfinished(folder, steps=2):
    """A run that was stopped, with its checkpoint."""
    run = plan(tiny(), "cpu", folder, folder)
    learner = Learner(run)
    step = Step([learner])
    for _ in range(steps):
        step()
    learner.save()
    return run


def test_what_a_dead_writer_left_is_removed_and_nothing_of_the_users(tmp_path):
    run = plan(tiny(), "cpu", tmp_path, tmp_path)
    (run.folder / ".ipynb_checkpoints").mkdir(parents=True)  # as JupyterLab makes beside a file it opens
    for name in (".123-checkpoint.safetensors", ".123-results.json", ".notes", "notes.txt"):
        (run.folder / name).touch()
    with run.locked():
        left = sorted(path.name for path in run.folder.iterdir())
    assert left == [".ipynb_checkpoints", ".notes", "notes.txt"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_put_aside_and_the_run_trained_anew(damage, tmp_path, said):
    whole = trained(tmp_path / "whole")
    run = unfinished(tmp_path / "damaged")
    damage(run.folder / CHECKPOINT)
    with pytest.raises(DamagedFile, match=CHECKPOINT):
        run.load_checkpoint()
    again = trained(tmp_path / "damaged")
    assert same_weights(again, whole) and again.results == whole.results
    assert (run.folder / "checkpoint.damaged").is_file() and "training begins anew" in said.text


@pytest.mark.parametrize("lacking", ["terms", "threads"])
def test_a_checkpoint_of_another_version_is_put_aside(lacking, tmp_path, said):
    path = unfinished(tmp_path).folder / CHECKPOINT
    tensors, about = read_tensors(path)
    for part in (tensors, about):
        part.pop(lacking, None)
    write_tensors(path, tensors, about)
    assert trained(tmp_path).complete
    assert f"lacks {lacking}, so it is of another version; it is kept as checkpoint.damaged" in said.text


def test_a_complete_run_whose_checkpoint_is_cut_is_trained_again(tmp_path):
    run = trained(tmp_path)
    before = weights(run)
    cut(run.folder / CHECKPOINT)
    assert not run.complete
    assert all(torch.equal(v, before[k]) for k, v in weights(trained(tmp_path)).items())


def test_a_pointer_in_place_of_a_checkpoint_is_named(tmp_path):
    run = unfinished(tmp_path)
    (run.folder / CHECKPOINT).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(OSError, match="is a Git LFS pointer: fetch the file with git lfs pull"):
        trained(tmp_path)


def test_a_checkpoint_of_another_seed_is_not_taken(tmp_path, said):
    own, other = trained(tmp_path), trained(tmp_path, tiny(seed=9))
    (own.folder / CHECKPOINT).write_bytes((other.folder / CHECKPOINT).read_bytes())
    with pytest.raises(DamagedFile, match="of another run"):
        own.load_model()
    again = trained(tmp_path)
    assert again.exp.seed == own.exp.seed and not same_weights(again, other)


def left_out(folder, said):
    """The one warning about the runs of a folder; those that are listed all the same."""
    said.clear()
    found = stored_runs(folder)
    (warning,) = [record.message for record in said.records if record.levelname == "WARNING"]
    return warning, [run.folder for run in found]


def test_a_broken_run_hides_no_sound_one(tmp_path, said):
    sound, broken = trained(tmp_path), trained(tmp_path, tiny(seed=9))
    for name in ("config.json", "results.json", "history.json", CHECKPOINT, "per_sequence.safetensors"):
        path = broken.folder / name
        whole = path.read_bytes()
        nonsense = (b"", b"{", b"\xff\xfe", b"null", b"3", b"[" * 100_000, whole[: len(whole) // 2])
        for content in nonsense:
            path.write_bytes(content)
            warning, listed = left_out(tmp_path, said)
            assert listed == [sound.folder], name
            assert broken.folder.name in warning and name in warning
        path.write_bytes(whole)
    assert len(stored_runs(tmp_path)) == 2


def test_a_run_of_another_version_is_left_out_by_name(tmp_path, said):
    run = trained(tmp_path)
    path = run.folder / "config.json"
    config = json.loads(path.read_text())
    for change in ({"name": "tvae_renamed"}, {"colour": 1}, {"lr": 0.5}, {"n_caps": "two"}):
        path.write_text(json.dumps(config | change))
        warning, listed = left_out(tmp_path, said)
        assert run.folder.name in warning and not listed


def test_a_run_without_its_configuration_is_left_out(tmp_path, said):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text("{}")
    assert stored_runs(tmp_path) == [] and "old" in said.text and "config.json" in said.text


def test_stored_runs_are_the_runs_that_were_trained(tmp_path):
    run = trained(tmp_path)
    (found,) = stored_runs(tmp_path)
    assert (found.exp, found.identity, found.results) == (run.exp, run.identity, run.results)
    assert same_weights(found, run) and found.complete


def test_divergence_stops_with_step_term_and_the_last_sound_checkpoint(tmp_path, monkeypatch):
    exp = tiny("nontvae_mnist", lr=1e9, lr_decay=0.0, optimizer="sgd", decode_every=1)
    words = r"at step 2 of 4 \(nll is (nan|inf); nothing is kept\): try a smaller lr than 1e\+09"
    with pytest.raises(DivergedError, match=words):
        trained(tmp_path, exp)
    run = plan(exp, "cpu", tmp_path, tmp_path)
    assert not run.complete and not (run.folder / "results.json").exists()
    assert not (run.folder / CHECKPOINT).exists()


def break_weights_at(monkeypatch, number):
    call = Step.__call__

    def breaking(self):
        call(self)
        if self.learners[0].step == number:
            next(self.learners[0].model.parameters()).data.view(-1)[0] = torch.nan

    monkeypatch.setattr(Step, "__call__", breaking)


@pytest.mark.parametrize("number", [3, 6])
def test_a_checkpoint_is_never_overwritten_by_broken_weights(number, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)  # one after each step
    exp = tiny(max_steps=6)
    straight = trained(tmp_path / "straight", exp)
    with monkeypatch.context() as patch:
        break_weights_at(patch, number)
        with pytest.raises(
            DivergedError, match=f"step {number} of 6 .a weight.*checkpoint of step {number - 1} is kept"
        ):
            trained(tmp_path / "broken", exp)
    run = plan(exp, "cpu", tmp_path / "broken", tmp_path / "broken")
    tensors, progress = run.load_checkpoint()
    assert progress["step"] == number - 1 and all(v.isfinite().all() for v in tensors.values())
    assert same_weights(trained(tmp_path / "broken", exp), straight)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_resumed_run_keeps_its_threads_and_the_next_seed_its_own(tmp_path, monkeypatch, threads):
    threads(2)
    unfinished(tmp_path)
    threads(1)
    call, used = Step.__call__, []

    def noted(self):
        used.append((self.learners[0].exp.seed, torch.get_num_threads()))
        call(self)

    monkeypatch.setattr(Step, "__call__", noted)
    runs = fit_seeds(tiny(), [2, 5], "cpu", tmp_path, tmp_path, progress=False)
    assert used == [(2, 2)] * 2 + [(5, 1)] * 4 and torch.get_num_threads() == 1
    assert [run.load_checkpoint()[1]["threads"] for run in runs] == [2, 1]


def test_the_moments_of_the_decoder_come_from_the_checkpoint(tmp_path, monkeypatch):
    run = trained(tmp_path)
    own = run.load_model().decoder
    monkeypatch.setattr("tvae_core.model.tvae.TVAE._moments_at_start", lambda *_: (1.0, 2.0))
    assert run.exp.build_model().decoder.centre == 1.0
    again = run.load_model().decoder
    assert (again.centre, again.spread) == (own.centre, own.spread) != (1.0, 2.0)
    learner = Learner(run)
    assert (learner.model.decoder.centre, learner.model.decoder.spread) == (own.centre, own.spread)


def test_the_same_training_under_two_names_is_trained_once(tmp_path, monkeypatch, said):
    first = trained(tmp_path, tiny("tvae_Lpartial_mnist"))
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    second = trained(tmp_path, tiny("tvae_Lpartial_mnist_generalization"))
    assert second.folder != first.folder and second.complete and second.history == first.history
    assert same_weights(first, second) and first.results != second.results
    assert second.exp.test_data == "mnist_dual" and f"the same training as {first.folder.name}" in said.text
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        trained(tmp_path, tiny("tvae_Lpartial_mnist_generalization", seed=9))


def test_what_dead_writers_left_is_removed(tmp_path):
    run = unfinished(tmp_path)
    for name in (".77-history.json", f".77-{CHECKPOINT}"):
        (run.folder / name).write_bytes(b"half")
    trained(tmp_path)
    assert not list(run.folder.glob(".*"))


def test_files_can_be_read_by_whom_the_umask_lets(tmp_path):
    run = trained(tmp_path)
    modes = {path.stat().st_mode & 0o777 for path in run.folder.iterdir()}
    assert len(modes) == 1 and read_about(run.folder / CHECKPOINT)["step"] == 4


@pytest.fixture
def heard():
    """Signals reach this process, which nohup or a shell's `&` may let ignore them; the library answers."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    for number in before:
        signal.signal(number, lambda *_: pytest.fail("the library did not answer a signal"))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_measuring_stops_as_ctrl_c_does(name, tmp_path, monkeypatch):
    straight = trained(tmp_path / "straight")
    number = getattr(signal, name)
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate_with_controls", lambda *_: signal.raise_signal(number))
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "stopped")
    monkeypatch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was taken again"))
    assert trained(tmp_path / "stopped").results == straight.results


def test_the_window_of_a_checkpoint_is_said(tmp_path):
    run = unfinished(tmp_path, steps=1)
    assert run.load_checkpoint()[1]["window"] == [18, 18]
    assert trained(tmp_path).load_checkpoint()[1]["window"] == [5, 5]


def test_a_run_made_by_hand_reads_what_it_wrote(tmp_path):
    run = Run(tiny(), tmp_path / "by hand")
    run.save_checkpoint({f"model.{k}": v for k, v in tiny().build_model(7).state_dict().items()}, step=0)
    assert torch.equal(run.model.encoder_z.layers[0].weight, tiny().build_model(7).encoder_z.layers[0].weight)


def test_results_that_were_changed_are_measured_again(tmp_path, monkeypatch):
    run = trained(tmp_path)
    for name in ("results", "history", "provenance", "config"):
        path = run.folder / f"{name}.json"
        whole = path.read_text()
        digit = max(i for i, letter in enumerate(whole) if letter.isdigit() and letter != "9")
        path.write_text(whole[:digit] + "9" + whole[digit + 1 :])
        with pytest.raises(DamagedFile, match=f"{name}.json is not what was measured"):
            plan(tiny(), "cpu", tmp_path, tmp_path).check()
        with monkeypatch.context() as patch:
            patch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was taken again"))
            again = trained(tmp_path)
        assert again.complete and path.read_text() == whole


def test_a_full_disk_is_said_and_costs_what_it_kept_from_being_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TVAE_CHECKPOINT_SECONDS", "0")
    straight, fsync, written = trained(tmp_path / "straight"), os.fsync, []

    def full(file):
        written.append(file)
        if len(written) > 3:  # config.json and the checkpoints of two steps
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device; what was there is kept: .*checkpoint"):
            trained(tmp_path / "full")
    run = plan(tiny(), "cpu", tmp_path / "full", tmp_path / "full")
    assert run.load_checkpoint()[1]["step"] == 2 and not list(run.folder.glob(".*"))
    assert same_weights(trained(tmp_path / "full"), straight)


@pytest.mark.parametrize("written", ["often", "-1", "nan", ""])
def test_checkpoints_are_asked_for_in_seconds(written, tmp_path, monkeypatch):
    monkeypatch.setenv("TVAE_CHECKPOINT_SECONDS", written)
    with pytest.raises(ValueError, match=r"TVAE_CHECKPOINT_SECONDS is .*, but must be a number of seconds"):
        trained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_machine_or_torch_is_said(tmp_path, monkeypatch, said):
    unfinished(tmp_path)
    monkeypatch.setattr(learning, "computed_by", lambda _: "another machine")
    trained(tmp_path)
    assert "and now on another machine, so this is no longer one run bit for bit" in said.text


def in_a_process_that_dies(folder, moment):
    """Train in a process that is killed at its so many-th step, flush or rename; whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which idle here
        child = os.fork()
    if child == 0:
        left = [moment]

        def mortal(act):
            def dying(*arguments):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*arguments)

            return dying

        os.fsync, Path.replace, Step.__call__ = map(mortal, (os.fsync, Path.replace, Step.__call__))
        try:
            trained(folder)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("moments", [MOMENTS, pytest.param(range(1, 27), marks=pytest.mark.thorough)])
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(moments, tmp_path, monkeypatch):
    """Steps, checkpoints, the controls and every file of the results: 26 moments, of which CI tries four."""
    monkeypatch.setenv("TVAE_CHECKPOINT_SECONDS", "0")
    straight = trained(tmp_path / "straight")
    for moment in moments:
        assert in_a_process_that_dies(tmp_path / f"{moment}", moment)
        again = trained(tmp_path / f"{moment}")
        assert same_weights(again, straight) and again.results == straight.results
        left = [path.name for path in (tmp_path / f"{moment}").rglob(".[0-9]*-*")]
        assert not left, moment


@pytest.mark.parametrize("before", [True, False])
def test_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(before, tmp_path, monkeypatch):
    """As a reader beside a writer meets it: another checkpoint comes just before it reads, or just after."""
    path, opened = tmp_path / CHECKPOINT, Path.read_bytes
    write_tensors(path, {"model.x": torch.zeros(3)}, {"step": 0})

    def replaced(self):
        content = opened(self)
        write_tensors(path, {"model.x": torch.ones(3)}, {"step": 1})
        return opened(self) if before else content

    monkeypatch.setattr(Path, "read_bytes", replaced)
    tensors, about = read_tensors(path)
    assert about == {"step": int(before)} and torch.equal(tensors["model.x"], torch.full((3,), float(before)))
