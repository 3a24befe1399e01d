"""Where the digits come from, how they are split, and the laws of the sequences that transform them."""

import gzip
import hashlib
import shutil
import socket
import struct
import threading
import time

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from tvae_core.data import mnist, sources
from tvae_core.data.mnist import FACTORS, KINDS, DigitSequences
from tvae_core.data.sequences import SPLITS
from tvae_core.data.warps import DEGREES, HUES, SIZES, affine_frames, perspective_frames

ROTATION, HUE, SCALE = range(3)


@pytest.fixture(scope="module")
def digits():
    return mnist.load("offline")


def sequences(digits, kind="single", split="test"):
    return DigitSequences(digits, split, 1, kind)


def drawn(digits, kind, n=200, seed=0):
    chosen = sequences(digits, kind)
    return chosen.batch(torch.arange(n), torch.Generator().manual_seed(seed))


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def full_mnist(folder):
    """torchvision's four files with 60,000 and 10,000 images, black but for the number in three bytes."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, n in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((n, 28 * 28), np.uint8)
        images[:, :3] = np.arange(n)[:, None] // [1, 256, 65536] % 256
        header = struct.pack(">IIII", 2051, n, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())
    return folder


def assert_splits(digits, train, validation, test):
    """Sizes; disjoint and complete; the test split the same for every seed, the others shuffled by numpy."""
    parts = {name: digits.split(name, 3) for name in SPLITS}
    assert [len(parts[name]) for name in SPLITS] == [train, validation, test]
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(train + validation + test))
    shuffled = np.random.RandomState(3).permutation(train + validation)
    assert set(shuffled[:validation].tolist()) == set(parts["validation"].tolist())
    for name in SPLITS:
        assert torch.equal(digits.split(name, 3), parts[name])
        assert torch.equal(digits.split(name, 4), parts[name]) == (name == "test")


def test_the_offline_digits(digits):
    assert digits.key == "mnist-5k" and digits.images.shape == (5000, 28, 28)
    assert digits.images.max() == 255 and torch.bincount(digits.labels).tolist() == [500] * 10
    assert_splits(digits, 4000, 500, 500)
    ones, zeros = (digits.images[digits.labels == k].float().mean() for k in (1, 0))
    assert ones < 0.6 * zeros  # labels belong to their images


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return full_mnist(tmp_path_factory.mktemp("full"))


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(sources, "any_host_answers", lambda urls: pytest.fail("asked the network"))


@pytest.mark.parametrize("offline", ["", "mnist", " dSprites, MNIST"])
def test_full_mnist_from_a_folder_pointed_at_by_hand(full, tmp_path, monkeypatch, no_network, offline):
    """Known by its digests, here those of the file made for the test; what is at hand is always read."""
    monkeypatch.setenv("TVAE_OFFLINE", offline)
    raw, folder = full / "MNIST" / "raw", tmp_path / "data"
    digests = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(mnist, "FILES", digests)
    folder.symlink_to(full)
    mnist._read_files.cache_clear()
    digits = mnist.load("auto", folder)
    assert digits.key == "mnist-70k" and "70,000" in digits.source and digits.official
    assert_splits(digits, 48_000, 12_000, 10_000)
    number = (digits.images[:, 0, :3].int() * torch.tensor([1, 256, 65536])).sum(-1)
    assert torch.equal(number, torch.cat([torch.arange(60_000), torch.arange(10_000)]))
    assert torch.equal(digits.labels, number % 10)
    assert mnist.load("official", folder) is digits
    mnist._read_files.cache_clear()


def laid(folder, train=60, test=20, fill=0, classes=10, packed=False):
    """idx files laid by hand: images of one grey value, classes that go round."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for stem, n in (("train", train), ("t10k", test)):
        images = struct.pack(">IIII", 2051, n, 28, 28) + bytes([fill]) * (n * 784)
        labels = struct.pack(">II", 2049, n) + bytes(i % classes for i in range(n))
        for name, content in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            path = raw / f"{stem}-{name}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def test_other_files_laid_by_hand_are_a_data_set_of_their_own(tmp_path, no_network):
    folders = [
        laid(tmp_path / name, **how)
        for name, how in (
            ("a", {}),
            ("again", {"packed": True}),
            ("b", {"fill": 1}),
            ("c", {"train": 70}),
            ("d", {"classes": 3}),
        )
    ]
    found = [mnist.load("auto", folder) for folder in folders]
    assert [mnist.MNIST.find("auto", folder) for folder in folders] == [("own", one.key) for one in found]
    assert found[0].key == found[1].key and len({one.key for one in found}) == 4
    assert not any(one.official or one.key in mnist.KEYS.values() for one in found)
    assert found[0].source.startswith("80 images of your own, which are not MNIST (mnist-own-")
    assert_splits(found[0], 48, 12, 20)
    with pytest.raises(ValueError, match="are not the official MNIST"):
        mnist.load("official", folders[0])
    assert mnist.load("own", folders[0]).key == found[0].key
    with pytest.raises(FileNotFoundError, match="no files of MNIST in"):
        mnist.load("own", tmp_path / "empty")


