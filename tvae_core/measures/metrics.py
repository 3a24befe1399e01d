"""What is measured, each with its chance level.

The official code departs from these in three places: its log-likelihood takes the logsumexp per frame and
does not subtract log n; where a factor passes 0 more than once it keeps the frame whose roll is nearest to
the truth; and it measures on the training epoch. Each is offered here by name where it can be had.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tvae_core.model.torus import roll_each

Omega = Literal["first", "nearest"]


def equivariance_error(t: Float[Tensor, "B S C D"]) -> Float[Tensor, " B"]:
    """E_eq = ½ Σ_{δ=1}^{S-1} Σ_l ‖Roll_δ(t̂_l) - t̂_{(l+δ) mod S}‖₁ per sequence (paper, section 6.2).

    t̂ is t normalised to length 1 inside each capsule; the norm sums over capsules and units. 0 is exact
    equivariance, equivariance_error_at_chance the level of random directions.
    """
    s = t.shape[1]
    unit = F.normalize(t.float(), dim=-1).transpose(1, 2).flatten(0, 1)  # (B·C, S, D)
    # Undoing l rolls turns every pair's distance into one between two rows, without a loop over δ; time
    # wraps, so the rows go round twice.
    lag = torch.arange(2 * s - 1, device=t.device)
    still = roll_each(unit[:, lag % s], -lag)
    distances = torch.cdist(still[:, :s], still, p=1.0)  # (B·C, S, 2S-1)
    delta = lag - lag[:s].unsqueeze(1)
    pairs = distances * ((delta > 0) & (delta < s))
    return 0.5 * pairs.sum((1, 2)).unflatten(0, (t.shape[0], t.shape[2])).sum(1)


def equivariance_error_at_chance(frames: int, capsules: int, units: int) -> float:
    """E_eq of independent random directions: 13,269 for 18/18/18 and 6,936 for 15/15/15.

    The difference of two random unit vectors has a random direction, so its expected L1 norm is
    D · E‖a - b‖ · E|w_1|, both known in closed form through the beta distribution of their angle.
    """
    if units == 1:
        return 0.5 * frames * (frames - 1) * capsules  # ±1 against ±1: 2 half of the time
    g, d = math.lgamma, units
    length = 2 * math.exp(g(d / 2) + g(d - 1) - g(d - 0.5) - g((d - 1) / 2))
    component = math.exp(g(d / 2) - g((d + 1) / 2)) / math.sqrt(math.pi)
    return 0.5 * frames * (frames - 1) * capsules * d * length * component


def observed_roll(t_0: Float[Tensor, "N C D"], t_omega: Float[Tensor, "N C D"]) -> Int[Tensor, " N"]:
    """The shift m in 0 … D-1 that most capsules agree on (ties: the smallest).

    Per capsule the argmax over m of Σ_d t_0[d + m] t_Ω[d], periodic, by FFT.
    """
    d = t_0.shape[-1]
    spectrum = torch.fft.rfft(t_0.float()) * torch.fft.rfft(t_omega.float()).conj()
    shifts = torch.fft.irfft(spectrum, n=d).argmax(-1)
    votes = F.one_hot(shifts, d).sum(1)
    return votes.argmax(-1)  # the first of equals


def omega_rolls(
    t: Float[Tensor, "B S C D"],
    factors: Int[Tensor, "B S F"],
    varied: Int[Tensor, " B"],
    omega: Omega = "first",
) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """ObservedRoll and y_0 of each sequence; the roll is -1 where the factor never passes 0."""
    track = factors.gather(2, varied.view(-1, 1, 1).expand(-1, factors.shape[1], 1)).squeeze(2)  # (B, S)
    start, zero = track[:, 0], track == 0
    if omega == "first":
        frame = zero.int().argmax(1)
        rolls = observed_roll(t[:, 0], t[torch.arange(len(t), device=t.device), frame])
    elif omega == "nearest":
        first = t[:, :1].expand_as(t)
        rolls = observed_roll(first.flatten(0, 1), t.flatten(0, 1)).view(track.shape)
        miss = (rolls - start.unsqueeze(1)).abs().masked_fill(~zero, t.shape[-1] + track.max())
        rolls = rolls.gather(1, miss.argmin(1, keepdim=True)).squeeze(1)
    else:
        raise ValueError(f"omega {omega!r} is not one of first, nearest")
    return torch.where(zero.any(1), rolls, -1), start


def capsule_correlation(
    t: Float[Tensor, "B S C D"],
    factors: Int[Tensor, "B S F"],
    varied: Int[Tensor, " B"],
    omega: Omega = "first",
) -> Float[Tensor, " F"]:
    """CapCorr: per factor the Pearson correlation of ObservedRoll with the factor's start y_0.

    Ω is a frame at which the varied factor is 0. Where there are several, `first` takes the first, and
    `nearest` the one whose roll is nearest to y_0, as the official code does, which lifts chance level.
    Chance is not 0 with `first` either: a sequence that starts at y_0 = 0 is its own Ω, so its roll is 0
    whatever t is (capsule_correlation_at_chance: 0.17 for 15 values, 0.41 for 5).

    With `first`, perfect equivariance gives 1 for a factor that passes 0 once in S = D frames; 5 values
    looping three times in 15 frames give 0.83, since the roll of Ω is then 10 + y_0 but for y_0 = 0.
    nan where fewer than two sequences, or only one start or roll, make it undefined.
    Raises ValueError for another omega.
    """
    rolls, starts = omega_rolls(t, factors, varied, omega)
    return pearson_per_factor(rolls, starts, varied, factors.shape[2])


def pearson_per_factor(
    rolls: Int[Tensor, " B"], starts: Int[Tensor, " B"], varied: Int[Tensor, " B"], n_factors: int
) -> Float[Tensor, " F"]:
    """Pearson's r of rolls and starts over the sequences that vary each factor; rolls of -1 are left out."""
    rolls, starts, varied = rolls.cpu(), starts.cpu(), varied.cpu()  # few numbers, and MPS has no float64
    member = F.one_hot(varied, n_factors).T.double() * (rolls >= 0)  # (F, B)
    count = member.sum(1, keepdim=True)
    x, y = (v - (member @ v.double()).unsqueeze(1) / count for v in (rolls.double(), starts.double()))
    covariance = (member * x * y).sum(1)
    return (covariance / ((member * x.square()).sum(1) * (member * y.square()).sum(1)).sqrt()).float()


