"""The scales of a run, and what each changes of the options of an experiment (config)."""

from collections.abc import Mapping

# What `quick` changes was found by measuring: notebooks/study.ipynb holds each part against its absence.
_OPTIMIZER = {"optimizer": "adamw", "beta2": 0.99}
_START = {"standardised": True, "u_mean_init": 0.7, "u_logvar_init": -2.0, "he_init": True}
_SOON = {**_OPTIMIZER, **_START, "decode_every": 3, "n_draws": 4, "window_ramp": 0.4}
# Few steps want a high rate; of many, a lower one with a longer fall makes more, and a warm-up costs rolls.
_FEW_STEPS = {"lr": 2e-3, "lr_warmup": 0.05, "lr_decay": 0.2, "window_hold": 0.5}
_MANY_STEPS = {"lr": 8e-4, "lr_decay": 0.5, "window_hold": 0.3}
_SMOKE = {"source": "offline", "batch_size": 4, "eval_sequences": 24, "n_is_samples": 2}
_LAPTOP = {"precision": "auto", "eval_sequences": 300, "batch_size": 32}
SCALES: Mapping[str, Mapping[str, object]] = {
    "smoke": {**_SOON, **_FEW_STEPS, **_SMOKE, "max_steps": 8},
    "quick": {**_SOON, **_FEW_STEPS, **_LAPTOP, "max_steps": 1200},
    "long": {**_SOON, **_MANY_STEPS, **_LAPTOP, "max_steps": 6000},
    "paper": {},
}
_NO_RECIPE = {"source", "max_steps", "eval_sequences", "n_is_samples"}  # which data, how long, how measured
RECIPE_OPTIONS = tuple(sorted({option for changes in SCALES.values() for option in changes} - _NO_RECIPE))


def default_scale(device: str) -> str:
    """Return the scale for a kind of device: `paper` on a CUDA GPU, else `quick`."""
    return "paper" if device == "cuda" else "quick"
