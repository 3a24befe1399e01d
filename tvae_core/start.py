"""Start a command. Until its packages are imported, which takes seconds, Ctrl-C ends it without a word."""

import importlib
import signal
import sys


def start(module: str) -> int:
    """Import a module and return the exit code of its `main`."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    imported = importlib.import_module(module)
    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return imported.main()


def tvae() -> int:
    """Run the `tvae` command."""
    return start("tvae_core.cli")


if __name__ == "__main__":  # a module, and the arguments of its main
    sys.exit(start(sys.argv.pop(1)))