def capsule_correlation_at_chance(
    factors: Int[Tensor, "B S F"],
    varied: Int[Tensor, " B"],
    units: int,
    omega: Omega = "first",
    seed: int = 0,
) -> Float[Tensor, " F"]:
    """CapCorr of latents that know nothing: random directions, the mean of 50 draws on these sequences."""
    g = torch.Generator(factors.device).manual_seed(seed)
    shape = (*factors.shape[:2], 1, units)  # one capsule: its roll is uniform, as is the mode of many
    draws = [torch.randn(shape, generator=g, device=factors.device) for _ in range(50)]
    return torch.stack([capsule_correlation(t, factors, varied, omega) for t in draws]).nanmean(0)


def importance_sampled(
    log_weights: Float[Tensor, "n B S"], over: Literal["sequence", "per_frame"] = "sequence"
) -> Float[Tensor, " B"]:
    """log p(x) in nats per frame from log w = log p(x, z, u) - log q(z, u | x), n draws (Burda et al. 2016).

    `sequence`: (1/S) [logsumexp_i Σ_frames log w_i - log n], the estimate that is valid, since t couples
    the frames. `per_frame`: the mean over frames of logsumexp_i log w_i - log n, as the official code
    groups it (which leaves - log n out and so lies log 10 = 2.303 above). Both are for whole sequences.
    """
    n, _, s = log_weights.shape
    if over == "sequence":
        return (log_weights.sum(2).logsumexp(0) - math.log(n)) / s
    if over == "per_frame":
        return (log_weights.logsumexp(0) - math.log(n)).mean(1)
    raise ValueError(f"log p(x) over {over!r} is not one of sequence, per_frame")


def overlap(logits: Float[Tensor, "B S ch h w"], x: Float[Tensor, "B S ch h w"]) -> Float[Tensor, "B S"]:
    """Intersection over union of the pixels above one half, decoded and true, per frame; 1 if none are."""
    decoded, true = (logits > 0).flatten(2), (x > 0.5).flatten(2)
    union = (decoded | true).sum(-1)
    return torch.where(union > 0, (decoded & true).sum(-1) / union.clamp(min=1), 1.0)


def selectivity(
    responses: Float[Tensor, "N U"], labels: Int[Tensor, " N"], classes: int = 10
) -> Float[Tensor, "K U"]:
    """d′ of each unit for each class: (mean inside - mean outside) / sqrt of the mean of both variances.

    responses (N, U), labels (N,) → (classes, U); 0 is chance, and a unit counts as selective from 0.85.
    nan for a class with fewer than two members.
    """
    member = F.one_hot(labels, classes).T.to(responses.dtype)  # (K, N)
    sums, squares = responses.sum(0), responses.square().sum(0)

    def moments(count: Tensor, total: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        mean = total / count
        return mean, (square - count * mean.square()) / (count - 1)

    inside_sum, inside_square = member @ responses, member @ responses.square()
    count = member.sum(1, keepdim=True)
    mean_in, var_in = moments(count, inside_sum, inside_square)
    mean_out, var_out = moments(len(labels) - count, sums - inside_sum, squares - inside_square)
    return (mean_in - mean_out) / (0.5 * (var_in + var_out)).clamp(min=1e-12).sqrt()
