"""Open a run by what names it: a run's folder, a pack's file, its URL, or its name in a registry of packs."""

import hashlib
import http.client
import json
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from tvae_core.data.sources import STALL
from tvae_core.files import DATA, DOWNLOADED_PACKS, PACKS, atomic, file_name, write_json
from tvae_core.measures.catalog import DRAWS
from tvae_core.store import DamagedFile, read_about, read_json
from tvae_core.training.pack import SUFFIX, read_pack
from tvae_core.training.runs import Run, load_run
from tvae_core.validation import check_choice, check_place

REGISTRY = "registry.json"
MOST_BYTES = 200_000_000  # of a download
_MEASURES = ("n_sequences", f"roll_margin{DRAWS}", f"roll_held_out{DRAWS}", f"reconstruction{DRAWS}", "elbo")
log = logging.getLogger("tvae_core")
_WEB = ("https://", "http://")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class Entry:
    """A pack that a registry names; its size and digest are checked before it is read."""

    source: str  # URL, or the path of a file beside the registry
    sha256: str
    bytes: int
    commit: str | None = None  # of the code that trained it
    measures: Mapping[str, object] | None = None

    def __post_init__(self):
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise DamagedFile(f"the registry's digest of {self.source} is not SHA-256: {self.sha256!r}")


def open_run(source: str | Path, data: Path = DATA) -> Run:
    """Return the run that a source names, complete with model and measures; nothing of it is executed.

    source: the folder of a run; a pack's file; the URL of a pack (https or http), with `#sha256=DIGEST` if
    its digest is to be checked; a name in the registry of this repository (notebooks/packs); or the file or
    URL of another registry with `#NAME`. A pack of a URL is kept, and fetched once if its digest is known.
    data: the folder of downloaded data.

    Raises ValueError for a source that is none of these, OSError (FileNotFoundError, DamagedFile) for a file
    that is not there, is not what its digest says, or cannot be fetched.
    """
    text = str(source)
    address, fragment = urldefrag(text)
    if address.endswith(".json"):
        known = read_registry(address)
        return _open(known[check_choice(fragment, known, "pack")], data)
    if text.startswith(_WEB):
        digest = _DIGEST.fullmatch(fragment)
        if fragment and not digest:
            raise ValueError(
                f"{text} ends in #{fragment}, but only #sha256= and 64 hexadecimal digits may follow"
            )
        return read_pack(fetch(address, digest[1] if digest else None), data)
    if "://" in text:
        raise ValueError(f"{text} begins with neither {' nor '.join(_WEB)}")
    path = Path(text).expanduser()
    if path.is_dir():
        return load_run(path)
    if path.is_file():
        return read_pack(path, data)
    known = read_registry(PACKS / REGISTRY)
    if "/" in text or path.suffix == SUFFIX or not known:
        raise FileNotFoundError(f"there is no run and no pack {text}")
    return _open(known[check_choice(text, known, "pack")], data)


def is_source(text: str) -> bool:
    """Return whether a text names a pack by file or URL, rather than an experiment."""
    address = urldefrag(text)[0]
    return text.startswith(_WEB) or address.endswith((SUFFIX, ".json"))


