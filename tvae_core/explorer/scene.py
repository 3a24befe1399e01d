"""One sequence seen by one trained model: encoded once, rolled as often as one likes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.mnist import TOGETHER, DigitSequences
from tvae_core.data.sequences import Batch
from tvae_core.measures.evaluation import roll_likelihoods
from tvae_core.measures.metrics import capsule_correlation, capsule_correlation_at_chance, equivariance_error
from tvae_core.model.torus import roll_smoothly
from tvae_core.model.tvae import TVAE
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice

STEPS = 4  # of a roll, for each unit


@dataclass(frozen=True, eq=False)
class EncodedSequence:
    """A sequence of S frames with what the encoder makes of it, at E[z] and E[u²] (TVAE.latents)."""

    exp: Experiment
    model: TVAE
    batch: Batch  # of this one sequence
    t: Float[Tensor, "S C D"]
    u_squared: Float[Tensor, "S C D"] | None  # None for the plain VAE
    v: Float[Tensor, "S C D"] | None
    reconstruction: Float[Tensor, "S ch h w"]
    title: str = ""  # which transformation it is

    @property
    def frames(self) -> Float[Tensor, "S ch h w"]:
        """The input, values in [0, 1]."""
        return self.batch.x[0]

    @property
    def shifts(self) -> list[float]:
        """All rolls that are looked at: one turn of all frames from -l0 on, in quarters of a unit."""
        return [step / STEPS - self.exp.anchor for step in range(len(self.t) * STEPS)]

    @property
    def range_of_t(self) -> tuple[float, float]:
        """The least and the largest t of the sequence."""
        return self.t.min().item(), self.t.max().item()

    def listens_to(self, frame: int, unit: int) -> Float[Tensor, "S D"]:
        """W of one unit: with which weight u² of each frame and unit enters its v (the sum over axes)."""
        s, _, d = self.t.shape
        return self.model.grouper.matrices.detach().sum(0)[frame * d + unit].view(s, d)

    def frame_at(self, shift: float) -> int:
        """The frame that a roll by so much should look like: the nearest, time wrapping round."""
        return round(self.exp.anchor + shift) % len(self.t)

    def rolled(self, shifts: Sequence[float], capsules: Sequence[int] | None = None) -> Tensor:
        """Roll_δ(t_l0) for n shifts → (n, C, D); of the named capsules alone, while the others stand still.

        A capsule of several dimensions is rolled along its first axis. Raises ValueError for a capsule
        that is not there.
        """
        c = self.t.shape[1]
        chosen = range(c) if capsules is None else capsules
        for capsule in chosen:
            if not 0 <= capsule < c:
                raise ValueError(f"capsule {capsule} is not one of 0 to {c - 1}")
        moving = torch.zeros(c).index_fill(0, torch.tensor(list(chosen), dtype=torch.long), 1.0)
        by = torch.tensor(shifts, dtype=torch.float32).unsqueeze(1) * moving
        grouper = self.model.grouper
        return roll_smoothly(self.t[self.exp.anchor], by, 0, grouper.capsule if grouper else None)

    @torch.inference_mode()
    def decode(self, t: Float[Tensor, "n C D"]) -> Float[Tensor, "n ch h w"]:
        """What the decoder makes of n latents, all at once: pixel probabilities."""
        return self.model.decode(t.unsqueeze(0))[0]

    def reel(self, capsules: Sequence[int] | None = None) -> Float[Tensor, "n ch h w"]:
        """The frames decoded from all `shifts` of the named capsules (of every one if None), in one batch."""
        return self.decode(self.rolled(self.shifts, capsules))

    @torch.inference_mode()
    def measures(self) -> dict[str, float | None]:
        """The measures of this very sequence, without posterior noise; nats a frame (E_eq: a sequence).

        Those of rolls are named as in evaluate. `capcorr` is CapCorr (first Ω) over the S sequences that
        walk through the same frames and start at each of them. None where a measure is not defined.
        """
        t, starts = self.t.unsqueeze(0), self.t[self._turns]
        values = {k: v.item() for k, v in roll_likelihoods(self.model, self.exp, self.batch.x, t).items()}
        r = capsule_correlation(starts, *self._factors)[int(self.batch.varied)].item()
        values |= {"e_eq": equivariance_error(t).item(), "capcorr": None if r != r else r}
        return {"reconstruction": None, "roll_seen": None, "roll_held_out": None, **values}

    def capcorr_at_chance(self) -> float:
        """What `capcorr` is of latents that know nothing."""
        return capsule_correlation_at_chance(*self._factors, self.t.shape[2])[int(self.batch.varied)].item()

    @property
    def _turns(self) -> Int[Tensor, "S S"]:
        s = len(self.t)
        return (torch.arange(s) + torch.arange(s).unsqueeze(1)) % s

    @property
    def _factors(self) -> tuple[Int[Tensor, "S S F"], Int[Tensor, " S"]]:
        return self.batch.factors[0, self._turns], self.batch.varied.expand(len(self.t))


@dataclass(frozen=True, eq=False)
class RollState:
    """A state of the controls: which scene, what is rolled, and how far. Moving the roll decodes nothing."""

    scene: EncodedSequence
    reel: Float[Tensor, "n ch h w"]  # scene.reel(capsules)
    capsules: Sequence[int] | None = None  # those that roll; None: every one
    shift: float = 0.0

    @property
    def frame(self) -> int:
        """The frame of the input to hold the roll against."""
        return self.scene.frame_at(self.shift)

    @property
    def t(self) -> Float[Tensor, "C D"]:
        """The rolled latents."""
        return self.scene.rolled([self.shift], self.capsules)[0]

    @property
    def decoded(self) -> Float[Tensor, "ch h w"]:
        """What the decoder made of them."""
        return self.reel[round((self.shift + self.scene.exp.anchor) * STEPS)]

    def at(self, shift: float) -> "View":
        """The same at another roll. Raises ValueError for one that is not among the scene's shifts."""
        first, *_, last = self.scene.shifts
        if not first <= shift <= last or shift * STEPS % 1:
            raise ValueError(f"roll {shift:g} is not one of {first:g} to {last:g} in steps of {1 / STEPS:g}")
        return replace(self, shift=shift)

    def moving(self, capsules: Sequence[int] | None) -> "View":
        """The same with other capsules rolling."""
        return replace(self, reel=self.scene.reel(capsules), capsules=capsules)


