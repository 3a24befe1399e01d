"""The table of measures: what each is called, its unit, and which direction is better."""

from collections.abc import Mapping
from typing import NamedTuple

from tvae_core.data import dsprites, mnist

NATS = "nats/frame"
ARROWS = {"up": " ↑", "down": " ↓", "": ""}  # after a heading: where its better values lie


class Measure(NamedTuple):
    """One measure of a model: its key in `results.json`, and how people see it."""

    key: str
    heading: str
    unit: str
    decimals: int
    better: str = ""  # "up", "down" or "": neither
    by_factor: bool = False  # whether there is one value for each factor of the data


def _variants(base: Measure) -> list[Measure]:
    """A measure of decoded frames, at E[z] and E[u²] and at posterior draws, in nats and as IoU."""
    better = {"down": "up"}.get(base.better, base.better)
    found = []
    for m in (base, base._replace(key=f"iou_{base.key}", unit="IoU", decimals=2, better=better)):
        found += [m, m._replace(key=f"{m.key}{DRAWS}", heading=f"{m.heading}, at draws")]
    return found


DRAWS = "_at_draws"  # ends the keys of what is decoded from posterior draws, not from E[z] and E[u²]

_DECODED = (
    Measure("roll_margin", "roll margin {factor}", NATS, 1, "up", by_factor=True),
    Measure("roll_held_out", "roll, held out", NATS, 1, "down"),
    Measure("roll_seen", "roll, seen", NATS, 1, "down"),
    Measure("reconstruction", "reconstruction", NATS, 1, "down"),
    Measure("roll_still", "not rolled", NATS, 1),
    Measure("roll_backwards", "rolled backwards", NATS, 1),
)
_ROWS = (
    Measure("n_sequences", "sequences", "", 0),
    *(variant for base in _DECODED for variant in _variants(base)),
    Measure("seen_mean", "mean of seen frames", NATS, 1),
    Measure("iou_seen_mean", "mean of seen frames", "IoU", 2),
    Measure("iou_copy", "copy of frame l0", "IoU", 2),
    Measure("nll", "−log p(x|t)", NATS, 1, "down"),
    Measure("kl_z", "KL(z)", NATS, 1),
    Measure("kl_u", "KL(u)", NATS, 1),
    Measure("elbo", "ELBO", NATS, 1, "up"),
    Measure("iwae_sequence", "IWAE-n", NATS, 1, "up"),
    Measure("iwae_per_frame", "IWAE-n per frame, no bound for L > 0", NATS, 1, "up"),
    Measure("e_eq", "E_eq", "L1", 0, "down"),
    Measure("e_eq_chance", "E_eq, partners of another sequence", "L1", 0),
    Measure("e_eq_share", "E_eq / its chance", "", 2, "down"),
    Measure("e_eq_centred", "E_eq, centred", "L1", 0, "down"),
    Measure("capcorr_first", "CapCorr {factor}", "first Ω", 2, "up", by_factor=True),
    Measure("capcorr_nearest", "CapCorr {factor}", "nearest Ω", 2, "up", by_factor=True),
)
# IWAE-n stands for the number of draws, n_is_samples, and {factor} for the factor of a value.
MEASURES = {measure.key: measure for measure in _ROWS}

# Each roll margin compares a measure of rolls with these controls.
MARGINS = {
    "roll_margin": ("roll_held_out", ("roll_still", "roll_backwards", "seen_mean")),
    "roll_margin_at_draws": (
        "roll_held_out_at_draws",
        ("roll_still_at_draws", "roll_backwards_at_draws", "seen_mean"),
    ),
    "iou_roll_margin": (
        "iou_roll_held_out",
        ("iou_roll_still", "iou_roll_backwards", "iou_seen_mean", "iou_copy"),
    ),
    "iou_roll_margin_at_draws": (
        "iou_roll_held_out_at_draws",
        ("iou_roll_still_at_draws", "iou_roll_backwards_at_draws", "iou_seen_mean", "iou_copy"),
    ),
}


def heading(key: str, draws: int) -> str:
    """Return how people call a measure, or one of its factors, `key/factor`; draws: n of IWAE-n."""
    name, _, factor = key.partition("/")
    return MEASURES[name].heading.format(factor=factor).replace("IWAE-n", f"IWAE-{draws}")


def flat(row: Mapping[str, object]) -> dict[str, float | int | None]:
    """Return a row with the values of factors under `key/factor`."""
    found: dict[str, float | int | None] = {}
    for key, value in row.items():
        found |= {f"{key}/{f}": v for f, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return found


# What a reference file may name: `key`, or `key/factor` where there is a value for each factor.
COMPARABLE = tuple(
    f"{key}/{factor}" if measure.by_factor else key
    for key, measure in MEASURES.items()
    for factor in (dict.fromkeys((*dsprites.FACTORS, *mnist.FACTORS)) if measure.by_factor else ("",))
    if key != "n_sequences"
)
