"""The Topographic VAE (Keller & Welling 2021): library behind the notebooks of its figures and tables."""

import importlib
import os

# Read once, when CUDA starts: without it cuBLAS may not repeat its results.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_ROOMS = {
    "EXPERIMENTS": "experiments",
    "SCALES": "config",
    "TVAE": "model.tvae",
    "Experiment": "config",
    "Run": "training.runs",
    "capsule_correlation": "measures.metrics",
    "equivariance_error": "measures.metrics",
    "evaluate": "measures.evaluation",
    "fit": "training.trainer",
    "roll": "model.torus",
}
__all__ = list(_ROOMS)


def __getattr__(name: str) -> object:
    """A room is opened when something of it is asked for: not all of them need torch, which takes seconds."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
