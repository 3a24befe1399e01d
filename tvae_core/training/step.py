"""One training step, as fixed work on the device, and its recording as a CUDA graph."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from tvae_core.model.tvae import TVAE, Noise, Output
from tvae_core.seeding import set_seed
from tvae_core.training.hardware import keep_freed_memory
from tvae_core.training.learner import Learner
from tvae_core.training.schedule import (
    chosen_frames,
    kl_weight,
    learning_rate,
    set_learning_rate,
    window_at,
    window_matrix,
)

WARM_UPS = 3  # as many as PyTorch's documentation takes

Work = Callable[[], None]

log = logging.getLogger("tvae_core")


@torch.no_grad()
def warm_up(work: Work, state: Callable[[], Iterable[Tensor]]) -> None:
    """Do the work a few times, so that libraries set themselves up, and put back what it changed, in place.

    state: the tensors that it changes, as they are at the time of the call. Those that the work makes (an
    optimizer's state) are left at zero, which is where they begin.
    """
    before = {id(tensor): (tensor, tensor.clone()) for tensor in state()}
    for _ in range(WARM_UPS):
        with torch.enable_grad():
            work()
    for tensor in state():
        if id(tensor) in before:
            tensor.copy_(before[id(tensor)][1])
        else:
            tensor.zero_()


def capture(
    work: Work,
    state: Callable[[], Iterable[Tensor]],
    generators: Iterable[torch.Generator],
    device: torch.device,
) -> Work:
    """Record work as a CUDA graph, which reads its inputs and the generators' states when it is launched.

    The state stays as it is (warm_up). Work that cannot be recorded is returned as it is, to be launched
    operation by operation, and the log says why.
    """
    aside = torch.cuda.Stream(device)  # one stream for both: autograd remembers where it was warmed up
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        warm_up(work, state)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    for g in generators:
        graph.register_generator_state(g)
    try:
        with torch.cuda.graph(graph, stream=aside):
            work()
    except RuntimeError as error:
        log.warning("a step cannot be recorded as a CUDA graph; it is slower without (%s)", error)
        return work
    return graph.replay


class Draw(NamedTuple):
    """What a step gives a model: a batch, the noise of the posterior's draw, and the frames to decode."""

    x: Float[Tensor, "B S ch h w"]
    noise: Noise
    frames: Int[Tensor, " n"] | None = None


def mean_terms(out: Output) -> Float[Tensor, "3"]:
    """Return the means of nll, KL(z) and KL(u), in nats a frame."""
    return torch.stack([out.nll.mean(), out.kl_z.mean(), out.kl_u.mean()])


def stack_parameters(models: Sequence[TVAE]) -> dict[str, Tensor]:
    """Stack each parameter of N models to one tensor (N, …), whose slices become the models' own parameters.

    So each model, and its optimizer, is still saved, measured and updated alone.
    """
    stacked, _ = stack_module_state(list(models))
    for i, model in enumerate(models):
        for name, parameter in model.named_parameters():
            parameter.data = stacked[name].data[i]
    return stacked


class Step:
    """One step of all learners, which are seeds of one experiment, each on its own data and draws.

    All that changes from step to step lies in tensors that stay the same, and in the states of generators;
    `work` is what is left, the same operations every time: data, terms, gradients, optimizer, sums. Nothing
    of it waits for the host, so on CUDA it is recorded as a graph (capture). One learner is trained as it is;
    several as a batch of models, so each equals itself trained alone but for rounding.
    """

    def __init__(self, learners: Sequence[Learner]):
        keep_freed_memory()
        self.learners = list(learners)
        self.exp, self.device = learners[0].exp, learners[0].device
        self.dtype = getattr(torch, self.exp.precision)
        self.index = torch.stack([one.members() for one in learners])
        device = self.device
        self.weight = torch.zeros((), device=device)  # of the KL terms
        self.generators = [torch.Generator(device) for _ in learners]
        self.stacked = stack_parameters([one.model for one in learners]) if len(learners) > 1 else {}
        self.terms = torch.stack([one.terms for one in learners])
        for one, terms in zip(learners, self.terms, strict=True):
            one.terms = terms
        self.window = self.exp.group_kernel  # of W as it is now
        self._launch: Work | None = None

    def __call__(self) -> None:
        """Take the next step of all learners."""
        if self._launch is None and self.device.type == "cuda":
            self._launch = capture(self.work, self.state, self.generators, self.device)
        self.prepare()
        (self._launch or self.work)()
        for one in self.learners:
            one.step += 1
        if self.learners[0].step == self.learners[0].total:
            self._set_window(self.exp.group_kernel)  # by which it is measured, however few the steps were

    def _set_window(self, window: tuple[int, ...]) -> None:
        if window != self.window:
            self.window, w = window, window_matrix(self.exp, window)
            for one in self.learners:
                one.model.grouper.fixed.copy_(w)

    def prepare(self) -> None:
        """Write what this step differs in; none of it waits for the device, unless the window changes."""
        step, total = self.learners[0].step, self.learners[0].total
        self.weight.fill_(kl_weight(self.exp, step, total))
        self._set_window(window_at(self.exp, step / total))
        for one, row, g in zip(self.learners, self.index, self.generators, strict=True):
            row.copy_(one.members())
            set_seed(g, one.exp.seed, "step", step)
            set_learning_rate(one.optimizer, learning_rate(self.exp, step, total))

    def work(self) -> None:
        """Take the step: data, terms, gradients, optimizer, sums."""
        for one in self.learners:
            one.optimizer.zero_grad()
        batches = self.draw()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.terms_of(batches)
        nll, kl_z, kl_u = terms.unbind(1)
        (nll + self.weight * (kl_z + kl_u)).sum().backward()
        self.split_gradients()
        for one in self.learners:
            one.optimizer.step()
        self.terms[:, :3] += terms.detach()
        self.terms[:, 3] += self.terms[:, :3].isfinite().all(1)  # how far the losses were sound

    def draw(self) -> list[Draw]:
        """Draw what each learner's model is given, in the order in which a model alone would draw it."""
        drawn = []
        for one, index, g in zip(self.learners, self.index, self.generators, strict=True):
            x = one.data.train.batch(index, g).x
            frames = chosen_frames(x.shape[1], self.exp.decode_every, g)
            noise = one.model.noise(x, g, frames, self.exp.n_draws)
            drawn.append(Draw(x, noise, frames))
        return drawn

    def terms_of(self, drawn: Sequence[Draw]) -> Float[Tensor, "N 3"]:
        """Return the mean terms of each learner."""
        model = self.learners[0].model
        if not self.stacked:
            return mean_terms(model(**drawn[0]._asdict())).unsqueeze(0)

        def one(parameters: Mapping[str, Tensor], *draw: object) -> Tensor:
            return mean_terms(functional_call(model, dict(parameters), (), Draw(*draw)._asdict()))

        x, noise, frames = zip(*drawn, strict=True)
        together = torch.stack(x), tuple(map(torch.stack, zip(*noise, strict=True)))
        if frames[0] is not None:
            together += (torch.stack(frames),)
        return vmap(one)(self.stacked, *together)

    def split_gradients(self) -> None:
        """Give each model its slices of the stacked parameters' gradients, which every step makes anew."""
        for i, one in enumerate(self.learners if self.stacked else ()):
            for name, parameter in one.model.named_parameters():
                parameter.grad = None if self.stacked[name].grad is None else self.stacked[name].grad[i]
        for stacked in self.stacked.values():
            stacked.grad = None

    def state(self) -> Iterator[Tensor]:
        """Yield every tensor that `work` changes for good."""
        yield self.terms
        for one in self.learners:
            yield from one.model.parameters()
            for kept in one.optimizer.state.values():
                yield from (value for value in kept.values() if isinstance(value, Tensor))
