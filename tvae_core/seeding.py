"""Random draws as a pure function of seed, purpose and step, so that an interrupted run resumes exactly."""

import hashlib

import torch


def generator(device: torch.device | str, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Return a generator whose state depends on its arguments alone.

    The state is a hash of all three, not their sum: step 1 of seed 0 is not step 0 of seed 1. (A generator on
    the CPU uses 32 bits of it, so two streams are the same by accident once in four thousand million.)

    >>> torch.equal(torch.rand(3, generator=generator("cpu", 0, "noise", 1)),
    ...             torch.rand(3, generator=generator("cpu", 1, "noise", 0)))
    False
    """
    return set_seed(torch.Generator(device=device), seed, purpose, step)


def set_seed(g: torch.Generator, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Put an existing generator into the state of `generator(…, seed, purpose, step)` and return it.

    A CUDA graph draws from the generator that it was captured with, in its state at the replay.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=7).digest()
    return g.manual_seed(int.from_bytes(digest, "little"))


def normal_like(x: torch.Tensor, g: torch.Generator | None) -> torch.Tensor:
    """Return standard normal noise of x's shape, type and device, from g or torch's global generator."""
    return torch.empty_like(x).normal_(generator=g)
