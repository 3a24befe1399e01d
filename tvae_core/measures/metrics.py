"""The formulas of the measures, and the chance levels of E_eq and CapCorr.

The official code departs from these in three places: its log-likelihood takes the logsumexp per frame and
does not subtract log n; where a factor passes 0 more than once it keeps the frame whose roll is nearest to
the truth; and it measures on the training epoch. The first two are offered here by name.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tvae_core.model.torus import roll_each
from tvae_core.validation import check_choice, check_number, check_tensors, check_values

Omega = Literal["first", "nearest"]


def equivariance_error(
    t: Float[Tensor, "B S C D"],
    partner: Float[Tensor, "B S C D"] | None = None,
    centred: bool = False,
    closed: bool = True,
) -> Float[Tensor, " B"]:
    """Return E_eq of each sequence, the distance of its latents from rolls of one another.

    E_eq = ½ Σ_{δ=1}^{S-1} Σ_l ‖Roll_δ(t̂_l) - t̂_{(l+δ) mod S}‖₁ (paper, section 6.2). t̂ is t normalised to
    length 1 inside each capsule; the norm sums over capsules and units. 0 is exact equivariance.

    t: latents (B, S, C, D). partner: latents that take the place of t̂_{(l+δ) mod S}; those of other sequences
    give the chance level of a model, which depends on how alike all its latents are. centred: whether the
    mean over a capsule's units is taken out before normalising. closed: whether time wraps. If not, the sum
    is over all pairs l < l + δ and not halved, which is the same number for closed sequences with S = D.
    Raises ValueError for other shapes and types, and on a CPU for values that are not finite.

    >>> equivariance_error(torch.eye(6).view(1, 6, 1, 6))  # a peak that moves by one unit a frame
    tensor([0.])
    """
    partner = t if partner is None else partner
    s = check_tensors(t=(t, "float B S C D"), partner=(partner, "float B S C D"))["S"]
    check_values(t=t, partner=partner)
    rolled, target = (_directions(x, centred) for x in (t, partner))
    # Undoing l rolls turns every pair's distance into one between two rows, without a loop over δ; time
    # wraps, so the rows go round twice.
    lag = torch.arange(2 * s - 1, device=t.device)
    still = roll_each(rolled, -lag[:s])
    distances = torch.cdist(still, roll_each(target[:, lag % s], -lag), p=1.0)  # (B·C, S, 2S-1)
    delta = lag - lag[:s].unsqueeze(1)
    pairs = distances * ((delta > 0) & (delta < s) & (closed | (lag < s)))
    return (0.5 if closed else 1.0) * pairs.sum((1, 2)).unflatten(0, (t.shape[0], t.shape[2])).sum(1)


def _directions(t: Float[Tensor, "B S C D"], centred: bool) -> Float[Tensor, "BC S D"]:
    t = t - t.mean(-1, keepdim=True) if centred else t
    return F.normalize(t.float(), dim=-1).transpose(1, 2).flatten(0, 1)


def equivariance_error_at_chance(frames: int, capsules: int, units: int, centred: bool = False) -> float:
    """Return E_eq of independent random directions: 13,270.7 for 18/18/18 and 6,936.5 for 15/15/15.

    The difference of two random unit vectors has a random direction, so its expected L1 norm is
    D · E‖a - b‖ · E|w_1|. Both expectations have closed forms, through the beta distribution of the angle.
    Centred directions fill the D - 1 dimensions across (1, …, 1), where each coordinate of w is
    sqrt((D - 1) / D) of a coordinate in those dimensions. Raises ValueError for numbers below 1.
    """
    for what, number in (("frames", frames), ("capsules", capsules), ("units", units)):
        check_number(what, number, least=1)
    d = units - centred
    if d == 0:
        return 0.0
    pairs = 0.5 * frames * (frames - 1) * capsules
    g = math.lgamma
    length = 1.0 if d == 1 else 2 * math.exp(g(d / 2) + g(d - 1) - g(d - 0.5) - g((d - 1) / 2))
    component = math.exp(g(d / 2) - g((d + 1) / 2)) / math.sqrt(math.pi)
    return pairs * units * math.sqrt(d / units) * length * component


def observed_roll(t_0: Float[Tensor, "N C D"], t_omega: Float[Tensor, "N C D"]) -> Int[Tensor, " N"]:
    """Return the shift m in 0 … D-1 that most capsules agree on (ties: the smallest), for N pairs of frames.

    A capsule's shift is the argmax over m of Σ_d t_0[d + m] t_Ω[d], periodic, by FFT.
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
    """Return ObservedRoll and y_0 of each sequence (capsule_correlation); the roll is -1 without Ω.

    Raises ValueError as capsule_correlation does.
    """
    check_choice(omega, ("first", "nearest"), "omega")
    sizes = check_tensors(
        t=(t, "float B S C D"), factors=(factors, "whole B S F"), varied=(varied, "whole B")
    )
    check_values(t=t)
    check_values(0, factors=factors)
    check_values(0, sizes["F"] - 1, varied=varied)
    track = factors.gather(2, varied.view(-1, 1, 1).expand(-1, factors.shape[1], 1)).squeeze(2)  # (B, S)
    start, zero = track[:, 0], track == 0
    if omega == "first":
        n = factors.amax((0, 1))[varied] + 1
        frame = zero.int().argmax(1)
        m = observed_roll(t[:, 0], t[torch.arange(len(t), device=t.device), frame])
        rolls = -(-m % t.shape[-1]) % n
    else:
        first = t[:, :1].expand_as(t)
        rolls = observed_roll(first.flatten(0, 1), t.flatten(0, 1)).view(track.shape)
        miss = (rolls - start.unsqueeze(1)).abs().masked_fill(~zero, torch.iinfo(rolls.dtype).max)
        rolls = rolls.gather(1, miss.argmin(1, keepdim=True)).squeeze(1)
    return torch.where(zero.any(1), rolls, -1), start


