"""What each scale changes of the protocol, which `paper` follows to the letter."""

from collections.abc import Mapping
from types import MappingProxyType

# What `quick` changes was found by measuring: notebooks/study.ipynb holds each part against its absence.
_SOON = {
    "optimizer": "adamw",
    "lr": 8e-4,
    "lr_decay": 0.2,
    "standardised": True,
    "u_mean_init": 0.7,
    "u_logvar_init": -2.0,
    "he_init": True,
    "kl_floor": 0.02,
    "kl_hold": 0.1,
    "kl_ramp": 0.4,
}
_LAPTOP = {**_SOON, "precision": "auto", "eval_sequences": 300, "batch_size": 16}
SCALES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "smoke": {
            **_SOON,
            "source": "offline",
            "max_steps": 20,
            "batch_size": 4,
            "eval_sequences": 24,
            "n_is_samples": 2,
        },
        "quick": {**_LAPTOP, "max_steps": 1200},
        "long": {**_LAPTOP, "max_steps": 6000},
        "paper": {},
    }
)


def default_scale(device: str) -> str:
    """`paper` on a CUDA GPU, `quick` on any other kind of device."""
    return "paper" if device == "cuda" else "quick"
