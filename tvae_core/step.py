"""A training step as a fixed sequence of work on the device, of one model or of several seeds at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from tvae_core.capture import Work, capture
from tvae_core.draws import reseed
from tvae_core.dsprites import SpriteSequences
from tvae_core.experiments import Experiment
from tvae_core.mnist import DigitSequences
from tvae_core.model import TVAE, Noise, Output
from tvae_core.schedule import kl_weight, learning_rate, set_learning_rate


@runtime_checkable
class Learner(Protocol):
    """What a step needs of one seed, and changes of it."""

    seed: int
    sequences: DigitSequences | SpriteSequences
    model: TVAE
    optimizer: torch.optim.Optimizer
    terms: Float[Tensor, "3"]  # sums of nll, KL z, KL u


def mean_terms(out: Output) -> Float[Tensor, "3"]:
    """nll, KL z and KL u, in nats a frame."""
    return torch.stack([out.nll.mean(), out.kl_z.mean(), out.kl_u.mean()])


def stack_parameters(models: Sequence[TVAE]) -> dict[str, Tensor]:
    """Each parameter of all models as one tensor (N, …), of which the models' own become the slices.

    So a model, and an optimizer of it, still is one by itself: saved, measured and updated alone.
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

    def __init__(self, exp: Experiment, learners: Sequence[Learner], total: int, device: torch.device):
        self.exp, self.learners, self.total, self.device = exp, learners, total, device
        self.dtype = getattr(torch, exp.precision)
        members = min(exp.batch_size, len(learners[0].sequences))
        self.index = torch.zeros(len(learners), members, dtype=torch.long, device=device)
        self.weight = torch.zeros((), device=device)  # of the KL terms
        self.generators = [torch.Generator(device) for _ in learners]
        self.stacked = stack_parameters([one.model for one in learners]) if len(learners) > 1 else {}
        self.terms = torch.stack([one.terms for one in learners])
        for one, terms in zip(learners, self.terms, strict=True):
            one.terms = terms
        self._launch: Work | None = None

    def __call__(self, number: int, members: Sequence[Int[Tensor, " B"]]) -> None:
        """Step `number`, from 0, on these members of each learner's training split."""
        if self._launch is None and self.device.type == "cuda":
            self._launch = capture(self.work, self.state, self.generators, self.device)
        self.prepare(number, members)
        (self._launch or self.work)()

    def prepare(self, number: int, members: Sequence[Int[Tensor, " B"]]) -> None:
        """Write what this step differs in; none of it waits for the device."""
        for row, index in zip(self.index, members, strict=True):
            row.copy_(index)
        self.weight.fill_(kl_weight(self.exp, number, self.total))
        for one, g in zip(self.learners, self.generators, strict=True):
            reseed(g, one.seed, "step", number)
            set_learning_rate(one.optimizer, learning_rate(self.exp, number, self.total))

    def work(self) -> None:
        """The step itself."""
        for one in self.learners:
            one.optimizer.zero_grad()
        x, noise = self.draw()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.terms_of(x, noise)
        nll, kl_z, kl_u = terms.unbind(1)
        (nll + self.weight * (kl_z + kl_u)).sum().backward()
        self.hand_out_gradients()
        for one in self.learners:
            one.optimizer.step()
        self.terms += terms.detach()

    def draw(self) -> tuple[list[Tensor], list[Noise]]:
        """The batch of each learner, and the noise of its posterior draw, in the order of a model's own."""
        batches, noise = [], []
        for one, index, g in zip(self.learners, self.index, self.generators, strict=True):
            batches.append(one.sequences.batch(index, g).x)
            noise.append(one.model.noise(batches[-1], g))
        return batches, noise

    def terms_of(self, x: list[Tensor], noise: list[Noise]) -> Float[Tensor, "N 3"]:
        """mean_terms of each learner."""
        model = self.learners[0].model
        if not self.stacked:
            return mean_terms(model(x[0], noise=noise[0])).unsqueeze(0)

        def one(parameters: Mapping[str, Tensor], x: Tensor, noise: Noise) -> Tensor:
            return mean_terms(functional_call(model, dict(parameters), (x,), {"noise": noise}))

        together = tuple(torch.stack(draws) for draws in zip(*noise, strict=True))
        return vmap(one)(self.stacked, torch.stack(x), together)

    def hand_out_gradients(self) -> None:
        """Give each model its slices of the gradients of what is stacked, made anew by every step."""
        for i, one in enumerate(self.learners if self.stacked else ()):
            for name, parameter in one.model.named_parameters():
                parameter.grad = None if self.stacked[name].grad is None else self.stacked[name].grad[i]
        for stacked in self.stacked.values():
            stacked.grad = None

    def state(self) -> Iterator[Tensor]:
        """Every tensor that `work` changes for good."""
        yield self.terms
        for one in self.learners:
            yield from one.model.parameters()
            for kept in one.optimizer.state.values():
                yield from (value for value in kept.values() if isinstance(value, Tensor))
