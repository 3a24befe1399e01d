"""What each scale changes of the protocol, which `paper` follows to the letter."""

from collections.abc import Mapping
from types import MappingProxyType

# What `quick` changes was found by measuring, not by theory: see the README.
_SOON = {"optimizer": "adamw", "lr": 1e-3, "cosine": True, "kl_floor": 0.02, "kl_hold": 0.6, "kl_ramp": 0.3}
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
        "quick": {**_SOON, "max_steps": 6000, "precision": "auto", "eval_sequences": 500},
        "paper": {},
    }
)
QUICK_DATA: Mapping[str, Mapping[str, object]] = MappingProxyType({"mnist_grey": {"max_steps": 3000}})


def default_scale(device: str) -> str:
    """`paper` on a CUDA GPU, `quick` on any other kind of device."""
    return "paper" if device == "cuda" else "quick"
