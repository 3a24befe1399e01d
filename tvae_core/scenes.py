"""One sequence seen by one trained model: encoded once, rolled as often as one likes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.choices import require
from tvae_core.evaluation import rolled
from tvae_core.experiments import Experiment
from tvae_core.metrics import capsule_correlation, equivariance_error
from tvae_core.model import TVAE
from tvae_core.runs import Run
from tvae_core.sequences import Batch
from tvae_core.torus import roll_smoothly

SCALES = ("smoke", "quick", "paper")  # from the least trained to the most


@dataclass(frozen=True)
class Scene:
    """A sequence of S frames with what the encoder makes of it, at E[z] and E[u²] (TVAE.latents)."""

    exp: Experiment
    model: TVAE
    batch: Batch  # of this one sequence
    t: Float[Tensor, "S C D"]
    u_squared: Float[Tensor, "S C D"] | None  # None for the plain VAE
    v: Float[Tensor, "S C D"] | None
    reconstruction: Float[Tensor, "S ch h w"]

    @property
    def frames(self) -> Float[Tensor, "S ch h w"]:
        """The input, values in [0, 1]."""
        return self.batch.x[0]

    @property
    def span(self) -> tuple[int, int]:
        """The first roll and the last one, one whole turn of all frames: -l0 and S - l0."""
        return -self.exp.anchor, len(self.t) - self.exp.anchor

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

    def rolls(self, shift: float, capsules: Sequence[int] | None = None) -> Float[Tensor, "n ch h w"]:
        """The frame decoded from the roll by `shift`, then those of the roll that reaches each frame."""
        first, last = self.span
        return self.decode(self.rolled([shift, *range(first, last)], capsules))

    @torch.inference_mode()
    def measures(self) -> dict[str, float | None]:
        """The measures of this very sequence, without posterior noise; nats a frame (E_eq: a sequence).

        Those of rolls are named as in evaluate. `capcorr` is CapCorr (first Ω) over the S sequences that
        walk through the same frames and start at each of them. None where a measure is not defined.
        """
        t, s = self.t.unsqueeze(0), len(self.t)
        values = {k: v.item() for k, v in rolled(self.model, self.exp, self.batch.x, t).items()}
        turns = [(torch.arange(s) + start) % s for start in range(s)]
        starts = torch.stack([self.t[turn] for turn in turns])
        factors = torch.stack([self.batch.factors[0, turn] for turn in turns])
        varied = self.batch.varied.expand(s)
        r = capsule_correlation(starts, factors, varied)[int(self.batch.varied)].item()
        values |= {"e_eq": equivariance_error(t).item(), "capcorr": None if r != r else r}
        return {"reconstruction": None, "roll_seen": None, "roll_held_out": None, **values}


@torch.inference_mode()
def look(exp: Experiment, model: TVAE, batch: Batch) -> Scene:
    """Encode one sequence once. Raises ValueError if it is not one, or not one the model can see."""
    if len(batch.x) != 1 or tuple(batch.x.shape[2:]) != model.image_shape:
        raise ValueError(f"frames of shape {tuple(batch.x.shape)} are not one sequence for {exp.name}")
    q_z, q_u = model.encode(batch.x)
    u_squared = q_u.mean.square() + q_u.logvar.exp() if q_u else None
    t = model.group(q_z.mean, u_squared.sqrt() if q_u else None)
    v = model.grouper.energy(u_squared.sqrt()).sum(0)[0] if q_u else None
    return Scene(exp, model, batch, t[0], u_squared[0] if q_u else None, v, model.decode(t)[0])


def sequence_of(run: Run, image: int = 0, factor: str = "") -> Batch:
    """One test sequence of a run's data, image by its place in the split; the first factor unless named.

    Raises ValueError for an image or a factor that is not there, or for data of single frames.
    """
    sequences = run.exp.build_sequences("test", run.seed)
    if not sequences.varying:
        raise ValueError(f"{run.exp.name} sees single frames, so there is no sequence to roll")
    if not 0 <= image < len(sequences):
        raise ValueError(f"image {image} is not one of 0 to {len(sequences) - 1}")
    factor = require(factor or sequences.varying[0], sequences.varying, "transformation")
    return sequences.sequence(torch.tensor([image]), sequences.varying.index(factor))


def share_of_the_way(run: Run) -> float:
    """How far a run's rolls come from the mean frame (0) to its reconstruction (1), in held-out frames.

    Of a run that holds none out how far its rolls into seen frames come; -inf where there are no rolls.
    """
    trained, worst = run.results["trained"], run.results["chance"].get("roll_held_out")
    best = trained.get("reconstruction")
    rolled = trained.get("roll_held_out") or trained.get("roll_seen")
    if None in (worst, best, rolled) or best >= worst:
        return float("-inf")
    return (worst - rolled) / (worst - best)


def rollable(runs: Sequence[Run]) -> list[Run]:
    """Those of sequences, best first: of the largest scale, and there those whose rolls come furthest.

    A run that holds frames out goes before one that does not, since only the first can be wrong.
    """
    moving = [run for run in runs if run.exp.n_transforms > 1]
    order = {
        run.folder: (SCALES.index(run.exp.scale), bool(run.exp.held_out), share_of_the_way(run)) for run in moving
    }
    return sorted(moving, key=lambda run: order[run.folder], reverse=True)
