"""The sprites against real ones, the official archive's reader and downloader, and the laws of the sequences.

`data/dsprites_frames.npz` holds 320 real frames (packed bits, 320 × 512), taken from the animation that
the dSprites project publishes; it walks through scale, orientation, y and x of each shape in turn.
"""

import hashlib
import http.server
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tvae_core.data import dsprites, dsprites_archive, sources
from tvae_core.data.dsprites import FACTORS, SUBSET, SpriteSequences, render
from tvae_core.data.sequences import SPLITS

SQUARE, ELLIPSE, HEART = range(3)


def frames_and_latents():
    """The real frames (320, 64, 64) and their indices (320, 5), which the animation's order gives away."""
    packed = np.load(Path(__file__).parent / "dsprites_frames.npz")["frames"]
    up, down = range(6), range(5, -1, -1)
    there, back = range(32), range(31, -1, -1)
    latents = []
    for shape in (HEART, ELLIPSE, SQUARE):
        latents += [(shape, s, 0, 0, 0) for s in (*up, *down, *up)]
        latents += [(shape, 5, o, 0, 0) for o in range(40)]
        if shape == HEART:
            latents += [(shape, 5, 39, 0, y) for y in there] + [(shape, 5, 39, x, 31) for x in there]
            latents += [(shape, 5, 39, 31, y) for y in back] + [(shape, 5, 39, x, 0) for x in back]
        latents += [(shape, s, 39, 0, 0) for s in down]
    return np.unpackbits(packed, axis=1).reshape(-1, 64, 64).astype(bool), np.array(latents)