def capsule_correlation(
    t: Float[Tensor, "B S C D"],
    factors: Int[Tensor, "B S F"],
    varied: Int[Tensor, " B"],
    omega: Omega = "first",
) -> Float[Tensor, " F"]:
    """Return CapCorr per factor: Pearson's r of ObservedRoll with the factor's start y_0.

    Ω is a frame at which the varied factor is 0, and m the shift that most capsules agree on
    (observed_roll of t_0 against t_Ω). A factor of n values that moves by one each frame reaches 0 after
    Ω = -y_0 mod n frames, and equivariance rolls t forward by as much. So

        ObservedRoll = -(-m mod D) mod n,

    which is m itself where n = D, as the paper has it, and is y_0 for exact equivariance also where a factor
    goes round several times: m mod 5 for the 5 scales in the 15 frames of dSprites. The official code keeps
    m, and where there are several Ω that of the roll nearest to y_0, which lifts chance level: this is
    omega = `nearest`. `first`, the default, takes the first Ω.

    Chance is not 0 with `first` either: a sequence that starts at y_0 = 0 is its own Ω, so its roll is 0
    whatever t is (capsule_correlation_at_chance: 0.17 for 15 values, 0.38 for 5).

    t: latents (B, S, C, D). factors: (B, S, F), the index of each factor's value in each frame. varied: (B,),
    which factor moves. n is one more than the factor's largest index: a walk that comes to 0 comes from
    n - 1, so no sample with an Ω hides it. nan where fewer than two sequences, or only one start or roll,
    make it undefined. Raises ValueError for another omega, other shapes and types, and on a CPU for values
    that are not finite or factors that are not there.

    >>> values = (torch.tensor([[1], [2], [5]]) + torch.arange(6)) % 6  # of one factor, in three sequences
    >>> t = F.one_hot(values, 6).float().unsqueeze(2)  # one capsule whose peak is at the value
    >>> capsule_correlation(t, values.unsqueeze(2), torch.tensor([0, 0, 0]))
    tensor([1.])
    """
    rolls, starts = omega_rolls(t, factors, varied, omega)
    return pearson_per_factor(rolls, starts, varied, factors.shape[2])


