"""The step needs no host, several seeds at once are what each is alone, and warming up changes nothing."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tvae_core.data.mnist import DigitSequences
from tvae_core.experiments import EXPERIMENTS
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator, set_seed
from tvae_core.training import step as capture
from tvae_core.training import trainer as training
from tvae_core.training.learner import Learner
from tvae_core.training.runs import plan
from tvae_core.training.schedule import chosen_frames, kl_weight, learning_rate, window_at, window_matrix
from tvae_core.training.step import Step, mean_terms
from tvae_core.training.trainer import Trainer, fit, fit_seeds

CPU = torch.device("cpu")
SGD = {"optimizer": "sgd", "lr": 1e-4, "lr_decay": 0.0}
KINDS = ["tvae_Lshort_mnist", "tvae_2d_mnist", "nontvae_mnist"]
READS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2"}
READS |= {"lift_fresh", "repeat_interleave"}  # a number of the host made a tensor; a length that data decide


def tiny(name, **changes):
    """Six steps of a model of two capsules (those of a torus are one)."""
    small = {"max_steps": 6, "batch_size": 2, "eval_sequences": 2, "n_is_samples": 1, "source": "offline"}
    small |= {} if name == "tvae_2d_mnist" else {"n_caps": 2}
    return EXPERIMENTS[name].at_scale("smoke").with_options(**{**small, **changes})


def learners(exp, seeds, folder, data):
    """A new learner for each seed."""
    return [Learner(plan(exp.with_options(seed=seed), "cpu", folder, data)) for seed in seeds]


def walk(group, steps):
    """Take so many steps of all of them; the Step that took them."""
    step = Step(group)
    for _ in range(steps):
        step()
    return step


def state(learner):
    """Copies of all that a step changes."""
    kept = {f"model.{k}": v for k, v in learner.model.state_dict().items()} | {"terms": learner.terms}
    for i, of in learner.optimizer.state_dict()["state"].items():
        kept |= {f"optimizer.{i}.{k}": v for k, v in of.items()}
    return {k: v.clone() for k, v in kept.items()}


def assert_equal(a, b):
    assert a.keys() == b.keys() and [k for k in a if not torch.equal(a[k], b[k])] == []


class NoHost(TorchDispatchMode):
    """Refuses every operation for which a device would wait for the host, or the host for it."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masks = [i for i in args[1] if i is not None] if name in ("index", "index_put_") else []
        elsewhere = name == "_to_copy" and (kwargs or {}).get("device") not in (None, args[0].device)
        if name in READS or elsewhere or any(mask.dtype in (torch.bool, torch.uint8) for mask in masks):
            raise AssertionError(f"{operation} needs the host")
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_step_needs_no_host(name, data, tmp_path):
    for seeds in ([1], [1, 2]) if name in KINDS else ([1],):
        step = Step(learners(tiny(name), seeds, tmp_path, data))
        step.prepare()  # the first window
        with NoHost():
            for _ in range(2):  # the first makes what the second finds
                step()


PLANTED = {
    "a number read": lambda x: x * x.sum().item(),
    "a decision": lambda x: x if x.sum() > 0 else -x,
    "a tensor made of numbers": lambda x: x * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1),
    "a mask": lambda x: x[x > 2],
    "one_hot": lambda x: F.one_hot((x > 0).long(), 2),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_step_that_needs_the_host_is_seen(mistake, data, tmp_path, monkeypatch):
    frames = DigitSequences.frames
    monkeypatch.setattr(
        DigitSequences, "frames", lambda self, *given: (PLANTED[mistake](x := frames(self, *given)), x)[1]
    )
    step = Step(learners(tiny("tvae_Lshort_mnist"), [1], tmp_path, data))
    with NoHost(), pytest.raises(AssertionError, match="needs the host"):
        step.work()