def overlap(a, b):
    """Intersection over union of binary images (N, 64, 64)."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2))


def test_renders_match_real_frames():
    real, latents = frames_and_latents()
    score = overlap(real, render(*latents.T).astype(bool))
    assert score.mean() >= 0.9995
    assert score.min() >= 0.98
    assert (score == 1).mean() >= 0.9


def test_overlap_notices_a_wrong_turn():
    real, latents = frames_and_latents()
    latents[:, 2] = (-latents[:, 2]) % 39  # the other sense of rotation
    assert overlap(real, render(*latents.T).astype(bool)).min() < 0.6


@pytest.mark.parametrize("shape, low, high", [(SQUARE, 364, 372), (ELLIPSE, 284, 294), (HEART, 219, 232)])
def test_areas_hardly_depend_on_the_angle(shape, low, high):
    areas = render(*np.array([(shape, 5, o, 0, 0) for o in range(1, 39)]).T).sum((1, 2))
    assert low <= areas.min() and areas.max() <= high


def test_areas_of_the_heart():
    images = render(*np.array([(HEART, s, 0, 0, 0) for s in range(6)]).T)
    assert np.abs(images.sum((1, 2)) - [58, 84, 108, 140, 182, 222]).max() <= 2  # 1 % at scale 4


@pytest.mark.parametrize(
    "shape, scale, width, height",
    [
        *((SQUARE, 0, 10, 10), (SQUARE, 3, 16, 16), (SQUARE, 4, 18, 18)),
        *((ELLIPSE, 0, 12, 8), (ELLIPSE, 3, 20, 12), (ELLIPSE, 4, 22, 12)),
    ],
)
def test_bounding_boxes(shape, scale, width, height):
    image = render(shape, scale, 0, 0, 0)
    assert (image.any(0).sum(), image.any(1).sum()) == (width, height)


@pytest.mark.parametrize("x, y", [(0, 0), (31, 0), (0, 31), (31, 31)])
def test_centres_reach_from_15_5_to_47_5(x, y):
    rows, columns = np.nonzero(render(SQUARE, 2, 0, x, y))
    assert (columns.mean(), rows.mean()) == (15.5 + 32 * x / 31, 15.5 + 32 * y / 31)


def test_a_full_turn_changes_nothing():
    shapes, scales = np.meshgrid(range(3), range(6))
    here = np.zeros_like(shapes)
    assert (render(shapes, scales, here, here, here) == render(shapes, scales, here + 39, here, here)).all()


def test_render_takes_arrays_of_any_shape():
    latents = torch.zeros(5, 2, 3, dtype=torch.long)
    images = render(*latents)
    assert images.shape == (2, 3, 64, 64) and images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 1}
    assert render(*latents[:, :0]).shape == (0, 3, 64, 64)


@pytest.mark.parametrize(
    "position, value, text",
    [
        (0, 3, "shape 3 is not among the indices 0 to 2"),
        (1, -1, "scale -1 is not among the indices 0 to 5"),
        (2, 40, "orientation 40 is not among the indices 0 to 39"),
        (3, 0.5, "x 0.5 is not among the indices 0 to 31"),
        (4, 32, "y 32 is not among the indices 0 to 31"),
    ],
)
def test_render_names_an_index_out_of_range(position, value, text):
    latents = [0] * 5
    latents[position] = value
    with pytest.raises(ValueError, match=text):
        render(*latents)


@pytest.fixture(scope="module")
def sprites(data):
    return dsprites.load("offline", data)


@pytest.fixture
def drawings(sprites, monkeypatch):
    """How often the sprites were drawn: instead of being drawn they are there at once."""
    drawn = []
    monkeypatch.setattr(dsprites, "_draw_subset", lambda: drawn.append(1) or sprites.packed.numpy())
    return drawn


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:9_000_000]),
    "zeros": lambda path: path.write_bytes(bytes(9_000_000)),
    "another shape": lambda path: np.savez(path, packed=np.zeros((3, 512), np.uint8), sha256="?"),
    "text": lambda path: path.write_text("PK, but not a zip"),
    "other images": lambda path: np.savez(
        path, sha256=np.load(path)["sha256"], packed=np.load(path)["packed"][::-1]
    ),
}


def test_the_subset_is_drawn_once(sprites, tmp_path, drawings):
    assert sprites.packed.shape == (50625, 512)
    assert sprites.key == f"dsprites-rendered-{dsprites.RENDERER}"
    for _ in range(2):
        assert torch.equal(dsprites._rendered(tmp_path).packed, sprites.packed)
    assert drawings == [1] and {path.suffix for path in tmp_path.iterdir()} <= {".npz", ".lock"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_drawn_anew(sprites, tmp_path, drawings, caplog, damage):
    (tmp_path / "dsprites-rendered-1.npy").write_bytes(b"")  # of an earlier version, and cut short
    dsprites._rendered(tmp_path)
    (kept,) = tmp_path.glob("*.npz")
    whole = kept.read_bytes()
    DAMAGE[damage](kept)
    assert kept.read_bytes() != whole and not caplog.text
    for _ in range(2):
        assert torch.equal(dsprites._rendered(tmp_path).packed, sprites.packed)
    assert len(drawings) == 2 and caplog.text.count("\n") == 1 and f"{kept} is damaged" in caplog.text


def test_a_full_disk_is_no_obstacle(sprites, tmp_path, drawings, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert torch.equal(dsprites._rendered(tmp_path).packed, sprites.packed)
    assert "No space left" in caplog.text and not list(tmp_path.glob("*.npz"))


def sequences(sprites, split="train", n_frames=15, length=30):
    return SpriteSequences(sprites, split, n_frames, length)


def walked(chosen, varied, n=None):
    """The varied factor, the shape and the values of the four factors of a split's first n sequences."""
    chosen.frames = lambda labels, factors: torch.zeros(()).expand(*factors.shape[:2], 1, 64, 64)
    batch = chosen.sequence(torch.arange(n or len(chosen)), varied, torch.Generator().manual_seed(0))
    return batch.labels, batch.factors


