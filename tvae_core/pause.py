"""Of many things asked for in a hurry, the last."""

import asyncio
from collections.abc import Callable


class Pause:
    """Does the last thing asked for, once nothing more was asked for so many seconds.

    A pointer's moves are not held back by the front end as a slider's are: drawn one by one they would
    queue up.
    """

    def __init__(self, seconds: float):
        self.seconds, self._waiting = seconds, None

    def call(self, thing: Callable[[], None]) -> None:
        """Do it soon, in place of what still waits; at once where no event loop runs."""
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            thing()
        else:
            self._waiting = loop.call_later(self.seconds, thing)
