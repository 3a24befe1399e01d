"""Every option of an experiment, with its meaning and its check."""

import dataclasses
import itertools
import math
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch

from tvae_core.data import dsprites, mnist
from tvae_core.data.kinds import SplitSequences
from tvae_core.data.own import OwnSet, Sequences
from tvae_core.data.own_sequences import OwnSequences
from tvae_core.data.sources import SOURCES, ImageSet
from tvae_core.files import DATA
from tvae_core.model.grouper import Grouper
from tvae_core.model.losses import LIKELIHOODS
from tvae_core.model.networks import ENCODERS
from tvae_core.model.torus import BOUNDARIES, check_kernel, embed, offsets, window
from tvae_core.model.tvae import TVAE
from tvae_core.scales import SCALES
from tvae_core.seeding import generator
from tvae_core.validation import between, check_choice, check_number, check_options, matching, one_of

MOST_UNITS = 5000  # in a frame, or in a capsule over all frames: W has the square of that many entries
_COLOURED = ("mnist", "mnist_dual", "mnist_perspective", "mnist_accelerating", "mnist_random")
DATA_KINDS = (*_COLOURED, "mnist_grey", "dsprites", "own")
# An annotation is also the check that a value passes.
Topography = Annotated[str, one_of(("capsules", "lattice", "none"))]
_NAMES = "at most 100 letters, digits and _ . + = - alone, and begin with a letter, a digit or _"
Name = Annotated[str, matching(r"\w[\w.+=-]{0,99}", _NAMES)]
OwnKey = Annotated[str, matching("(own-[0-9a-f]{12})?", "a digest such as own-0123456789ab, or nothing")]
Start = Annotated[str, matching(r"(\w[\w.+=-]*-[0-9a-f]{12})?", "a name and a digest, or nothing")]
SEEDS = 0, 2**32 - 1
Count = Annotated[int, between(1, 10**9)]
Share = Annotated[float, between(0, 1)]
Positive = Annotated[float, between(0, above=True)]
Moderate = Annotated[float, between(-50, 50)]  # float32 holds its exponential


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run; the defaults are those of most of the sixteen experiments.

    Raises ValueError, naming the option, its value and what is allowed, for values that cannot be.
    """

    name: Name
    shows: str = ""  # the figure or table of the paper
    scale: str = "paper"

    data: Annotated[str, one_of(DATA_KINDS)] = "mnist"  # sequences trained on
    test_data: Annotated[str, one_of(("", *DATA_KINDS))] = ""  # sequences measured on, where others
    source: Annotated[str, one_of(SOURCES)] = "auto"  # of the images: data.sources
    max_transform_len: Count = 30  # dSprites: x, y and orientation have the official indices [0:this:2]
    sequences: OwnKey = ""  # own: the digest under which they are stored (data.own)
    frame_shape: tuple[int, ...] = ()  # own: channels, height and width
    closed: bool = True  # own: whether the first frame follows on the last one
    binary: bool = False  # own: whether all pixels are 0 or 1; then the IoU is measured

    n_caps: Count = 18  # C
    cap_dim: Count = 18  # D
    n_transforms: Count = 18  # S
    capsule: tuple[int, ...] = ()  # shape of a capsule of several dimensions (product cap_dim), or ()
    topography: Topography = "capsules"  # over (frames, units); "lattice": over units alone; "none": VAE
    group_kernel: tuple[int, ...] = (13, 13)  # lengths along (frames, units), or along the lattice's axes
    n_off_diag: Annotated[int, between(0)] | None = 1  # K = 2·n_off_diag + 1 if shifting; None: stationary
    boundary: Annotated[str, one_of(BOUNDARIES)] = "circular"
    trainable_w: bool = False
    mu_init: Annotated[float, between(-1e6, 1e6)] = 30.0
    eps: Annotated[float, between(1e-30, 1e6)] = 1e-6
    likelihood: Annotated[str, one_of(LIKELIHOODS)] = "bernoulli"
    encoder: Annotated[str, one_of(ENCODERS)] = "perceptron"  # networks.ENCODERS
    u_mean_init: Moderate = 0.0  # added to the initial mean and log-variance of q(u|x)
    u_logvar_init: Moderate = 0.0
    standardised: bool = False  # the decoder takes out the initial mean and spread of t (networks.Decoder)
    he_init: bool = False  # weights before a ReLU begin with He's variance (networks.he_init)

    seed: Annotated[int, between(*SEEDS)] = 1
    warm_start: Start = ""  # the weights that training begins with (training.warm_start); "": new ones
    batch_size: Count = 8  # sequences
    max_epochs: Count = 100
    max_steps: Count | None = None  # instead of max_epochs
    optimizer: Annotated[str, one_of(("sgd", "adamw"))] = "sgd"
    lr: Positive = 1e-4
    momentum: Share = 0.9  # of SGD
    beta2: Annotated[float, between(0, 0.999999)] = 0.999  # of AdamW; beta1 is 0.9; there is no weight decay
    lr_warmup: Share = 0.0  # in this first part of the steps the learning rate rises from 0
    lr_decay: Share = 0.0  # in this last part of the steps the learning rate falls to 0
    kl_floor: Annotated[float, between(0, 1, above=True)] = 1.0  # weight of the KL terms in the first
    kl_hold: Share = 0.0  # `kl_hold` of the steps, …
    kl_ramp: Share = 0.0  # … rising to 1, by the same factor in each step, over the next `kl_ramp` of them
    decode_every: Count = 1  # a step decodes one of so many frames, evenly spaced from a random one on
    n_draws: Count = 1  # posterior draws of each sequence in a step; its loss is their mean
    window_hold: Share = 0.0  # in this first part of the steps a shifting window spans all frames, …
    window_ramp: Share = 0.0  # … over the next `window_ramp` of them it shrinks to its own, frame by frame
    precision: Annotated[str, one_of(("float32", "bfloat16", "auto"))] = "float32"

    eval_epochs: Count = 5  # epochs between evaluations on the validation split
    eval_sequences: Count | None = None  # of the test split that are measured, at most; None: all
    n_is_samples: Annotated[int, between(1, 1000)] = 10
    wandb_on: bool = False  # the official scripts' name of tracker="wandb"
    tracker: Annotated[str, one_of(("none", "wandb", "tensorboard"))] = "none"  # training.tracking

    def __post_init__(self):
        check_options(self)
        for parts in (("kl_hold", "kl_ramp"), ("window_hold", "window_ramp"), ("lr_warmup", "lr_decay")):
            if (share := sum(getattr(self, part) for part in parts)) > 1 + 1e-9:
                raise ValueError(f"{' + '.join(parts)} is {share:g}, but must be at most 1")
        for option in _OF_OWN if self.data != "own" else ():
            if getattr(self, option) != _OF_OWN[option]:
                raise ValueError(f"{option} is set, but data is {self.data!r}, not 'own'")
        if self.test_data and not {self.data, self.test_data} <= {*_COLOURED}:
            raise ValueError(f"test_data is {self.test_data!r}, which cannot be had of {self.data!r}")
        if not self.closed and self.boundary == "circular":
            raise ValueError("boundary is 'circular', but the sequences are not closed: set 'zero' or 'edge'")
        frames = 1 if self.data == "mnist_grey" else mnist.N_FRAMES
        if self.data not in ("dsprites", "own") and self.n_transforms != frames:
            raise ValueError(f"n_transforms is {self.n_transforms}, but {self.data} sequences have {frames}")
        if math.prod(self.capsule_shape) != self.cap_dim:
            raise ValueError(f"capsule {self.capsule} does not have cap_dim = {self.cap_dim} units")
        if self.topography != "none":
            frames = self.n_transforms if self.topography == "capsules" else None
            kernel = check_kernel(self.group_kernel, self.capsule_shape, frames, self.n_off_diag is None)
            object.__setattr__(self, "group_kernel", kernel)
        if (most := max(self.n_caps, self.n_transforms) * self.cap_dim) > MOST_UNITS:
            raise ValueError(f"cap_dim · n_caps or n_transforms is {most:,}, but at most {MOST_UNITS:,} fit")

    @property
    def capsule_shape(self) -> tuple[int, ...]:
        """The shape of a capsule, (D,) unless it has several dimensions."""
        return self.capsule or (self.cap_dim,)

    @property
    def anchor(self) -> int:
        """l0, the frame whose window starts at frame 0; 0 where time plays no part."""
        return -window(self.group_kernel[0])[0] if self.topography == "capsules" else 0

    @cached_property
    def held_out(self) -> list[int]:
        """The frames on which t of the anchor does not depend; without grouper all but the anchor."""
        grouper = self.build_grouper()
        seen = grouper.seen_frames(self.anchor) if grouper else [self.anchor]
        return [frame for frame in range(self.n_transforms) if frame not in seen]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        known = {"dsprites": (1, 64, 64), "mnist_grey": (1, 28, 28), "own": self.frame_shape}
        return known.get(self.data, (3, 28, 28))

    @property
    def image_set(self) -> ImageSet | OwnSet:
        """The data set, with the way its images are found and read."""
        return {"own": OwnSet(self.sequences), "dsprites": dsprites.DSPRITES}.get(self.data, mnist.MNIST)

    @property
    def dataset(self) -> str:
        """The data set as people call it."""
        return self.image_set.name

    def find_images(self, folder: Path = DATA) -> tuple[str, str]:
        """Return the source that `load_images` reads and its key (ImageSet.find); fetch nothing."""
        return self.image_set.find(self.source, folder)

    def load_images(self, folder: Path = DATA) -> mnist.Digits | dsprites.Sprites | Sequences:
        """Return the images behind the sequences, with their `key` and `source`."""
        reader = {"own": self.image_set, "dsprites": dsprites}.get(self.data, mnist)
        return reader.load(self.source, folder)

    def build_sequences(
        self, split: str, seed: int, device: torch.device | str = "cpu", folder: Path = DATA
    ) -> SplitSequences:
        """Return the sequences of a split (train, validation, test), of `data` or, for test, `test_data`.

        Raises ValueError for an unknown split, seed or device, and what load_images raises.

        >>> Experiment("nontvae_mnist", source="offline").build_sequences("test", seed=0).factors
        ('rotation', 'hue', 'scale')
        """
        check_number("seed", seed, *SEEDS)
        check_choice(str(device).partition(":")[0], ("cpu", "cuda", "mps"), "device")
        images = self.load_images(folder)
        if self.data == "own":
            images.check(self.n_transforms, self.frame_shape, self.closed)
            return OwnSequences(images, split, device)
        if self.data == "dsprites":
            return dsprites.SpriteSequences(images, split, self.n_transforms, self.max_transform_len, device)
        kind = self.test_data if self.test_data and split == "test" else self.data
        kind = kind.removeprefix("mnist").removeprefix("_") or "single"
        return mnist.DigitSequences(images, split, seed, kind, device)

    def build_grouper(self) -> Grouper | None:
        """Return the grouper with W, mu and eps of this experiment; None for the plain VAE."""
        if self.topography == "none":
            return None
        lattice = (self.n_transforms, *self.capsule_shape)
        if self.topography == "capsules":
            pairs = offsets(*self.group_kernel, self.n_off_diag)
            steps = [embed(pairs, (0, axis), len(lattice)) for axis in range(1, len(lattice))]
        else:
            steps = [[(0, *step) for step in itertools.product(*map(window, self.group_kernel))]]
        return Grouper(lattice, steps, self.mu_init, self.eps, self.boundary, self.trainable_w)

    def build_model(self, seed: int | None = None) -> TVAE:
        """Return a new model on the CPU; its weights depend on the seed alone (None: its own seed)."""
        seed = self.seed if seed is None else check_number("seed", seed, *SEEDS)
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(generator("cpu", seed, "weights").get_state())
            start = self.u_mean_init, self.u_logvar_init, self.standardised, self.he_init, self.encoder
            shape = self.image_shape, self.n_caps, self.cap_dim
            return TVAE(*shape, self.build_grouper(), self.likelihood, *start)

    def at_scale(self, scale: str) -> "Experiment":
        """Return this experiment at a scale: `smoke` (seconds), `quick` (minutes), `long`, or `paper`."""
        changes = dict(SCALES[check_choice(scale, SCALES, "scale")])
        if self.n_transforms == 1:  # batches of single frames have a size of their own
            changes.pop("batch_size", None)
        return dataclasses.replace(self, scale=scale, **changes)

    def with_options(self, **options) -> "Experiment":
        """Return this experiment with options changed.

        Stationary capsules also take the lengths of group_kernel by the official scripts' names: `k_time`
        for frames, `k_space` or `group_size` for units. Raises ValueError for an unknown option.
        """
        known = [f.name for f in dataclasses.fields(self) if f.name not in _LABELS]
        for option in options:
            check_choice(option, [*known, *_LENGTHS], "option")
        lengths = {_LENGTHS[option]: options.pop(option) for option in _LENGTHS if option in options}
        changed = dataclasses.replace(self, **options)
        if lengths and (changed.topography != "capsules" or changed.n_off_diag is not None):
            raise ValueError("k_time, k_space and group_size can be set for stationary capsules only")
        kernel = dict(enumerate(changed.group_kernel)) | lengths
        return dataclasses.replace(changed, group_kernel=tuple(kernel.values()))

    def options(self, without: Container[str] = ()) -> dict[str, object]:
        """Return the options that enter a digest; those of _LATER only if set, so earlier digests stay."""
        named = {k: v for k, v in dataclasses.asdict(self).items() if k not in without}
        return {k: v for k, v in named.items() if k not in _LATER or v != _LATER[k]}


_OF_OWN = {"sequences": "", "frame_shape": (), "closed": True, "binary": False}
_LATER = {"n_draws": 1, "lr_warmup": 0.0, "warm_start": "", "encoder": "perceptron", **_OF_OWN}
_LABELS = ("name", "shows", "scale")
_LENGTHS = {"k_time": 0, "k_space": 1, "group_size": 1}  # the place of each in group_kernel