def view(run: Run, image: int = 0, factor: str = "", capsules: Sequence[int] | None = None) -> RollState:
    """A test sequence of a run (sequence_of), encoded and rolled: all that has to be computed to look."""
    factor = check_choice(factor or factors_of(run)[0], factors_of(run), "transformation")
    scene = look(run.exp, run.model, sequence_of(run, image, factor), title_of(run, factor))
    return RollState(scene, scene.reel(capsules), capsules)


@torch.inference_mode()
def look(exp: Experiment, model: TVAE, batch: Batch, title: str = "") -> EncodedSequence:
    """Encode one sequence once. Raises ValueError if it is not one, or not one the model can see."""
    if len(batch.x) != 1 or tuple(batch.x.shape[2:]) != model.image_shape:
        raise ValueError(f"frames of shape {tuple(batch.x.shape)} are not one sequence for {exp.name}")
    q_z, q_u = model.encode(batch.x)
    u_squared = q_u.mean.square() + q_u.logvar.exp() if q_u else None
    t = model.group(q_z.mean, u_squared.sqrt() if q_u else None)
    v = model.grouper.energy(u_squared.sqrt()).sum(0)[0] if q_u else None
    return EncodedSequence(
        exp, model, batch, t[0], u_squared[0] if q_u else None, v, model.decode(t)[0], title
    )


def factors_of(run: Run) -> tuple[str, ...]:
    """The transformations of a run's sequences. Raises ValueError for data of single frames."""
    if run.exp.n_transforms == 1:
        raise ValueError(f"{run.exp.name} sees single frames, so there is no sequence to roll")
    return run.data.test.varying


def title_of(run: Run, factor: str) -> str:
    """What happens in a run's sequences that are named by a factor, which may bring another one along."""
    return TOGETHER.get(getattr(run.data.test, "kind", ""), factor)


def sequence_of(run: Run, image: int, factor: str) -> Batch:
    """One test sequence of a run's data, the image by its place in the split.

    Raises ValueError for an image or a factor that is not there, or for data of single frames.
    """
    factors, sequences = factors_of(run), run.data.test
    if not 0 <= image < len(sequences):
        raise ValueError(f"image {image} is not one of 0 to {len(sequences) - 1}")
    return sequences.sequence(
        torch.tensor([image]), factors.index(check_choice(factor, factors, "transformation"))
    )


class OwnDigit(NamedTuple):
    """A digit that is not in any data set, and how it is to change."""

    digit: UInt8[Tensor, "28 28"]
    factor: str


def encode_own_digit(run: Run, own: OwnDigit) -> EncodedSequence:
    """The sequence of a digit as a run's data would have it, encoded.

    Raises ValueError for a run that does not see digits, and for a transformation that its data lack.
    """
    sequences = run.data.test
    if not isinstance(sequences, DigitSequences):
        raise ValueError(f"{run.exp.name} sees sprites, not digits; choose a run on MNIST above")
    varied = factors_of(run).index(check_choice(own.factor, factors_of(run), "transformation"))
    alone = copy.copy(sequences)
    alone.images, alone.labels = own.digit.unsqueeze(0), torch.zeros(1, dtype=torch.long)
    batch = alone.sequence(torch.tensor([0]), varied)
    return look(run.exp, run.model, batch, f"{title_of(run, own.factor)}, own digit")
