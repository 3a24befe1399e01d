"""Bad input to public functions, options, commands and data files: one sentence, never another error.

By a table, and by hypothesis; `--hypothesis-profile=thorough` tries forty times as much.
"""

import contextlib
import dataclasses
import io
import math
import shutil
import struct
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tvae_core import (
    EXPERIMENTS,
    TVAE,
    capsule_correlation,
    check_encoder,
    check_grouper,
    check_sequences,
    encode,
    equivariance_error,
    evaluate,
    fit,
    roll,
    start_from,
)
from tvae_core.cli import main
from tvae_core.data import mnist
from tvae_core.data.dsprites import render
from tvae_core.data.dsprites_archive import keep, read_kept
from tvae_core.data.warps import affine_frames, perspective_frames
from tvae_core.experiments import read_experiment, write_experiment
from tvae_core.measures.metrics import equivariance_error_at_chance, importance_sampled, iou, selectivity
from tvae_core.model.grouper import Grouper
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.model.torus import neighbours, offsets, roll_each, roll_smoothly
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.reproduce.request import read_request
from tvae_core.training.runs import Run, plan

EXP = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(n_caps=2)
MODEL, TEST = EXP.build_model(0), EXP.build_sequences("test", 0)
X, T, IMAGES, VALUES = (
    torch.rand(2, 18, 3, 28, 28),
    torch.rand(2, 18, 2, 18),
    torch.rand(2, 1, 28, 28),
    torch.zeros(2, 4),
)
FACTORS, VARIED, ONE = torch.randint(18, (2, 18, 3)), torch.tensor([0, 1]), torch.tensor([1])


