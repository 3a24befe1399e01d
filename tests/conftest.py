"""While the tests run, every annotated shape and type of the library is checked at every call."""

from jaxtyping import install_import_hook

install_import_hook("tvae_core", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

from tvae_core.data import mnist  # noqa: E402
from tvae_core.data.mnist import Digits  # noqa: E402


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder that keeps the sprites drawn once for all tests of a process."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def few(monkeypatch):
    """28 digits, six of them the test split, instead of MNIST."""
    images = torch.randint(256, (28, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    digits = Digits(images, torch.arange(28) % 2, 6, 6, mnist.MNIST.keys["offline"], "a few random digits")
    monkeypatch.setattr(mnist, "load", lambda *_: digits)
