"""Tensors in a file that says whose they are and shows damage: safetensors with an identity and a digest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, uint8

from tvae_core.files import write_atomically
from tvae_core.model.tvae import TVAE

_FOREIGN = "was written by another version of tvae_core"
_POINTER = b"version https://git-lfs"  # how a Git LFS pointer begins


class DamagedFile(OSError):
    """A file of a run that cannot be read, or that is not what it was when it was written."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write tensors whole or not at all, with `about` (JSON values) and a digest of both in the header."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    words = json.dumps(about)
    write_atomically(path, _in_order(save(kept, {"about": words, "digest": digest_of(kept, words)})))


def read_about(path: Path) -> dict[str, object]:
    """Return what a file says of itself; of its tensors only their sizes are looked at.

    Raises FileNotFoundError, and DamagedFile for a file that is cut short or not of this format.
    """
    return _about(path, _header(path))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors of a file and what it says of itself.

    Raises FileNotFoundError, and DamagedFile for a file that is not what was written, bit for bit.
    """
    content = path.read_bytes()  # once: two readings of a file that is being replaced are of two files
    _refuse_pointer(path, content)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DamagedFile(f"{path} is damaged ({error})") from error
    size = int.from_bytes(content[:8], "little")
    header = _known(path, json.loads(content[8 : 8 + size]).get("__metadata__"))
    if header["digest"] != digest_of(tensors, header["about"]):
        reason = "its contents do not match its digest"
        raise DamagedFile(f"{path} is damaged ({reason}): delete it, and train or fetch it again")
    return tensors, _about(path, header)


def restore(model: TVAE, tensors: dict[str, Tensor], progress: dict[str, object]) -> None:
    """Put the weights of a checkpoint into a model, and the moments of t that its decoder takes out.

    These are computed when a model is built, and sums round differently on another number of threads.
    Raises DamagedFile for weights of another model.
    """
    try:
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    except RuntimeError as error:
        raise DamagedFile(f"the weights do not fit the model ({' '.join(str(error).split())})") from error
    decoder = model.decoder
    decoder.centre, decoder.spread = progress.get("decoder", (decoder.centre, decoder.spread))


def read_json(path: Path, kind: type = dict) -> Any:
    """Return the value in a JSON file, by default an object.

    Raises FileNotFoundError, and DamagedFile for anything else in it, a value of another kind too.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged ({error})") from error
    if not isinstance(value, kind):
        raise DamagedFile(f"{path} is damaged (it holds no {kind.__name__})")
    return value


def is_json(path: Path) -> bool:
    """Return whether there is a JSON file."""
    try:
        read_json(path)
    except OSError:
        return False
    return True


def _in_order(content: bytes) -> bytes:
    """The same file with its header's names in order, which safetensors writes in any: equal bytes again."""
    size = int.from_bytes(content[:8], "little")
    words = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words + content[8 + size :]


def _header(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        _refuse_pointer(path, file.read(len(_POINTER)))
    try:
        with safe_open(path, "pt") as file:
            return _known(path, file.metadata())
    except SafetensorError as error:
        raise DamagedFile(f"{path} is damaged ({error})") from error


def _refuse_pointer(path: Path, content: bytes) -> None:
    if content.startswith(_POINTER):
        raise OSError(f"{path} is a Git LFS pointer: fetch the file with git lfs pull, or delete it")


def _known(path: Path, header: dict[str, str] | None) -> dict[str, str]:
    if not {"about", "digest"} <= set(header or {}):
        raise DamagedFile(f"{path} {_FOREIGN}")
    return header


def _about(path: Path, header: dict[str, str]) -> dict[str, object]:
    try:
        about = json.loads(header["about"])
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise DamagedFile(f"{path} {_FOREIGN}")
    return about


def json_digest(value: object) -> str:
    """Return a digest of a JSON value, however it is laid out in a file."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def digest_of(tensors: Mapping[str, Tensor], words: str) -> str:
    """Return the SHA-256 of words and of tensors on the CPU, with their names, types and shapes."""
    digest = hashlib.sha256(words.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy())
    return digest.hexdigest()