@pytest.fixture(autouse=True)
def users_types(monkeypatch):
    """As outside of the tests, where our own checks come first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def nan(x):
    return torch.full_like(x, math.nan)


CASES = {
    "shift is 1.5, but must be a whole number": lambda: roll(T, 1.5),
    "axis is 1, but must be at most 0": lambda: roll(T, 1, 1),
    "axis is -1, but must be at least 0": lambda: roll_each(T, ONE, -1),
    r"capsule is \(4, 4\), but t has 18 units": lambda: roll(T, 1, 0, (4, 4)),
    r"t is array\(.*, but must be a tensor": lambda: roll(np.zeros(3), 1),
    r"shifts of shape \(7,\) do not broadcast": lambda: roll_each(T, torch.arange(7)),
    "shifts holds torch.float32, but must hold whole numbers": lambda: roll_each(T, torch.ones(1)),
    "t holds torch.int64, but must hold fractions": lambda: roll_smoothly(torch.arange(4), ONE),
    "shifts holds torch.bool, but must hold numbers": lambda: roll_smoothly(T, ONE.bool()),
    "skew is -1, but must be at least 0": lambda: offsets(3, 3, -1),
    r"offsets \[\] do not fit": lambda: neighbours((3, 3), []),
    "an axis of the lattice is 0": lambda: neighbours((0, 3), [(0, 0)]),
    "did you mean 'gaussian'": lambda: negative_log_likelihood(X, X, "gausian"),
    r"likelihood 'poisson' is not one of": lambda: negative_log_likelihood(X, X, "poisson"),
    r"x has shape \(1, 3, .*, but must be \(B, S, ch, h, w\), with B = 2, S = 18": lambda: iou(X, X[:1, :3]),
    r"t has shape \(18, 2, 18\), but must be \(B, S, C, D\)": lambda: equivariance_error(T[0]),
    "t is a ndarray, but must be a tensor": lambda: equivariance_error(T.numpy()),
    r"partner has shape \(2, 3, 2, 18\)": lambda: equivariance_error(T, T[:, :3]),
    "t holds values that are not finite": lambda: equivariance_error(nan(T)),
    "t has shape .2, 0, 2, 18., which holds nothing": lambda: equivariance_error(T[:, :0]),
    "omega 'best' is not one of first, nearest": lambda: capsule_correlation(T, FACTORS, VARIED, "best"),
    "partner holds values that are not finite": lambda: equivariance_error(T, nan(T)),
    "frames is 0, but must be at least 1": lambda: equivariance_error_at_chance(0, 1, 1),
    "capsules is 0, but must be at least 1": lambda: equivariance_error_at_chance(1, 0, 1),
    "^units is 0, but must be at least 1": lambda: equivariance_error_at_chance(1, 1, 0),
    "t holds values that are not finite numbers .nan or inf.": lambda: capsule_correlation(
        nan(T), FACTORS, VARIED
    ),
    r"labels has shape .1,., but must be .N,., with N = 2": lambda: selectivity(T[:, 0, 0], VARIED[:1]),
    "varied has values from 9 to 10, but .* from 0 to 2": lambda: capsule_correlation(T, FACTORS, VARIED + 9),
    r"varied has shape \(1,\), but must be \(B,\), with B = 2": lambda: capsule_correlation(T, FACTORS, ONE),
    r"factors has shape \(2, 4, 3\)": lambda: capsule_correlation(T, FACTORS[:, :4], VARIED),
    "factors holds torch.float32": lambda: capsule_correlation(T, FACTORS.float(), VARIED),
    "factors has values from -.*, but they must be at least 0": lambda: capsule_correlation(
        T, FACTORS - 30, VARIED
    ),
    "t has shape .0, 18, 2, 18., which holds nothing": lambda: capsule_correlation(
        T[:0], FACTORS[:0], VARIED[:0]
    ),
    "over 'frame' is not one of sequence, per_frame": lambda: importance_sampled(T[0], "frame"),
    "log_weights has shape .0, 2, 18., which holds nothing": lambda: importance_sampled(T[:0, 0]),
    "labels has values from 9 to 10": lambda: selectivity(T[:, 0, 0], VARIED + 9),
    r"images has shape \(2, 3, 28, 28\), but must be \(B, 1, h, w\)": lambda: perspective_frames(
        X[:, 0], VALUES, VALUES
    ),
    "images holds torch.uint8": lambda: affine_frames(IMAGES.byte(), VALUES, VALUES + 1, VALUES),
    "images has values from .*, but they must be from 0 to 1": lambda: affine_frames(
        IMAGES * 255, VALUES, VALUES + 1, VALUES
    ),
    "scales has values down to 0, but they must be above 0": lambda: affine_frames(
        IMAGES, VALUES, VALUES, VALUES
    ),
    "degrees holds values that are not finite": lambda: perspective_frames(IMAGES, nan(VALUES), VALUES),
    r"degrees has shape \(1, 4\), but .* with B = 2": lambda: affine_frames(
        IMAGES, VALUES[:1], VALUES + 1, VALUES
    ),
    "scales has values down to -1": lambda: affine_frames(
        IMAGES, VALUES, torch.tensor([[1.0, -1.0, 1.0, 1.0]] * 2), VALUES
    ),
    r"scales has shape \(2, 2\), but .* with B = 2, S = 4": lambda: affine_frames(
        IMAGES, VALUES, VALUES[:, :2] + 1, VALUES
    ),
    r"hues has shape \(2, 2\), but .* with B = 2, S = 4": lambda: affine_frames(
        IMAGES, VALUES, VALUES + 1, VALUES[:, :2]
    ),
    r"hues has shape \(2, 4\), but .* with B = 2, S = 2": lambda: perspective_frames(
        IMAGES, VALUES[:, :2], VALUES
    ),
    r"x has shape \(2, 1, .*\), but must be": lambda: negative_log_likelihood(X, X[:, :1]),
    "images have 1 × 1 pixels": lambda: affine_frames(IMAGES[..., :1, :1], VALUES, VALUES + 1, VALUES),
    "shape is 'heart', but must be indices from 0 to 2": lambda: render("heart", 0, 0, 0, 0),
    "orientation nan is not among the indices 0 to 39": lambda: render(0, 0, math.nan, 0, 0),
    r"x has shape \(2, 18, 1, 28, 28\), but must be \(B, S, 3, 28, 28\)": lambda: MODEL(X[:, :, :1]),
    "x has values from .* to 2.*, but they must be from 0 to 1": lambda: MODEL(X * 255),
    "x holds values that are not finite numbers": lambda: MODEL.latents(nan(X)),
    r"x has shape \(18, 3, 28, 28\)": lambda: MODEL.encode(X[0]),
    "u has 17 frames of 18 units, but this W couples 18 of 18": lambda: MODEL.latents(X[:, :17]),
    r"t has shape \(2, 18, 18, 2\), but must be \(B, S, 2, 18\)": lambda: MODEL.decode(T.mT),
    "t holds values that are not finite numbers": lambda: MODEL.decode(nan(T)),
    "anchor is 18, but must be at most 17": lambda: MODEL.traverse(T, 18),
    "axis is 3, but must be at most 0": lambda: MODEL.traverse(T, 0, (3,)),
    "n is 0, but must be at least 1": lambda: MODEL.traverse(T, 0, n=0),
    "step is 0.5, but must be a whole number": lambda: MODEL.traverse(T, 0, step=0.5),
    "sequences is 0, but must be at least 1": lambda: MODEL.sample(0),
    r"z has shape \(1, 18, 2, 18\), but .* with B = 2": lambda: MODEL.grouper(T[:1], T),
    r"z has shape .2, 5, 2, 18., but .* with B = 2, S = 18": lambda: MODEL.grouper(T[:, :5], T),
    "u has 9 frames of 36 units": lambda: MODEL.grouper(T.view(2, 9, 2, 36), T.view(2, 9, 2, 36)),
    "eps is 0.0, but must be above 0": lambda: Grouper((3, 4), [[(0, 0)]], 30.0, 0.0),
    "mu is inf, but must be a finite number": lambda: Grouper((3, 4), [[(0, 0)]], math.inf),
    "offsets for one axis": lambda: Grouper((3, 4), []),
    "units, is 0, but must be at least 1": lambda: TVAE((1, 4, 4), 1, 0),
    r"image_shape is \(4, 4\), but must be": lambda: TVAE((4, 4), 1, 2),
    "units is 5, but the grouper's capsules have 18": lambda: TVAE((1, 4, 4), 1, 5, MODEL.grouper),
    r"but a capsule has \(18, 18\) units": lambda: EXPERIMENTS["tvae_2d_mnist"].with_options(
        group_kernel=(5, 50)
    ),
    r"\(5, 19\), but a capsule has \(18,\)": lambda: EXP.with_options(n_off_diag=None, group_kernel=(5, 19)),
    "n_transforms is 180,000,000, but at most 5,000 fit": lambda: EXP.with_options(n_caps=10**7),
    "seed is -1, but must be at least 0": lambda: EXP.build_model(-1),
    "seed is 'a', but must be a whole number": lambda: EXP.build_sequences("test", "a"),
    "device 'gpu' is not one of": lambda: EXP.build_sequences("test", 0, "gpu"),
    "did you mean 'test'": lambda: EXP.build_sequences("tests", 0),
    "index has values from 1e.06 .*, but they must be from 0 to 499": lambda: TEST.sequence(ONE * 10**6, 0),
    "index holds torch.float32": lambda: TEST.sequence(torch.ones(1), 0),
    "varied is 'hue', but must be a whole number": lambda: TEST.sequence(ONE, "hue"),
    "varied is 7, but must be at most 2": lambda: TEST.sequence(ONE, 7),
    "exp is a str, but must be an Experiment": lambda: plan("tvae_Lhalf_mnist"),
    "device 'cud' .*did you mean 'cuda'": lambda: fit(EXP, "cud"),
    "batch_size is 5000, but there are 4,000 sequences": lambda: fit(
        EXP.with_options(batch_size=5000), "cpu", "/dev/shm/none"
    ),
    r"the model has images \(3, 28, 28\), 2 capsules of 18 units, but tvae_Lhalf_dsprites": lambda: evaluate(
        MODEL, EXPERIMENTS["tvae_Lhalf_dsprites"]
    ),
    "model is 3, but must be a TVAE": lambda: evaluate(3, EXP),
    "exp is a str, but must be an Experiment, one": lambda: evaluate(MODEL, "tvae_Lhalf_mnist"),
    "encoder is a NoneType, but must be a torch.nn.Module": lambda: check_encoder(None, (3, 28, 28), 2, 18),
    r"image_shape is \(28, 28\), but must be": lambda: check_encoder(MODEL.encoder_z, (28, 28), 2, 18),
    "frames is -1, but must be at least 1": lambda: check_grouper(MODEL.grouper, -1, 2, 18),
    "an experiment is named by a text, not by a NoneType": lambda: read_experiment(None, "smoke"),
    "run is a str, but must be of type Run": lambda: start_from(EXP, "mine.tvae", None),
    "sequences are a NoneType, but must be an array": lambda: check_sequences(None),
    "n is 1.5, but must be a whole number": lambda: encode(Run(EXP, Path()), X, n=1.5),
    "x is of type datetime64.s., but must hold numbers": lambda: check_sequences(np.zeros(3, "M8[s]")),
    "closed is 'maybe', but must be True or False": lambda: check_sequences(X, closed="maybe"),
}


@pytest.mark.parametrize("words", CASES)
def test_bad_input_is_named(words):
    with pytest.raises(ValueError, match=words):
        CASES[words]()


# What may stand in place of an argument: numbers, words, and tensors of any shape, type and values.
NUMBERS = st.one_of(st.integers(-30, 30), st.floats(width=32), st.booleans(), st.none(), st.text(max_size=3))
DTYPES = [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64]


@st.composite
def tensors(draw, like=None):
    """A tensor, or one like another but for its type, a value, or the size of an axis."""
    if like is None:
        shape, like = draw(st.lists(st.integers(0, 4), max_size=5)), torch.zeros(())
        return torch.full(shape, draw(st.integers(-3, 3))).to(draw(st.sampled_from(DTYPES)))
    how = draw(st.integers(0, 2))
    if how == 0:
        return like.to(draw(st.sampled_from(DTYPES)))
    if how == 1:
        return like * draw(st.sampled_from([math.nan, math.inf, -1, 300]))
    axis = draw(st.integers(0, like.ndim - 1))
    return like.narrow(axis, 0, draw(st.integers(0, like.shape[axis])))


KERNEL = [(0, 0), (1, 1)]
PUBLIC = {
    "roll": (roll, [T, 1, 0]),
    "roll_each": (roll_each, [T, ONE, 0]),
    "offsets": (offsets, [3, 3, 1]),
    "negative_log_likelihood": (negative_log_likelihood, [X, X, "bernoulli"]),
    "equivariance_error": (equivariance_error, [T, T]),
    "capsule_correlation": (capsule_correlation, [T, FACTORS, VARIED, "first"]),
    "importance_sampled": (importance_sampled, [T[0], "sequence"]),
    "iou": (iou, [X, X]),
    "affine_frames": (affine_frames, [IMAGES, VALUES, VALUES + 1, VALUES]),
    "perspective_frames": (perspective_frames, [IMAGES, VALUES, VALUES]),
    "render": (render, [0, 0, 0, 0, 0]),
    "grouper": (MODEL.grouper, [T, T]),
    "model": (MODEL, [X]),
    "latents": (MODEL.latents, [X]),
    "decode": (MODEL.decode, [T]),
    "traverse": (lambda t, anchor, step, n: MODEL.traverse(t, anchor, step=step, n=n), [T, 2, 1, 3]),
    "sample": (MODEL.sample, [1]),
    "Grouper": (lambda mu, eps: Grouper((3, 4), [KERNEL], mu, eps), [30.0, 1e-6]),
    "build_model": (EXP.build_model, [1]),
    "build_sequences": (EXP.build_sequences, ["test", 1, "cpu"]),
    "sequence": (TEST.sequence, [ONE, 1]),
    "plan": (plan, [EXP, "cpu"]),
}


def answers(call, *arguments):
    """Whether bad input is answered by one sentence, or taken; any other error is raised."""
    try:
        with torch.no_grad():
            call(*arguments)
    except (ValueError, OSError) as error:
        assert 10 < len(str(error)) < 1000 and "\n" not in str(error), error
        return True
    return False


@pytest.mark.parametrize("name", PUBLIC)
@given(data=st.data())
def test_whatever_is_given_is_taken_or_named(name, data):
    call, valid = PUBLIC[name]
    place = data.draw(st.integers(0, len(valid) - 1))
    like = valid[place] if isinstance(valid[place], torch.Tensor) else None
    given = list(valid)
    given[place] = data.draw(
        st.one_of(NUMBERS, tensors(), *([tensors(like)] * 3 if like is not None else []))
    )
    assert not answers(call, *valid)
    answers(call, *given)


OPTIONS = st.sampled_from([field.name for field in dataclasses.fields(EXP)])
VALUE = st.one_of(
    st.integers(-3, 40),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.lists(st.integers(-2, 30), max_size=3),
)


@given(name=OPTIONS, value=VALUE)
def test_whatever_an_option_is_set_to_is_taken_or_named(name, value):
    if not answers(lambda: EXP.with_options(**{name: value})) and name not in ("name", "shows", "scale"):
        changed = EXP.with_options(**{name: value})
        assert read_experiment(write_experiment(changed), "smoke").with_options(
            seed=changed.seed
        ) == dataclasses.replace(changed, source=EXP.source, wandb_on=EXP.wandb_on)


@given(
    texts=st.lists(st.one_of(st.text(max_size=20), st.builds("{}={!r}".format, OPTIONS, VALUE)), max_size=2)
)
def test_whatever_a_command_is_told_ends_with_0_or_with_2_and_one_sentence(texts):
    settings = [word for text in texts for word in ("--set", text)]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(["--name", "tvae_Lshort_mnist", "--scale", "smoke", "--show-config", *settings])
        except SystemExit as stop:  # argparse's own, with the usage
            code = stop.code
    assert code in (0, 2) and (code == 0) == (not said.getvalue()) and "Traceback" not in said.getvalue()


@given(text=st.one_of(st.text(max_size=30), st.from_regex(r"[a-z]{1,9}=.{0,20}", fullmatch=True)))
def test_whatever_a_notebook_is_told_is_taken_or_named(text):
    available = notebooks()
    answers(read_request, ["--scale", "smoke", "--device", "cpu", "--only", "fig4", "--set", text], available)
    answers(read_request, ["--scale", "smoke", "--device", "cpu", "--only", text], available)
    answers(read_request, ["--scale", "smoke", "--device", "cpu", "--seeds", text, "--jobs", text], available)


def idx(n):
    """The four files of a small data set, by name."""
    found = {}
    for stem in ("train", "t10k"):
        found[f"{stem}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, n, 28, 28) + bytes(n * 784)
        found[f"{stem}-labels-idx1-ubyte"] = struct.pack(">II", 2049, n) + bytes(i % 10 for i in range(n))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("laid")


@given(
    name=st.sampled_from(sorted(idx(12))),
    cut=st.integers(0, 9500),
    flip=st.integers(0, 40),
    more=st.binary(max_size=9),
    packed=st.booleans(),
)
def test_whatever_lies_in_the_data_folder_is_read_as_it_is_or_named(folder, name, cut, flip, more, packed):
    raw = folder / "MNIST" / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    raw.mkdir(parents=True)
    files = idx(12)
    content = bytearray(files[name][:cut] + more)
    for place in range(min(flip, len(content))):
        content[place] ^= 0x81
    files[name] = bytes(content)
    for other, laid in files.items():
        (raw / other).write_bytes(laid)
    if packed:
        (raw / name).rename(raw / f"{name}.gz")
    try:
        digits = mnist._lying_in(folder)
    except (ValueError, OSError) as error:
        assert name in str(error) or name.replace("images-idx3", "labels-idx1") in str(error)
    else:
        assert not digits.official and digits.images.shape[1:] == (28, 28) and digits.labels.max() < 10


@given(cut=st.integers(0, 9000), flip=st.integers(0, 9000))
def test_whatever_a_kept_file_of_sprites_holds_is_what_was_kept_or_made_anew(folder, cut, flip):
    path, images = folder / "kept.npz", np.arange(16 * 512, dtype=np.uint8).reshape(16, 512)
    folder.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    keep(path, 16, lambda: images)
    content = bytearray(path.read_bytes())
    if flip < len(content):
        content[flip] ^= 1
    path.write_bytes(bytes(content[: max(cut, 1)] if cut < 8000 else content))
    found = read_kept(path, 16)
    assert found is None or np.array_equal(found, images)
