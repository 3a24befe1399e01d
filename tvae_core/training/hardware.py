"""Choose device and precision: what was asked for, or the best that is there."""

import ctypes
import platform

import torch

from tvae_core.validation import check_choice


def available() -> list[str]:
    """Return the kinds of device that this machine has, fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, is_there in there.items() if is_there]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name, for `auto` the fastest.

    Raises ValueError for an unknown device, or one that this machine lacks.
    """
    check_choice(name, ["auto", "cpu", "cuda", "mps"], "device")
    if name not in ("auto", *available()):
        raise ValueError(f"device {name!r} is not available here; available: {', '.join(available())}")
    return torch.device(available()[0] if name == "auto" else name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return the type of the matrix products: float32, bfloat16 or auto.

    `auto` is bfloat16 where the hardware multiplies it, else float32.
    """
    if name != "auto":
        return name
    cpu = torch.cpu.get_capabilities()
    native = {
        "cuda": device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16")),
    }
    return "bfloat16" if native.get(device.type) else "float32"


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones (glibc; elsewhere nothing happens).

    Otherwise every training step gives gradients and activations back to the system and gets them again as
    new pages that it has to zero: 4,500 page faults and 8 of the step's milliseconds (tvae_Lpartial_mnist).
    """
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, map_threshold = ctypes.CDLL(None), -1, -3  # the names' numbers in malloc.h
        libc.mallopt(map_threshold, 2**25)
        libc.mallopt(trim_threshold, 2**31 - 1)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a tensor or an array found no memory, on the device or the host."""
    words = ("can't allocate memory", "out of memory", "not enough memory")  # the CPU raises RuntimeError
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def describe(device: torch.device) -> str:
    """Return the device in words, for provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = torch.cpu.get_capabilities().get("cpu_name", "CPU")
    threads = torch.get_num_threads()
    cpu = f"{cpu}, {threads} thread{'s' * (threads > 1)}"
    return "Apple GPU (MPS)" if device.type == "mps" else cpu


def computed_by(device: torch.device) -> str:
    """Return all but the number of threads on which the bits of a training depend, in words."""
    name = describe(device).partition(",")[0]
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__}"


def peak_device_memory(device: torch.device) -> int | None:
    """Return the most bytes that tensors took on a CUDA device in this process; None on any other."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