def on_a_fake_gpu(exp, data):
    """Data and terms of one step with every tensor on a CUDA device that is only pretended."""
    sequences, model = exp.build_sequences("train", 1, "cpu", data), exp.build_model()
    # cuDNN would be asked for its opinion, which takes a driver
    with FakeTensorMode(), torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        for key, value in vars(sequences).items():
            if isinstance(value, torch.Tensor):
                setattr(sequences, key, torch.empty(value.shape, dtype=value.dtype, device="cuda"))
        weights = {k: torch.empty(v.shape, device="cuda") for k, v in model.named_parameters()}
        weights |= {k: torch.empty(v.shape, dtype=v.dtype, device="cuda") for k, v in model.named_buffers()}
        g = torch.Generator()  # of no account here
        with NoHost():
            x = sequences.batch(torch.zeros(2, dtype=torch.long, device="cuda"), g).x
            frames = torch.zeros(max(1, exp.n_transforms // 3), dtype=torch.long, device="cuda")
            given = {"x": x, "noise": model.noise(x, g, frames), "frames": frames}
            return mean_terms(functional_call(model, weights, (), given))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_nothing_is_fetched_from_the_host(name, data):
    assert on_a_fake_gpu(tiny(name), data).device.type == "cuda"


@pytest.mark.parametrize("option", [{"likelihood": "gaussian"}, {"trainable_w": True}], ids=str)
def test_nor_for_the_options(option, data):
    assert on_a_fake_gpu(tiny("tvae_Lshort_mnist", **option), data).device.type == "cuda"


def test_what_lies_on_the_host_is_seen(data, monkeypatch):
    noise = TVAE.noise
    monkeypatch.setattr(
        TVAE, "noise", lambda self, *given: tuple(torch.empty(n.shape) for n in noise(self, *given))
    )
    with pytest.raises(RuntimeError, match="device"):
        on_a_fake_gpu(tiny("tvae_Lshort_mnist"), data)


ALL_FRAMES = {"decode_every": 1, "n_draws": 1, "window_hold": 0.0, "window_ramp": 0.0}
RAMP = {"kl_floor": 0.02, "kl_hold": 0.2, "kl_ramp": 0.5}


@pytest.mark.parametrize("changes", [{}, SGD, RAMP], ids=["adamw", "sgd", "ramp"])
def test_a_step_is_what_one_would_write_down(changes, data, tmp_path):
    """Fresh generators and plain numbers, bit for bit."""
    (learner,) = learners(tiny("tvae_Lshort_mnist", **ALL_FRAMES, **changes), [2], tmp_path, data)
    exp, model, sequences = learner.exp, learner.exp.build_model(2), learner.data.train
    order = torch.randperm(len(sequences), generator=generator("cpu", 2, "order", 0))
    kind = torch.optim.SGD if exp.optimizer == "sgd" else torch.optim.AdamW
    options = {"momentum": exp.momentum} if exp.optimizer == "sgd" else {"weight_decay": 0.0}
    options |= {} if exp.optimizer == "sgd" else {"betas": (0.9, exp.beta2)}
    optimizer = kind(model.parameters(), lr=exp.lr, fused=True, **options)
    sums = torch.zeros(3)
    for step in range(6):
        g = generator("cpu", 2, "step", step)
        out = model(sequences.batch(order[2 * step : 2 * step + 2], g).x, g)
        terms = torch.stack([out.nll.mean(), out.kl_z.mean(), out.kl_u.mean()])
        weight = kl_weight(exp, step, 6)
        optimizer.zero_grad()
        (terms[0] + weight * (terms[1] + terms[2])).backward()
        optimizer.param_groups[0]["lr"] = learning_rate(exp, step, 6)
        optimizer.step()
        sums += terms.detach()
    walk([learner], 6)
    assert torch.equal(learner.terms, torch.cat([sums, torch.tensor([6.0])]))
    assert not learner.terms.requires_grad  # no step's graph is kept
    assert all(map(torch.equal, learner.model.parameters(), model.parameters()))


@pytest.mark.parametrize("name", KINDS)
def test_some_decoded_frames_estimate_the_terms_of_all_without_bias(name, data):
    """Over all places of the first frame the terms have the mean that all frames have; each alone has not."""
    exp = tiny(name)
    model, g = exp.build_model().double(), generator("cpu", 0, "test")
    x = exp.build_sequences("train", 1, folder=data).batch(torch.arange(2), g).x.double()
    noise, s = model.noise(x, g), exp.n_transforms
    n = max(1, s // 3)
    with torch.no_grad():
        whole = mean_terms(model(x, noise=noise))
        some = []
        for first in range(s):
            frames = (torch.arange(n) * s // n + first) % s
            given = (noise[0][:, frames], *noise[1:])
            some.append(mean_terms(model(x, noise=given, frames=frames)))
    torch.testing.assert_close(torch.stack(some).mean(0), whole)
    assert s == 1 or (torch.stack(some)[:, 0] - whole[0]).abs().max() > 1e-6


@pytest.mark.parametrize("name", KINDS)
def test_several_draws_are_the_mean_of_each(name, data):
    exp = tiny(name)
    model, g = exp.build_model().double(), generator("cpu", 0, "test")
    x = exp.build_sequences("train", 1, folder=data).batch(torch.arange(2), g).x.double()
    frames = torch.tensor([0, 5]) if exp.n_transforms > 1 else None
    noise = model.noise(x, g, frames, draws=3)
    assert {len(part) for part in noise} == {6}
    with torch.no_grad():
        each = [
            mean_terms(model(x, noise=tuple(n[i : i + 2] for n in noise), frames=frames)) for i in (0, 2, 4)
        ]
        together = mean_terms(model(x, noise=noise, frames=frames))
    torch.testing.assert_close(together, torch.stack(each).mean(0))
    assert len({terms[0].item() for terms in each}) == 3


@pytest.mark.parametrize(
    "s, every, n", [(18, 3, 6), (15, 3, 5), (5, 3, 1), (18, 5, 3), (1, 3, 1), (18, 18, 1)]
)
def test_each_frame_is_decoded_as_often_as_any_other(s, every, n):
    g, counted = torch.Generator().manual_seed(0), torch.zeros(s)
    for _ in range(400 * s):
        frames = chosen_frames(s, every, g)
        assert len(set(frames.tolist())) == n
        counted[frames] += 1
    assert (counted / (400 * n) - 1).abs().max() < 0.2
    assert chosen_frames(s, 1, g) is None


SHRINKS = {"window_hold": 0.3, "window_ramp": 0.4}


@pytest.mark.parametrize(
    "name, lengths",
    [
        ("tvae_Lpartial_mnist", [18, 18, 17, 17, 16, 15, 14, 14, 13, 13]),
        ("tvae_Lpartial_dsprites", [15, 15, 14, 14, 13, 12, 11, 11, 10, 10]),
        ("tvae_Lhalf_mnist", [18] * 10),
        *((name, [0] * 10) for name in ("bubbles_mnist", "tvae_L0_mnist", "tvae_2d_mnist", "nontvae_mnist")),
    ],
)
def test_the_window_loses_one_frame_after_the_other(name, lengths):
    exp = EXPERIMENTS[name].with_options(**SHRINKS)
    done = (0.0, 0.299, 0.3, 0.399, 0.4, 0.5, 0.6, 0.699, 0.7, 1.0)
    for share, length in zip(done, lengths, strict=True):
        assert window_at(exp, share) == ((length, length) if length else exp.group_kernel)
        assert window_at(EXPERIMENTS[name], share) == exp.group_kernel
    assert window_at(exp.with_options(trainable_w=True), 0.0) == exp.group_kernel


def test_each_step_has_its_window(data, tmp_path):
    learner, other = learners(tiny("tvae_Lshort_mnist", max_steps=10, **SHRINKS), [1, 2], tmp_path, data)
    step, own = Step([learner, other]), learner.exp.build_grouper().fixed
    for number, length in enumerate([18, 18, 18, 17, 14, 11, 8, 5, 5, 5]):
        step()
        assert learner.window == (length, length)
        for one in (learner, other):
            assert torch.equal(one.model.grouper.fixed, window_matrix(learner.exp, (length, length)))
        assert torch.equal(learner.model.grouper.fixed, own) == (number > 6)


@pytest.mark.parametrize("term", range(3))
def test_a_step_is_sound_only_if_all_its_terms_are_finite(term, data, tmp_path):
    step = walk(learners(tiny("tvae_Lshort_mnist"), [1], tmp_path, data), 1)
    assert step.terms[0, 3] == 1
    step.terms[0, term] = torch.inf
    step()
    assert step.terms[0, 3] == 1


def test_a_longer_window_adds_up_to_as_much():
    exp = EXPERIMENTS["tvae_Lshort_mnist"]
    own, longer = (window_matrix(exp, lengths) for lengths in ((5, 5), (18, 18)))
    assert torch.equal(own, exp.build_grouper().fixed)
    torch.testing.assert_close(longer.sum(-1), own.sum(-1))
    assert (longer > 0).sum() == 4 * (own > 0).sum()


def test_a_generator_put_back_is_a_new_one():
    g = generator("cpu", 1, "step", 4)
    torch.empty(3).normal_(generator=g)  # which keeps a number for the next call
    set_seed(g, 1, "step", 5)
    assert torch.equal(g.get_state(), generator("cpu", 1, "step", 5).get_state())


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("seeds", [[1], [1, 2]], ids=["alone", "together"])
@pytest.mark.parametrize("begun", [0, 2])
def test_warming_up_changes_nothing(changes, seeds, begun, data, tmp_path):
    exp = tiny("tvae_Lshort_mnist", **changes)
    straight, warmed = (learners(exp, seeds, tmp_path, data) for _ in range(2))
    walk(straight, 4)
    step = walk(warmed, begun)
    before = [state(learner) for learner in warmed]
    capture.warm_up(step.work, step.state)
    if begun:
        for learner, was in zip(warmed, before, strict=True):
            assert_equal(state(learner), was)
    for _ in range(4 - begun):
        step()
    for a, b in zip(straight, warmed, strict=True):
        assert_equal(state(a), state(b))


def test_a_warm_up_that_forgets_is_seen(data, tmp_path):
    (learner,) = learners(tiny("tvae_Lshort_mnist"), [1], tmp_path, data)
    step = walk([learner], 1)
    before = state(learner)
    capture.warm_up(step.work, learner.model.parameters)
    with pytest.raises(AssertionError):
        assert_equal(state(learner), before)


@pytest.fixture
def recorder(monkeypatch):
    """torch.cuda's part in a capture, noting what is asked of it."""
    said = []

    class Graph:
        def register_generator_state(self, g):
            said.append("generator")

        def replay(self):
            said.append("replay")

    @contextlib.contextmanager
    def recording(graph, stream):
        said.append("record")
        yield
        said.append("recorded")

    stream = SimpleNamespace(wait_stream=lambda other: said.append("wait"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return said


def test_work_is_warmed_up_then_recorded_and_replayed(recorder):
    replay = capture.capture(lambda: recorder.append("work"), list, [torch.Generator()], CPU)
    replay()
    asked = "wait work work work wait generator record work recorded replay"
    assert recorder == asked.split()


def test_work_that_cannot_be_recorded_is_done_all_the_same(recorder, caplog):
    def work():
        recorder.append("work")
        if "record" in recorder:
            raise torch.AcceleratorError("operation not permitted when stream is capturing")

    with caplog.at_level("WARNING"):
        assert capture.capture(work, list, [], CPU) is work
    assert "not permitted" in caplog.text


# Alone and together are the same sums in another order. Under SGD that rounding stays what it is: float32 has
# 6e-8, and six steps of sums over a few thousand numbers lose two or three digits of it. AdamW divides each
# gradient by its own size, so where one is all rounding its weight goes another way: the mean is compared.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def apart(a, b, fresh):
    """The mean distance of two models' weights, as a share of how far they came."""
    ways = [[p - q for p, q in zip(m.parameters(), fresh.parameters(), strict=True)] for m in (a, b)]
    off = sum((p - q).abs().sum() for p, q in zip(*ways, strict=True))
    return (off / sum(p.abs().sum() for p in ways[0])).item()


@pytest.mark.parametrize("changes", [{"lr": 3e-4}, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("name", [*KINDS, "tvae_Lshort_dsprites"])
def test_together_is_alone(name, changes, data, tmp_path):
    exp = tiny(name, **changes)
    together = learners(exp, [1, 2, 3], tmp_path, data)
    walk(together, 6)
    for learner in together:
        (alone,) = learners(exp, [learner.exp.seed], tmp_path, data)
        walk([alone], 6)
        torch.testing.assert_close(learner.terms, alone.terms, **ROUNDING)
        if exp.optimizer == "sgd":
            for a, b in zip(learner.model.parameters(), alone.model.parameters(), strict=True):
                torch.testing.assert_close(a, b, **ROUNDING)
        assert apart(learner.model, alone.model, exp.build_model(learner.exp.seed)) < 0.01
    with pytest.raises(AssertionError):  # the last one beside the seed before it
        torch.testing.assert_close(together[1].terms, alone.terms, **ROUNDING)


def seeds_of(exp, seeds, folder, data, **options):
    return fit_seeds(exp, seeds, "cpu", folder, data, progress=False, **{"together": True, **options})


def untimed(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]


def test_each_seed_has_its_own_run(brief, data, tmp_path, monkeypatch):
    exp = tiny("tvae_Lshort_mnist", **SGD)
    ones = [exp.with_options(seed=seed) for seed in (1, 2)]
    alone = [fit(one, "cpu", tmp_path / "alone", data, False) for one in ones]
    runs = seeds_of(exp, [2, 1], tmp_path / "both", data)
    assert [run.exp.seed for run in runs] == [2, 1] and all(run.complete for run in runs)
    for run, other in zip(runs, reversed(alone), strict=True):
        assert run.folder.name == other.folder.name
        for row, wanted in zip(untimed(run), untimed(other), strict=True):
            assert row == pytest.approx(wanted, rel=1e-4)
        assert run.results["trained"]["elbo"] == pytest.approx(other.results["trained"]["elbo"], rel=1e-4)
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    assert fit(ones[1], "cpu", tmp_path / "both", data, False).results == runs[0].results
    assert [run.exp.seed for run in seeds_of(exp, [1, 2], tmp_path / "both", data)] == [1, 2]
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        seeds_of(exp, [1, 3], tmp_path / "both", data)


def test_what_is_done_is_not_repeated(brief, data, tmp_path, monkeypatch):
    exp, trained = tiny("tvae_Lshort_mnist"), []
    fit(exp.with_options(seed=2), "cpu", tmp_path, data, False)
    train_them = Trainer.train

    def noted(self, progress, watch):
        trained.append([learner.exp.seed for learner in self.learners])
        train_them(self, progress, watch)

    monkeypatch.setattr(Trainer, "train", noted)
    seeds_of(exp, [1, 2, 3], tmp_path, data)
    seeds_of(exp, [4, 5], tmp_path, data, together=None)  # one after another on a CPU
    assert trained == [[1, 3], [4], [5]]


def stop_after(monkeypatch, steps):
    call, left = Step.__call__, [steps]

    def counted(self):
        call(self)
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("killed")

    monkeypatch.setattr(Step, "__call__", counted)


def test_stopped_together_they_go_on_as_if_they_had_not_and_alone_too(brief, data, tmp_path, monkeypatch):
    exp = tiny("tvae_Lshort_mnist")
    straight = seeds_of(exp, [1, 2, 3], tmp_path / "straight", data)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint after each step
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(RuntimeError, match="killed"):
            seeds_of(exp, [1, 2, 3], tmp_path / "stopped", data)
    stopped = [plan(exp.with_options(seed=seed), "cpu", tmp_path / "stopped", data) for seed in (1, 2, 3)]
    assert [run.load_checkpoint()[1]["step"] for run in stopped] == [3, 3, 3]
    (lone,) = seeds_of(exp, [3], tmp_path / "stopped", data)  # of the three one goes on alone
    for row, wanted in zip(untimed(lone), untimed(straight[2]), strict=True):
        assert row == pytest.approx(wanted, rel=1e-3)
    pair = seeds_of(exp, [1, 2], tmp_path / "stopped", data)
    other = seeds_of(exp, [1, 2], tmp_path / "pair", data)
    for run, wanted in zip(pair, other, strict=True):
        assert untimed(run) == untimed(wanted) and run.results == wanted.results


def test_seeds_that_stand_at_different_steps_end_at_the_same(brief, data, tmp_path, monkeypatch):
    exp = tiny("tvae_Lshort_mnist", **SGD)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(RuntimeError, match="killed"):
            fit(exp.with_options(seed=2), "cpu", tmp_path, data, False)
    runs = seeds_of(exp, [1, 2, 3], tmp_path, data)
    assert [run.history[-1]["step"] for run in runs] == [6, 6, 6] and all(run.complete for run in runs)
