"""What a batch of sequences is, and whether the hosts of the official data answer."""

import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

SPLITS = ("train", "validation", "test")
SOURCES = ("auto", "official", "offline")  # official: if need be by download; offline: what is at hand


class Batch(NamedTuple):
    """B sequences of S frames with the F true factors of each frame.

    `varied` says which factor walks through its values; the index of a factor is its place in the
    `factors` of the sequences it comes from. `labels` is the digit's class, or the sprite's shape.
    """

    x: Float[Tensor, "B S channels height width"]  # values in [0, 1]
    factors: Int[Tensor, "B S F"]
    varied: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]


log = logging.getLogger("tvae_core")

PATIENCE = 4.0  # seconds, all hosts together


def any_host_answers(urls: Sequence[str]) -> bool:
    """True as soon as one of the hosts answers, even with an error page; False after PATIENCE seconds."""
    found = threading.Event()

    def ask(url: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            found.set()
        except urllib.error.HTTPError as error:
            if error.code < 500:  # a mirror's folder may be forbidden while its files are not
                found.set()
        except OSError as error:
            log.debug("%s does not answer: %s", url, error)

    # Threads, since a name look-up obeys no timeout; daemons, since one that hangs must not keep us.
    asked = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in asked:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    while not found.wait(0.02) and time.monotonic() < deadline:
        if not any(thread.is_alive() for thread in asked):
            break
    return found.is_set()
