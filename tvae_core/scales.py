"""What each scale changes of the protocol, which `paper` follows to the letter."""

from collections.abc import Mapping
from types import MappingProxyType

# What `quick` changes was found by measuring: notebooks/study.ipynb holds each part against its absence.
_SOON = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "cosine": True,
    "standardised": True,
    "u_mean_init": 0.7,
    "u_logvar_init": -2.0,
    "kl_floor": 0.02,
    "kl_hold": 0.25,
    "kl_ramp": 0.25,
}
_LAPTOP = {**_SOON, "precision": "auto", "eval_sequences": 300}
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
        "quick": {**_LAPTOP, "max_steps": 2000},
        "long": {**_LAPTOP, "max_steps": 8000},
        "paper": {},
    }
)


def default_scale(device: str) -> str:
    """`paper` on a CUDA GPU, `quick` on any other kind of device."""
    return "paper" if device == "cuda" else "quick"