def test_files_are_found_as_people_name_and_lay_them(tmp_path, no_network):
    key = mnist.load("own", laid(tmp_path / "a")).key
    for place, rename in {
        "MNIST": lambda name: name,
        ".": lambda name: name,
        "MNIST/raw": lambda name: name.replace("-idx", ".idx"),  # as others publish them
    }.items():
        folder = tmp_path / f"b{len(list(tmp_path.iterdir()))}"
        (folder / place).mkdir(parents=True)
        for path in (tmp_path / "a" / "MNIST" / "raw").iterdir():
            shutil.copy(path, folder / place / rename(path.name))
        found = mnist.load("auto", folder)
        assert found.key == key and key in found.source


def test_an_empty_folder_is_no_obstacle_to_a_download_and_other_things_are_named(tmp_path, monkeypatch):
    class Torchvision:
        mirrors = ("http://127.0.0.1/",)

        def __init__(self, into, train, download):
            laid(into)

    monkeypatch.delenv("TVAE_OFFLINE", raising=False)
    monkeypatch.setattr(sources, "any_host_answers", lambda urls: True)
    monkeypatch.setattr(mnist, "_torchvision", lambda: Torchvision)
    (tmp_path / "a" / "MNIST" / "raw").mkdir(parents=True)
    assert len(mnist.load("official", tmp_path / "a").images) == 80
    (tmp_path / "MNIST").write_text("a note")
    with pytest.raises(OSError, match=r"MNIST cannot be put into .*: other things lie in its place"):
        mnist.load("official", tmp_path)
    assert mnist.MNIST.find("auto", tmp_path) == ("official", "mnist-70k")
    assert mnist.load("auto", tmp_path).key == "mnist-5k" and (tmp_path / "MNIST").is_file()
    assert mnist.MNIST.find("auto", tmp_path) == ("offline", "mnist-5k")  # a run is planned for what is read


SPOILED = {
    "train-images-idx3-ubyte": ("cut short", lambda c: c[:-1]),
    "train-labels-idx1-ubyte": ("letters", lambda c: c[:8] + b"\x1a" * 60),
    "t10k-images-idx3-ubyte": ("another header", lambda c: b"\x00\x00\x0d\x03" + c[4:]),
    "t10k-labels-idx1-ubyte": ("gone", None),
}


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:40], lambda c: c[:-9] + c[:9], lambda c: b"", lambda c: b"PK"]
)
def test_a_packed_file_that_is_damaged_is_named(spoil, tmp_path, no_network):
    path = laid(tmp_path, packed=True) / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        mnist.load("own", tmp_path)
    assert mnist.load("auto", tmp_path).key == "mnist-5k"


@pytest.mark.parametrize("name", SPOILED)
def test_files_that_cannot_be_digits_are_named(name, tmp_path, caplog, no_network):
    path = laid(tmp_path) / "MNIST" / "raw" / name
    spoil = SPOILED[name][1]
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    with caplog.at_level("WARNING", "tvae_core"):
        assert mnist.load("auto", tmp_path).key == "mnist-5k"
    assert str(path) in caplog.text
    with pytest.raises((OSError, ValueError), match=name):
        mnist.load("own", tmp_path)