def read_registry(source: str | Path) -> dict[str, Entry]:
    """Return the packs that a registry (file or URL) names; none where there is no such file.

    Paths in it are relative to it and stay in its folder. Raises DamagedFile for anything else.
    """
    text = str(source)
    web = text.startswith(_WEB)
    if not web and not Path(text).is_file():
        return {}
    try:
        found = json.loads(_get(text, 1_000_000)) if web else read_json(Path(text))
        entries = {name: Entry(**entry) for name, entry in found["packs"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DamagedFile(f"{text} is no registry of packs ({error})") from error
    for name, entry in entries.items():
        if not entry.source.startswith(_WEB):
            inside = re.fullmatch(r"\w[\w.+=-]*", entry.source)
            if not inside:
                raise DamagedFile(
                    f"{text} names {entry.source!r}, which is neither a URL nor a file beside it"
                )
            place = urljoin(text, entry.source) if web else str(Path(text).parent / entry.source)
            object.__setattr__(entry, "source", place)
        check_choice(name, [file_name(name)], "pack")
    return entries


def _open(entry: Entry, data: Path) -> Run:
    if entry.source.startswith(_WEB):
        return read_pack(fetch(entry.source, entry.sha256, entry.bytes), data)
    check_digest(Path(entry.source), entry.sha256)
    return read_pack(Path(entry.source), data)


def packed_runs(data: Path = DATA) -> list[Run]:
    """Return the runs of the packs that lie in this repository; the network is not asked.

    One that is damaged, or that this version cannot describe, is left out with a warning that names it.
    """
    found = []
    for name, entry in read_registry(PACKS / REGISTRY).items():
        try:
            if not entry.source.startswith(_WEB):
                found.append(_open(entry, data))
        except (OSError, ValueError) as error:
            log.warning("pack %s is left out: %s", name, error)
    return found


def check_digest(path: Path, sha256: str) -> None:
    """Raise DamagedFile if a file does not have this SHA-256, FileNotFoundError if it is not there."""
    read_about(path)  # names a Git LFS pointer
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise DamagedFile(f"{path} has SHA-256 {found[:12]}…, but {sha256[:12]}… is expected")


def fetch(url: str, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the file of a pack's URL, fetched unless a file of this digest is there already.

    It is kept under the name of the pack and its digest, once it has been read as a pack. Raises OSError for
    a network that fails, a file of more than MOST_BYTES, and one that is not what its digest says.
    """
    stem = file_name(Path(unquote(urlsplit(url).path)).stem)[:80] or "pack"
    kept = DOWNLOADED_PACKS / f"{stem}-{sha256[:12]}{SUFFIX}" if sha256 else None
    if kept and kept.is_file() and hashlib.sha256(kept.read_bytes()).hexdigest() == sha256:
        return kept
    content = _get(url, size or MOST_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise DamagedFile(f"{url} has SHA-256 {found[:12]}…, but {sha256[:12]}… is expected")
    kept = DOWNLOADED_PACKS / f"{stem}-{found[:12]}{SUFFIX}"
    with atomic(kept) as unfinished:
        unfinished.write_bytes(content)
        try:
            read_pack(unfinished)
        except OSError as error:
            raise DamagedFile(
                f"{url} is not a sound pack: {str(error).replace(str(unfinished), 'it')}"
            ) from error
    return kept


def _get(url: str, most: int) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=STALL) as response:
            content, length = response.read(most + 1), response.headers.get("Content-Length")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"{url} cannot be fetched: {error}") from error
    if len(content) > most:
        raise OSError(f"{url} has more than {most:,} bytes")
    if length and len(content) != int(length):
        raise OSError(f"{url} ended after {len(content):,} of {int(length):,} bytes")
    return content


def registry_beside(pack: Path) -> Path:
    """Return the registry in which `register` enters a pack.

    Raises DamagedFile if another file is there, ValueError for what is no file.
    """
    registry = pack.parent / REGISTRY
    check_place(registry)
    read_registry(registry)
    return registry


def register(path: Path) -> Entry:
    """Enter a pack in the registry beside it, under its file's name without suffix, and return its entry.

    Digest, size, commit and measures are read off the pack; an entry of the same name is replaced.
    """
    registry = registry_beside(path)
    run, content = read_pack(path), path.read_bytes()
    trained = run.results["trained"]
    measures = {key: trained[key] for key in _MEASURES if trained.get(key) is not None}
    entry = {
        "source": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "commit": run.provenance["commit"],
        "measures": measures | {"cost": run.about["cost"]},
    }
    packs = read_json(registry)["packs"] if registry.is_file() else {}
    write_json(registry, {"packs": dict(sorted((packs | {path.stem: entry}).items()))})
    return Entry(**entry)
