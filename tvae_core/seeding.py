"""Random draws as a pure function of seed, purpose and step, so that an interrupted run resumes exactly."""

import hashlib

import torch


def generator(device: torch.device | str, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A generator whose state depends on nothing but its arguments.

    Two purposes, or two steps, give unrelated streams: the state is a hash of all three, not their sum,
    so step 1 of seed 0 is not step 0 of seed 1. (On the CPU 32 bits of it count, so two streams are the
    same by accident once in four thousand million.)
    """
    return set_seed(torch.Generator(device=device), seed, purpose, step)


def set_seed(g: torch.Generator, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Put a generator that is there already into the state of `generator(…, seed, purpose, step)`.

    A CUDA graph draws from the one it was captured with, in the state that it has when the graph is replayed.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=7).digest()
    return g.manual_seed(int.from_bytes(digest, "little"))


def normal_like(x: torch.Tensor, g: torch.Generator | None) -> torch.Tensor:
    """Standard normal noise of x's shape, type and device, drawn from g (torch's global stream if None)."""
    return torch.empty_like(x).normal_(generator=g)
