"""The measure that decides: rolls into held-out frames, beside controls that need no equivariance."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.sequences import held_out_frames
from tvae_core.measures.catalog import MARGINS, MEASURES
from tvae_core.measures.metrics import iou
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.model.tvae import TVAE

# How near to 0 and 1 a pixel of the mean of seen frames may be.
CLAMPS = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)


def compared_frames(frames: int) -> tuple[int, list[int], list[int]]:
    """Return l0, the seen frames and the held-out frames on which all models of a table are measured.

    The last five frames (a third of a short sequence) are held out, and l0 is the anchor of the window
    that sees all others: 6, 0-12 and 13-17 for MNIST's 18 frames, 4, 0-9 and 10-14 for dSprites' 15. A model
    with a wider window, such as L = S/2, has seen the held-out frames through t_l0 too.
    """
    seen = frames - held_out_frames(frames)
    return (seen - 1) // 2, list(range(seen)), list(range(seen, frames))


def has_iou(exp: Experiment) -> bool:
    """Return whether frames are binary, so that intersection over union is measured of them."""
    return exp.data == "dsprites" or exp.binary


def roll_likelihoods(
    model: TVAE,
    exp: Experiment,
    x: Float[Tensor, "B S ch h w"],
    t: Float[Tensor, "B S C D"],
    logits: Float[Tensor, "B S ch h w"] | None = None,
) -> dict[str, Float[Tensor, " B"]]:
    """Return what t says of the frames of each sequence: decoded as it is, rolled, and with two controls.

    reconstruction: −log p(x_l | g(t_l)) over all frames. roll_seen and roll_held_out:
    −log p(x_l | g(Roll_{l - l0}(t_l0))) over the frames of compared_frames. roll_still and roll_backwards:
    the same over the held-out frames with t_l0 not rolled, and with Roll_{l0 - l}. Means in nats a frame;
    for binary frames (has_iou) also as `iou_…`, intersection over union with the true frames.
    Single frames have a reconstruction alone. logits: what t decodes to, if it is known.
    """
    anchor, seen, held_out = compared_frames(x.shape[1])
    decoded = {"reconstruction": (model.logits(t) if logits is None else logits, x)}
    if not held_out:
        return over_frames(exp, decoded)
    rolled, hidden = model.traverse(t, anchor), x[:, held_out]
    still = model.logits(t[:, anchor : anchor + 1]).expand_as(hidden)
    backwards = model.logits(model.rolls(t, anchor, step=-1)[:, held_out])
    decoded |= {
        "roll_seen": (rolled[:, seen], x[:, seen]),
        "roll_held_out": (rolled[:, held_out], hidden),
        "roll_still": (still, hidden),
        "roll_backwards": (backwards, hidden),
    }
    return over_frames(exp, decoded)


def over_frames(exp: Experiment, decoded: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Float[Tensor, " B"]]:
    """Return the mean cost of decoded frames, given as logits and true frames; of binary ones the IoU too."""
    values = {k: negative_log_likelihood(*pair, exp.likelihood).mean(1) for k, pair in decoded.items()}
    if has_iou(exp):
        values |= {f"iou_{k}": iou(*pair).mean(1) for k, pair in decoded.items()}
    return values


def baselines(exp: Experiment, x: Float[Tensor, "B S ch h w"]) -> dict[str, Float[Tensor, "B ..."]]:
    """Return the controls that need no model: the mean of a sequence's seen frames, and a copy of frame l0.

    Each stands for all held-out frames. seen_mean: the cost in nats a frame of the mean as a probability for
    each pixel, for each of CLAMPS (B, K), since a pixel of 0 or 1 that turns out otherwise would cost
    infinitely much; best_clamp chooses. Binary frames only: iou_seen_mean and iou_copy (B,).
    """
    anchor, seen, held_out = compared_frames(x.shape[1])
    if not held_out:
        return {}
    hidden, mean = x[:, held_out], x[:, seen].mean(1, keepdim=True)
    costs = [negative_log_likelihood(mean.logit(c).expand_as(hidden), hidden, exp.likelihood) for c in CLAMPS]
    values = {"seen_mean": torch.stack([cost.mean(1) for cost in costs], 1)}
    if has_iou(exp):
        shown = {"iou_seen_mean": mean, "iou_copy": x[:, anchor : anchor + 1]}
        values |= {k: iou((frame - 0.5).expand_as(hidden), hidden).mean(1) for k, frame in shown.items()}
    return values


def best_clamp(costs: Float[Tensor, "n K"], varied: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the costs at the clamp that suits the sequences of each factor best on average.

    So this control has its best chance, although the choice knows the held-out frames.
    """
    chosen = costs.new_empty(len(costs))
    for factor in varied.unique():
        member = varied == factor
        chosen[member] = costs[member, costs[member].mean(0).argmin()]
    return chosen


def margins(
    values: Mapping[str, Tensor], varied: Int[Tensor, " n"], names: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Return each roll margin by factor: the best control minus the roll into held-out frames.

    In nats a frame; for the IoU, where more is better, the roll minus the best control. The controls are
    those of catalog.MARGINS. Above 0 means that rolls carry what none of the controls can say. Means are
    taken over the sequences that vary a factor; None where there are none.
    """
    found: dict[str, dict[str, float | None]] = {}
    for key in MARGINS:
        costs = margin_costs(key, values)
        if costs is not None:
            parts = [costs[:, varied == f].mean(1).tolist() for f in range(len(names))]
            margin = [min(controls) - rolled for rolled, *controls in parts]
            found[key] = {name: None if m != m else m for name, m in zip(names, margin, strict=True)}
    return found


def margin_costs(key: str, values: Mapping[str, Tensor]) -> Float[Tensor, "K n"] | None:
    """Return what the roll and then each control of a margin cost each sequence, less being better.

    None where the roll was not measured.
    """
    rolled, controls = MARGINS[key]
    if rolled not in values:
        return None
    sign = -1 if MEASURES[rolled].better == "up" else 1
    return sign * torch.stack([values[name] for name in (rolled, *controls)])