def test_a_wrong_name_in_tvae_offline_is_answered_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("TVAE_OFFLINE", "mnist,dsprite")
    with pytest.raises(ValueError, match=r"TVAE_OFFLINE 'dsprite' is not one of .*did you mean 'dsprites'"):
        mnist.load("auto", tmp_path)


def test_what_tvae_offline_names_is_not_asked_for(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TVAE_OFFLINE", "mnist")
    assert mnist.load("auto", tmp_path).key == "mnist-5k"
    with pytest.raises(ConnectionError, match="TVAE_OFFLINE names it"):
        mnist.load("official", tmp_path)


@pytest.mark.parametrize("silent", [False, True])
def test_a_dead_network_costs_seconds(tmp_path, monkeypatch, silent):
    monkeypatch.delenv("TVAE_OFFLINE", raising=False)
    with socket.socket() as host:  # accepts a connection and never says a word
        host.bind(("127.0.0.1", 0))
        host.listen()
        port = host.getsockname()[1] if silent else closed_port()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
        began = time.monotonic()
        assert mnist.MNIST.find("auto", tmp_path) == ("offline", "mnist-5k")
        assert time.monotonic() - began < 6
        with pytest.raises(OSError, match="MNIST"):
            mnist.load("official", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_hosts_that_answer(monkeypatch):
    dead = f"http://127.0.0.1:{closed_port()}/"

    def reply(status):
        with socket.socket() as host:
            host.bind(("127.0.0.1", 0))
            host.listen()
            url = f"http://127.0.0.1:{host.getsockname()[1]}/"
            monkeypatch.setattr(sources, "PATIENCE", 2.0)

            def serve():
                connection, _ = host.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(f"HTTP/1.0 {status} x\r\nContent-Length: 0\r\n\r\n".encode())

            thread = threading.Thread(target=serve)
            thread.start()
            found = sources.any_host_answers([dead, url])
            thread.join()
            return found

    assert [reply(status) for status in (200, 403, 503)] == [True, True, False]
    assert not sources.any_host_answers([dead])


def test_hosts_that_say_nothing_share_one_wait(monkeypatch):
    waits = []

    class Silent:
        def put(self, value):
            pass

        def get(self, timeout):
            waits.append(timeout)
            time.sleep(0.05)
            return False

    monkeypatch.setattr(sources, "SimpleQueue", Silent)
    assert not sources.any_host_answers([f"http://127.0.0.1:{closed_port()}/"] * 3)
    assert waits == sorted(waits, reverse=True) and waits[0] - waits[-1] >= 0.1


def test_unknown_names_are_refused(digits):
    with pytest.raises(ValueError, match="did you mean 'official'"):
        mnist.load("oficial")
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        digits.split("validate", 0)
    with pytest.raises(ValueError, match="did you mean 'perspective'"):
        sequences(digits, "perspectives")


def test_single_sequences_walk_one_factor(digits):
    batch = drawn(digits, "single")
    assert batch.x.shape == (200, 18, 3, 28, 28) and 0 <= batch.x.min() and batch.x.max() <= 1
    assert set(batch.varied.tolist()) == {ROTATION, HUE, SCALE}
    for factors, varied in zip(batch.factors, batch.varied, strict=True):
        for f in range(3):
            walk = (factors[0, f] + (f == varied) * torch.arange(18)) % 18
            assert torch.equal(factors[:, f], walk)
    for f in range(3):
        assert set(batch.factors[:, 0, f].tolist()) == set(range(18))  # random starts, random fixed values
    share = torch.bincount(drawn(digits, "single", 500).varied) / 500
    assert (share - 1 / 3).abs().max() < 0.08


@pytest.mark.parametrize("kind", ["dual", "perspective"])
def test_angle_and_hue_walk_together(digits, kind):
    batch = drawn(digits, kind, 60)
    angle, hue, _ = batch.factors.unbind(-1)
    for walk in (angle, hue):
        assert torch.equal(walk, (walk[:, :1] + torch.arange(18)) % 18)
        assert len(set(walk[:, 0].tolist())) > 9
    assert len(set((hue - angle)[:, 0].tolist())) > 9  # 18 x 18 phases, not one
    assert (batch.varied == ROTATION).all()
    images = sequences(digits).images[:60].unsqueeze(1).float() / 255
    degrees, hues = torch.tensor(DEGREES)[angle], torch.tensor(HUES)[hue]
    if kind == "dual":
        wanted = affine_frames(images, degrees, torch.ones_like(degrees), hues)
    else:
        wanted = perspective_frames(images, degrees, hues)
    torch.testing.assert_close(batch.x, wanted)


@pytest.mark.parametrize("kind, paces", [("accelerating", {0, 1, 2}), ("random", {0, 1, 2})])
def test_uneven_motion_walks_one_factor(digits, kind, paces):
    batch = drawn(digits, kind, 60)
    assert set(batch.varied.tolist()) == {ROTATION, HUE, SCALE}
    moved = batch.factors.diff(dim=1) % 18
    own = torch.nn.functional.one_hot(batch.varied, 3).bool()
    assert not moved.transpose(1, 2)[~own].any()  # the other two stand still
    steps = moved.transpose(1, 2)[own]
    assert set(steps.flatten().tolist()) == paces
    if kind == "accelerating":
        assert (steps == steps[0]).all() and steps[0].sum() == 17  # once around, like steady motion
        halves = steps[0].float().split((8, 9))
        assert halves[0].mean() < 0.6 and halves[1].mean() > 1.3
    else:
        assert (steps.float().mean() - 1).abs() < 0.1 and len(steps.unique(dim=0)) == 60


def test_grey_sequences_are_single_frames(digits):
    batch = drawn(digits, "grey", 10)
    assert batch.x.shape == (10, 1, 1, 28, 28)
    assert torch.equal(batch.x[:, 0, 0], sequences(digits).images[:10].float() / 255)
    assert torch.equal(batch.labels, digits.labels[digits.split("test", 1)[:10]])


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_pure_functions_of_the_generator(digits, kind):
    first = drawn(digits, kind, 20)
    torch.manual_seed(123)
    torch.rand(5)
    again, other = drawn(digits, kind, 20), drawn(digits, kind, 20, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first.x, other.x) == (kind == "grey")


@pytest.mark.parametrize("kind", KINDS)
def test_frames_equal_frames_made_one_at_a_time(digits, kind):
    batch, chosen = drawn(digits, kind, 4), sequences(digits, kind)
    for i in range(4):
        for frame in range(chosen.n_frames):
            alone = chosen.frames(torch.tensor([i]), batch.factors[i : i + 1, frame : frame + 1])
            torch.testing.assert_close(alone[0, 0], batch.x[i, frame], atol=1e-5, rtol=0)


def test_the_frames_of_a_single_sequence_have_the_values_of_their_factors(digits):
    batch = drawn(digits, "single", 30)
    images = sequences(digits).images[:30].unsqueeze(1).float() / 255
    tables = (torch.tensor(values) for values in (DEGREES, HUES, SIZES))
    degrees, hues, scales = (table[batch.factors[..., f]] for f, table in enumerate(tables))
    torch.testing.assert_close(batch.x, affine_frames(images, degrees, scales, hues))
    assert FACTORS == ("rotation", "hue", "scale")


def test_sequences_without_a_generator_start_at_0_and_leave_the_rest_as_it_was(digits):
    for varied, start in ((ROTATION, (0, 9, 10)), (HUE, (0, 0, 10)), (SCALE, (0, 9, 0))):
        batch = sequences(digits).sequence(torch.arange(2), varied)
        assert batch.factors[:, 0].tolist() == [list(start)] * 2
        assert batch.factors[0, :, varied].tolist() == list(range(18))