@pytest.mark.parametrize("n_frames, length", [(15, 30), (15, 10), (5, 10), (1, 2)])
def test_every_cycle_is_in_one_split(sprites, n_frames, length):
    values = len(range(0, length, 2))
    for factor in range(4):
        found = {}
        for split in SPLITS:
            labels, factors = walked(sequences(sprites, split, n_frames, length), factor, 20_000)
            rest = factors[:, 0].clone()
            rest[:, factor] = 0
            found[split] = set(map(tuple, torch.cat([labels.unsqueeze(1), rest], 1).tolist()))
        n = 3 * 5 * values**3 // (5 if factor == 3 else values)
        assert sum(map(len, found.values())) == len(set().union(*found.values())) == n
        assert [len(found[split]) for split in SPLITS[1:]] == [max(1, n // 20), max(1, n // 10)]


def test_an_epoch_has_the_official_number_of_steps(sprites):
    assert len(sequences(sprites)) // 8 == 6328
    assert [len(sequences(sprites, split)) for split in SPLITS] == [50_625, 2531, 5062]


def test_factors_and_starts_are_equally_likely(sprites):
    chosen = sequences(sprites)
    chosen.frames = lambda labels, factors: torch.zeros(()).expand(*factors.shape[:2], 1, 64, 64)
    batch = chosen.batch(torch.arange(50_000), torch.Generator().manual_seed(0))
    assert (torch.bincount(batch.varied) / 50_000 - 1 / 4).abs().max() < 0.01
    for factor, values in enumerate((15, 15, 15, 5)):
        start = batch.factors[batch.varied == factor, 0, factor]
        assert (torch.bincount(start) * values / len(start) - 1).abs().max() < 0.15


@pytest.mark.parametrize(
    "n_frames, length", [(15, 30), (15, 29), (15, 10), (10, 20), (5, 10), (30, 30), (3, 6)]
)
def test_one_factor_advances_and_the_others_stay(sprites, n_frames, length):
    chosen, index = sequences(sprites, "train", n_frames, length), torch.arange(40)
    batch = chosen.batch(index, torch.Generator().manual_seed(0))
    assert batch.x.shape == (40, n_frames, 1, 64, 64) and batch.x.dtype == torch.float32
    assert batch.factors.shape == (40, n_frames, 4)
    assert set(batch.varied.tolist()) == {0, 1, 2, 3}
    values = len(range(0, length, 2))
    sizes = torch.tensor([values, values, values, 5])
    moves = (batch.factors.roll(-1, 1) - batch.factors)[:, : -1 if n_frames % 5 else None] % sizes
    expected = torch.nn.functional.one_hot(batch.varied, 4).unsqueeze(1) % sizes
    assert (moves == expected).all()


def test_without_a_generator_a_sequence_starts_at_0_with_other_factors_of_its_own(sprites):
    for varied in range(4):
        factors = sequences(sprites, "test").sequence(torch.arange(60), varied).factors[:, 0]
        assert not factors[:, varied].any()
        assert all(len(set(factors[:, other].tolist())) > 3 for other in set(range(4)) - {varied})


@pytest.mark.parametrize("n_frames, length", [(15, 30), (5, 10), (15, 10)])
@pytest.mark.parametrize("varied", range(len(FACTORS)))
def test_images_are_those_that_the_factors_name(sprites, n_frames, length, varied):
    g = torch.Generator().manual_seed(0)
    batch = sequences(sprites, "test", n_frames, length).sequence(torch.arange(20), varied, g)
    x, y, orientation, scale = batch.factors.unbind(-1)
    shape = batch.labels.unsqueeze(1).expand_as(x)
    again = render(shape, 1 + scale, 2 * orientation, 2 * x, 2 * y)
    assert np.array_equal(batch.x.squeeze(2).numpy(), again)
    assert len(set(batch.labels.tolist())) == 3


@pytest.mark.parametrize("n_frames, length", [(15, 28), (15, 32), (15, 0), (5, 30), (7, 30)])
def test_lengths_that_do_not_fit_are_refused(sprites, n_frames, length):
    with pytest.raises(ValueError, match=f"max_transform_len is {length}, but must be one of "):
        sequences(sprites, "train", n_frames, length)


def test_wrong_names_are_answered_with_the_nearest(sprites, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'official'"):
        dsprites.load("oficial", tmp_path)
    with pytest.raises(ValueError, match="did you mean 'train'"):
        SpriteSequences(sprites, "trein")


AXES = {"shape": 3, "scale": 6, "orientation": 3, "x": 4, "y": 4}


@pytest.fixture
def archive(tmp_path):
    """A small archive built like the official one, its images random: the images and the file."""
    n = int(np.prod(list(AXES.values())))
    images = np.random.RandomState(0).randint(0, 2, (n, 64, 64)).astype(np.uint8)
    path = tmp_path / "served" / dsprites_archive.FILE
    path.parent.mkdir()
    np.savez_compressed(path, metadata=np.array({"pickled": True}, dtype=object), imgs=images)
    return images, path


def test_archive_is_read_in_its_own_order(archive):
    images, path = archive
    wanted = {"shape": range(3), "scale": range(1, 6), "orientation": range(0, 3, 2)}
    wanted |= {"x": range(0, 3, 2), "y": range(0, 4, 3)}
    packed = dsprites_archive.read(path, wanted, AXES)
    cut = images.reshape(*AXES.values(), -1)[:, 1:6, ::2][:, :, :, 0:3:2][:, :, :, :, ::3]
    assert np.array_equal(np.unpackbits(packed, axis=1), cut.reshape(-1, 64 * 64))


def test_archive_of_another_shape_is_refused(archive):
    with pytest.raises(ValueError, match="imgs is uint8"):
        dsprites_archive.read(archive[1], SUBSET)


class Server:
    """An HTTP server of one file on this machine, which may break off early."""

    def __init__(self, content: bytes, announced: int):
        self.requests = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.requests += 1
                handler.send_response(200)
                handler.send_header("Content-Length", str(announced))
                handler.end_headers()
                handler.wfile.write(content)

            def do_HEAD(handler):
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def test_download_is_verified_and_made_once(archive, tmp_path):
    content = archive[1].read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    target = tmp_path / "data" / dsprites_archive.FILE
    with Server(content, len(content)) as served:
        dsprites_archive.download(target.parent, served.url, md5)
        asked = served.requests
        dsprites_archive.download(target.parent, served.url, md5)
        assert served.requests == asked > 0 and target.read_bytes() == content


@pytest.mark.parametrize("fault", ["cut short", "wrong"])
def test_a_bad_download_leaves_nothing_behind(archive, tmp_path, fault):
    content = archive[1].read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    sent = content[:-1000] if fault == "cut short" else b"!" + content[1:]
    with Server(sent, len(content)) as served, pytest.raises(OSError, match="could not be downloaded"):
        dsprites_archive.download(tmp_path / "data", served.url, md5)
    assert [p.name for p in (tmp_path / "data").iterdir() if p.suffix != ".lock"] == []


def test_a_wrong_archive_put_there_by_hand(archive, drawings, caplog):
    folder = archive[1].parent
    with pytest.raises(ValueError, match="is not the official archive"):
        dsprites.load("official", folder)
    assert dsprites.DSPRITES.find("auto", folder) == ("offline", dsprites.KEYS["offline"])
    assert dsprites.load("auto", folder).key == dsprites.KEYS["offline"]
    assert "cannot be used" in caplog.text and dsprites_archive.FILE in caplog.text


def test_auto_without_network_renders(tmp_path, drawings, monkeypatch):
    monkeypatch.delenv("TVAE_OFFLINE", raising=False)
    monkeypatch.setattr(sources, "any_host_answers", lambda urls: False)
    assert dsprites.load("auto", tmp_path).key == dsprites.KEYS["offline"]


@pytest.fixture
def small(archive, monkeypatch):
    """The small archive is the official one."""
    wanted = {name: range(min(2, size)) for name, size in AXES.items()}
    monkeypatch.setattr(dsprites, "SUBSET", wanted)
    monkeypatch.setattr(dsprites, "N_IMAGES", 2**5)
    monkeypatch.setattr(dsprites_archive, "read", partial(dsprites_archive.read, axes=AXES))
    monkeypatch.setattr(dsprites_archive, "verify", lambda path: path)
    return archive[1]


def test_official_archive_is_kept_as_a_subset(small, monkeypatch):
    monkeypatch.setenv("TVAE_OFFLINE", "dsprites")  # what is at hand is read all the same
    assert dsprites.DSPRITES.find("auto", small.parent) == ("official", "dsprites-official")
    made = dsprites.load("auto", small.parent)
    assert made.key == "dsprites-official" and "verified" in made.source
    small.unlink()
    assert torch.equal(dsprites.load("official", small.parent).packed, made.packed)


@pytest.mark.parametrize("name", ["dsprites-official.npy", "dsprites-official.npz"])
def test_a_file_of_the_cache_is_never_taken_for_the_archive(
    small, tmp_path, drawings, caplog, monkeypatch, name
):
    monkeypatch.setenv("TVAE_OFFLINE", "dsprites")
    array = np.zeros((2**5, 512), np.uint8)
    with (tmp_path / name).open("wb") as file:
        np.save(file, array) if name.endswith("npy") else np.savez(file, packed=array, sha256="0" * 64)
    assert dsprites.DSPRITES.find("auto", tmp_path)[0] == "offline"
    with pytest.raises(ConnectionError, match="TVAE_OFFLINE names it"):
        dsprites.load("official", tmp_path)