def pearson_per_factor(
    rolls: Int[Tensor, " B"], starts: Int[Tensor, " B"], varied: Int[Tensor, " B"], n_factors: int
) -> Float[Tensor, " F"]:
    """Return Pearson's r of rolls and starts for each factor that is varied; rolls of -1 are left out."""
    pairs = torch.stack([rolls, starts]).cpu().double()  # few numbers, and MPS has no float64
    members = [((varied == f) & (rolls >= 0)).cpu() for f in range(n_factors)]
    r = [torch.corrcoef(pairs[:, m])[0, 1].item() if m.sum() > 1 else math.nan for m in members]
    return torch.tensor(r)


def capsule_correlation_at_chance(
    factors: Int[Tensor, "B S F"],
    varied: Int[Tensor, " B"],
    units: int,
    omega: Omega = "first",
    seed: int = 0,
) -> Float[Tensor, " F"]:
    """Return CapCorr of random directions of `units` units: the mean of 50 draws on these sequences."""
    g = torch.Generator(factors.device).manual_seed(seed)
    shape = (*factors.shape[:2], 1, units)  # one capsule: its roll is uniform, as is the mode of many
    draws = [torch.randn(shape, generator=g, device=factors.device) for _ in range(50)]
    return torch.stack([capsule_correlation(t, factors, varied, omega) for t in draws]).nanmean(0)


def importance_sampled(
    log_weights: Float[Tensor, "n B S"], over: Literal["sequence", "per_frame"] = "sequence"
) -> Float[Tensor, " B"]:
    """Return IWAE-n of each sequence in nats a frame, from n importance weights (Burda et al. 2016).

    log w = log p(x, z, u) - log q(z, u | x). `sequence`: (1/S) [logsumexp_i Σ_frames log w_i - log n], a
    lower bound of log p(x) whose expectation rises with n; ten draws leave it far from log p(x). `per_frame`:
    the mean over frames of logsumexp_i log w_i - log n, as the official code groups the draws (it leaves
    - log n out and so lies log 10 = 2.303 above). For L > 0 t couples the frames, and `per_frame` is no
    bound. Raises ValueError for another grouping, and for weights of another shape or of no draw.
    """
    check_choice(over, ("sequence", "per_frame"), "over")
    n, _, s = check_tensors(log_weights=(log_weights, "float n B S")).values()
    if over == "sequence":
        return (log_weights.sum(2).logsumexp(0) - math.log(n)) / s
    return (log_weights.logsumexp(0) - math.log(n)).mean(1)


def iou(logits: Float[Tensor, "B S ch h w"], x: Float[Tensor, "B S ch h w"]) -> Float[Tensor, "B S"]:
    """Return intersection over union of the pixels above one half, decoded and true, per frame; 1 if none.

    Raises ValueError for images of different shapes.
    """
    check_tensors(logits=(logits, "float B S ch h w"), x=(x, "float B S ch h w"))
    decoded, true = (logits > 0).flatten(2), (x > 0.5).flatten(2)
    union = (decoded | true).sum(-1)
    return torch.where(union > 0, (decoded & true).sum(-1) / union, 1.0)


def selectivity(
    responses: Float[Tensor, "N U"], labels: Int[Tensor, " N"], classes: int = 10
) -> Float[Tensor, "K U"]:
    """Return d′ of each unit for each class: (mean inside - mean outside) / sqrt(mean of both variances).

    responses (N, U), labels (N,) → (classes, U). 0 is chance, and a unit counts as selective from 0.85. nan
    for a class with fewer than two members, or all but one. Raises ValueError for other shapes or classes.
    """
    check_tensors(responses=(responses, "float N U"), labels=(labels, "whole N"))
    check_values(0, classes - 1, labels=labels)
    result = responses.new_full((classes, responses.shape[1]), math.nan)
    for k in range(classes):
        inside, outside = responses[labels == k], responses[labels != k]
        if min(len(inside), len(outside)) > 1:
            spread = (0.5 * (inside.var(0) + outside.var(0))).clamp(min=1e-12).sqrt()
            result[k] = (inside.mean(0) - outside.mean(0)) / spread
    return result
