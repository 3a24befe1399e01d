"""A signal to stop, held back until what is under way is whole."""

import signal
import threading
from types import FrameType


class Interruption:
    """Holds Ctrl-C and termination back until a step is whole; the second one goes through at once."""

    def __enter__(self) -> "Interruption":
        self.requested = False
        main = threading.current_thread() is threading.main_thread()
        heard = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]
        self._before = {s: signal.signal(s, self._note) for s in heard} if main else {}
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
