"""Encode one sequence with a trained model once, then roll its capsules as often as needed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.mnist import DigitSequences
from tvae_core.data.sequences import Batch
from tvae_core.measures.metrics import capsule_correlation, capsule_correlation_at_chance, equivariance_error
from tvae_core.measures.rolls import baselines, best_clamp, margins, roll_likelihoods
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.model.torus import roll_smoothly
from tvae_core.model.tvae import TVAE
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice

STEPS = 4  # shifts for each unit of a roll


@dataclass(frozen=True, eq=False)
class EncodedSequence:
    """A sequence of S frames and its latents at E[z] and E[u²] (TVAE.latents)."""

    exp: Experiment
    model: TVAE
    batch: Batch  # of this one sequence
    t: Float[Tensor, "S C D"]
    u_squared: Float[Tensor, "S C D"] | None  # None for the plain VAE
    v: Float[Tensor, "S C D"] | None
    reconstruction: Float[Tensor, "S ch h w"]
    title: str = ""  # the name of the transformation

    @property
    def frames(self) -> Float[Tensor, "S ch h w"]:
        """The input, values in [0, 1]."""
        return self.batch.x[0]

    @property
    def shifts(self) -> list[float]:
        """The rolls δ that can be shown: from -l0 on, once over all frames, in quarters of a unit."""
        return (torch.arange(len(self.t) * STEPS) / STEPS - self.exp.anchor).tolist()

    @property
    def range_of_t(self) -> tuple[float, float]:
        """The smallest and the largest t of the sequence."""
        return self.t.min().item(), self.t.max().item()

    def weights_of(self, frame: int, unit: int) -> Float[Tensor, "S D"]:
        """Return W of one unit: the weight of each frame's and unit's u² in its v (summed over axes)."""
        s, _, d = self.t.shape
        return self.model.grouper.matrices.detach().sum(0)[frame * d + unit].view(s, d)

    def roll_capsules(
        self, shifts: Sequence[float], capsules: Sequence[int] | None = None
    ) -> Float[Tensor, "n C D"]:
        """Return Roll_δ(t_l0) for n shifts δ, of the named capsules (None: all); the others stay as they are.

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
        """Decode n latents at once to pixel probabilities."""
        return self.model.decode(t.unsqueeze(0))[0]

    def roll(self, capsules: Sequence[int] | None = None) -> "RollState":
        """Decode all `shifts` of the named capsules (None: all) in one batch, and start at roll 0."""
        return RollState(self, self.decode(self.roll_capsules(self.shifts, capsules)), capsules)

    @torch.inference_mode()
    def measures(self) -> dict[str, float | None]:
        """Return the measures of this one sequence at E[z] and E[u²], in nats/frame (E_eq: L1 a sequence).

        Keys are those of `evaluate`. `capcorr_first` is over the S sequences that show the same frames and
        start at each of them. None where a measure is not defined.
        """
        x, varied, t = self.batch.x, self.batch.varied, self.t.unsqueeze(0)
        values = roll_likelihoods(self.model, self.exp, x, t) | baselines(self.exp, x)
        error = equivariance_error(t, closed=self.exp.closed)
        values |= {"e_eq": error, "seen_mean": best_clamp(values["seen_mean"], varied)}
        rows = margins(values, varied, [str(f) for f in range(self.batch.factors.shape[2])])
        r = capsule_correlation(self.t[self._starts], *self._factors)[int(varied)].item()
        found = {key: value.item() for key, value in values.items()}
        found |= {key: row[str(int(varied))] for key, row in rows.items()}
        return found | {"capcorr_first": r if self.exp.closed and r == r else None}

    def chance_of_capcorr(self) -> float:
        """Return the chance level of `capcorr`."""
        return capsule_correlation_at_chance(*self._factors, self.t.shape[2])[int(self.batch.varied)].item()

    @property
    def _starts(self) -> Int[Tensor, "S S"]:
        s = len(self.t)
        return (torch.arange(s) + torch.arange(s).unsqueeze(1)) % s

    @property
    def _factors(self) -> tuple[Int[Tensor, "S S F"], Int[Tensor, " S"]]:
        return self.batch.factors[0, self._starts], self.batch.varied.expand(len(self.t))


