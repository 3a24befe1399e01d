"""Where images come from: the official data set, files laid by hand, or what stands in for it offline."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from filelock import FileLock

from tvae_core.files import OFFLINE_VARIABLE
from tvae_core.validation import check_choice

# auto: the first of the others that can be had. official: verified by digest, downloaded if need be.
# own: other files in the data folder, under the digest of their contents.
SOURCES = ("auto", "official", "own", "offline")
PATIENCE = 4.0  # seconds, all hosts together
STALL = 20.0  # seconds that a download may stand still

log = logging.getLogger("tvae_core")


def offline_sets() -> frozenset[str]:
    """Return the data sets that TVAE_OFFLINE names: they are read where they lie, and never asked for.

    Raises ValueError for a name that is none of mnist and dsprites.
    """
    written = os.environ.get(OFFLINE_VARIABLE, "").lower().split(",")
    names = {name.strip() for name in written} - {""}
    return frozenset(check_choice(name, ("mnist", "dsprites"), OFFLINE_VARIABLE) for name in names)


def any_host_answers(urls: Sequence[str]) -> bool:
    """Return True as soon as a host answers, even with an error page; False after PATIENCE seconds."""
    answers: SimpleQueue[bool] = SimpleQueue()

    def ask(url: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            answers.put(True)
        except urllib.error.HTTPError as error:
            answers.put(error.code < 500)  # a mirror's folder may be forbidden while its files are not
        except OSError as error:
            log.debug("%s does not answer: %s", url, error)
            answers.put(False)

    deadline = time.monotonic() + PATIENCE
    for url in urls:  # in threads, since a name look-up obeys no timeout; in daemons, since it may hang
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    with contextlib.suppress(Empty):
        return any(answers.get(timeout=max(0.0, deadline - time.monotonic())) for _ in urls)
    return False


def fetch_once(target: Path, fetch: Callable[[Path], object]) -> None:
    """Let `fetch` fill a folder of its own and move its file or folder `target.name` into place.

    The first process to ask does so, the others wait. A failed download leaves nothing behind and raises
    OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        prefix = f"download-{target.name}-"
        for unfinished in target.parent.glob(f"{prefix}*"):  # of a process that was killed
            shutil.rmtree(unfinished)
        if target.exists():
            return
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(STALL)  # torchvision sets none, and would wait for ever
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as unfinished:
                fetch(Path(unfinished))
                os.replace(Path(unfinished, target.name), target)
        except RuntimeError as error:  # torchvision's word for a broken download
            raise OSError(f"{target.name} could not be downloaded: {error}") from error
        finally:
            socket.setdefaulttimeout(patience)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """How one data set is found and read; the policy is the same for all.

    at_hand: the key of the files in a folder, None where there are none; OSError or ValueError for files that
    cannot be used. read: the images of these files. download: puts them there. offline: the images that stand
    in for them.
    """

    name: str
    keys: dict[str, str]  # of the official and the offline images; a key enters the identity of a run
    hosts: Callable[[], Sequence[str]]
    at_hand: Callable[[Path], str | None]
    read: Callable[[Path], Any]
    download: Callable[[Path], object]
    offline: Callable[[Path], Any]
    failed: set[tuple[str, Path]] = field(default_factory=set)  # what `load` fell back from

    def source_of(self, key: str) -> str:
        """Return the source of images with this key: `official`, `offline` or `own`."""
        return next((source for source, known in self.keys.items() if known == key), "own")

    def find(self, source: str, folder: Path) -> tuple[str, str]:
        """Return the source that `load` reads, and its key; fetch nothing.

        `auto` is what lies in the folder, else the official set if a host answers and may be asked, else the
        offline one, as it is once `load` could not have what was found. Raises ValueError for an unknown
        source, and for `own` OSError or ValueError if the folder holds no files that can be used.
        """
        return (
            ("offline", self.keys["offline"])
            if (source, folder) in self.failed
            else self._find(source, folder)
        )

    @cache  # noqa: B019  (one answer a process: the network may come and go)
    def _find(self, source: str, folder: Path) -> tuple[str, str]:
        left_alone = self.name.lower() in offline_sets()
        if check_choice(source, SOURCES, f"{self.name} source") in self.keys:
            return source, self.keys[source]
        try:
            key = self.at_hand(folder)
            if key is None and source == "own":
                raise FileNotFoundError(f"there are no files of {self.name} in {folder}")
        except (OSError, ValueError) as error:
            if source == "own":
                raise
            log.warning("%s in %s cannot be used: %s", self.name, folder, error)
            key = self.keys["offline"]
        if key is None:
            key = self.keys["offline" if left_alone or not any_host_answers(self.hosts()) else "official"]
        return self.source_of(key), key

    @lru_cache(maxsize=2)  # noqa: B019
    def load(self, source: str, folder: Path) -> Any:
        """Return the images of a source; for `auto` the offline ones, with a warning, if all else fails.

        Raises what `find` raises, OSError if official images cannot be had, ValueError if others lie there.
        """
        found, key = self.find(source, folder)
        try:
            images = self.offline(folder) if found == "offline" else self._get(found, key, folder)
        except (OSError, ValueError) as error:
            if source != "auto":
                raise
            log.warning("%s cannot be used: %s", self.name, error)
            self.failed.add((source, folder))
            images = self.offline(folder)
        log.info("data: %s", images.source)
        return images

    def _get(self, source: str, key: str, folder: Path) -> Any:
        there = self.at_hand(folder)
        if there is None:
            if self.name.lower() in offline_sets():
                raise ConnectionError(f"{self.name} is not in {folder}, and {OFFLINE_VARIABLE} names it")
            if not any_host_answers(self.hosts()):
                raise ConnectionError(f"{self.name} is not in {folder}, and none of its hosts answers")
            self.download(folder)
        elif there != key:
            raise ValueError(f"the files in {folder} are not the {source} {self.name}")
        images = self.read(folder)
        if images is None:
            raise FileExistsError(f"{self.name} cannot be put into {folder}: other things lie in its place")
        return images
