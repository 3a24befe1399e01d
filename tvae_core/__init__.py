"""The Topographic VAE (Keller & Welling 2021): library behind the notebooks of its figures and tables."""

import os

# Read once, when CUDA starts: without it cuBLAS may not repeat its results.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from tvae_core.evaluation import evaluate
from tvae_core.experiments import EXPERIMENTS, Experiment
from tvae_core.metrics import capsule_correlation, equivariance_error
from tvae_core.model import TVAE
from tvae_core.runs import Run
from tvae_core.scales import SCALES
from tvae_core.torus import roll
from tvae_core.train import fit

__all__ = ["EXPERIMENTS", "SCALES", "TVAE", "Experiment", "Run", "capsule_correlation", "equivariance_error"]
__all__ += ["evaluate", "fit", "roll"]
