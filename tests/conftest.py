"""While the tests run, every annotated shape and type of the library is checked at every call."""

import shutil

from jaxtyping import install_import_hook

install_import_hook("tvae_core", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from tvae_core.data import mnist  # noqa: E402
from tvae_core.data.mnist import Digits  # noqa: E402

# The same cases in every run; a case may take long while a module is read for the first time.
_RULES = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=12, derandomize=True, **_RULES)
settings.register_profile("thorough", max_examples=500, **_RULES)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder that keeps the sprites drawn once for all tests of a process."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def use_digits(monkeypatch):
    """Put n random digits of two classes, the last of them the test split, in place of MNIST."""

    def use(n, n_test):
        g = torch.Generator().manual_seed(0)
        images = torch.randint(256, (n, 28, 28), generator=g, dtype=torch.uint8)
        labels, key = torch.arange(n) % 2, mnist.KEYS["offline"]
        digits = Digits(images, labels, n_test, 6, key, "a few random digits")
        monkeypatch.setattr(mnist, "load", lambda *_: digits)

    return use


@pytest.fixture
def few(use_digits):
    """28 digits, six of them the test split, instead of MNIST."""
    use_digits(28, 6)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.fail("Chromium is not on the PATH (on Debian: apt install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()
