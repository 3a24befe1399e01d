"""The Topographic VAE (Keller & Welling 2021): the library behind the notebooks of its figures and tables.

>>> from tvae_core import EXPERIMENTS, roll
>>> exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("smoke")
>>> model, test = exp.build_model(seed=0), exp.build_sequences("test", seed=0)
>>> x = test.batch(torch.arange(2), torch.Generator().manual_seed(0)).x  # (B, S, channels, height, width)
>>> t = model.latents(x)  # (B, S, C, D)
>>> model.decode(roll(t, 1)).shape
torch.Size([2, 18, 3, 28, 28])
"""

import importlib
import os

# Read once, when CUDA starts: without it cuBLAS may not repeat its results.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_MODULES = {
    "EXPERIMENTS": "experiments",
    "SCALES": "scales",
    "TVAE": "model.tvae",
    "Experiment": "config",
    "Run": "training.runs",
    "Sequences": "data.own",
    "check_encoder": "model.checks",
    "check_grouper": "model.checks",
    "check_sequences": "data.own_files",
    "capsule_correlation": "measures.metrics",
    "decode": "training.latents",
    "encode": "training.latents",
    "equivariance_error": "measures.metrics",
    "evaluate": "measures.evaluation",
    "fit": "training.trainer",
    "open_run": "training.registry",
    "own_experiment": "experiments",
    "roll": "model.torus",
    "start_from": "training.warm_start",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: not every module needs torch, which takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