@dataclass(frozen=True, eq=False)
class RollState:
    """What the controls are set to: the sequence, the capsules that roll, and the shift δ."""

    sequence: EncodedSequence
    decoded_rolls: Float[Tensor, "n ch h w"]  # one frame for each of sequence.shifts
    capsules: Sequence[int] | None = None  # None: all
    shift: float = 0.0

    @property
    def position(self) -> float:
        """The frame that the roll has reached, l0 + δ; a fraction is between two frames."""
        return self.sequence.exp.anchor + self.shift

    @property
    def frame(self) -> int:
        """The frame of the input that the roll should look like: the nearest, time wrapping round."""
        return int(self.position + 0.5) % len(self.sequence.t)

    @property
    def held_out(self) -> bool:
        """Whether t of l0 never saw that frame."""
        return self.frame in self.sequence.exp.held_out

    @property
    def t(self) -> Float[Tensor, "C D"]:
        """The rolled latents."""
        return self.sequence.roll_capsules([self.shift], self.capsules)[0]

    @property
    def decoded(self) -> Float[Tensor, "ch h w"]:
        """The frame decoded from the rolled latents."""
        return self.decoded_rolls[round(self.position * STEPS)]

    @property
    @torch.inference_mode()
    def cost(self) -> float:
        """-log p of the frame that the roll should look like, given the decoded frame, in nats."""
        exp, truth = self.sequence.exp, self.sequence.batch.x[:, [self.frame]]
        logits = self.sequence.model.logits(self.t[None, None])
        return negative_log_likelihood(logits, truth, exp.likelihood).item()

    def at(self, shift: float) -> "RollState":
        """Return the state at another shift. Raises ValueError for one that is not in sequence.shifts."""
        first, *_, last = self.sequence.shifts
        if not first <= shift <= last or shift * STEPS % 1:
            raise ValueError(f"roll {shift:g} is not one of {first:g} to {last:g} in steps of {1 / STEPS:g}")
        return replace(self, shift=shift)

    def with_capsules(self, capsules: Sequence[int] | None) -> "RollState":
        """Return the state with other capsules rolling (None: all)."""
        return replace(self.sequence.roll(capsules), shift=self.shift)


def open_sequence(
    run: Run,
    image: int = 0,
    factor: str = "",
    capsules: Sequence[int] | None = None,
    start: torch.Generator | None = None,
) -> RollState:
    """Encode a test sequence of a run and decode its rolls.

    `image` is a place in the test split; `factor` is a transformation of the run's data, by default the
    first; `start` draws where the sequence starts, and the factors that stand still. Raises ValueError for
    an image, a factor or a capsule that is not there, and for data of single frames.
    """
    factor = check_choice(factor or factors_of(run)[0], factors_of(run), "transformation")
    sequences = run.data.test
    if not 0 <= image < len(sequences):
        raise ValueError(f"image {image} is not one of 0 to {len(sequences) - 1}")
    batch = sequences.sequence(torch.tensor([image]), factors_of(run).index(factor), start)
    return encode_sequence(run.exp, run.model, batch, title_of(run, factor)).roll(capsules)


@torch.inference_mode()
def encode_sequence(exp: Experiment, model: TVAE, batch: Batch, title: str = "") -> EncodedSequence:
    """Encode one sequence. Raises ValueError for more than one, or for frames of another shape."""
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
    """Return the transformations of a run's sequences. Raises ValueError for data of single frames."""
    if run.exp.n_transforms == 1:
        raise ValueError(f"{run.exp.name} sees single frames, so there is no sequence to roll")
    return run.data.test.varying


def run_title(run: Run) -> str:
    """Name a run in words."""
    return f"{run.title}, {run.exp.dataset} · {run.exp.scale} · seed {run.exp.seed}"


def title_of(run: Run, factor: str) -> str:
    """Name the transformation of a sequence in words; a factor may bring another one along."""
    return run.data.test.title(factor)


Digit = UInt8[Tensor, "28 28"]


class OwnDigit(NamedTuple):
    """A digit that is in no data set, and its transformation."""

    digit: Digit
    factor: str


def sees_digits(run: Run) -> bool:
    """Return whether a run's sequences are made of digits."""
    return isinstance(run.data.test, DigitSequences)


def encode_own_digit(run: Run, own: OwnDigit) -> EncodedSequence:
    """Make a sequence of a digit as the run's data do, and encode it.

    Raises ValueError for a run that does not see digits, and for a transformation that its data lack.
    """
    sequences = run.data.test
    if not sees_digits(run):
        raise ValueError(f"{run.exp.name} does not see digits; choose a run on MNIST above")
    varied = factors_of(run).index(check_choice(own.factor, factors_of(run), "transformation"))
    alone = copy.copy(sequences)
    alone.images, alone.labels = own.digit.unsqueeze(0), torch.zeros(1, dtype=torch.long)
    batch = alone.sequence(torch.tensor([0]), varied)
    return encode_sequence(run.exp, run.model, batch, f"{title_of(run, own.factor)}, own digit")
