"""What a user may bring, an encoder or a grouper, passes its check; each fault is named by it."""

import pytest
import torch
from torch import nn

from tvae_core import EXPERIMENTS, check_encoder, check_grouper
from tvae_core.model.networks import ENCODERS

SHAPE = (3, 9, 7), 2, 5  # frames, capsules, units


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_passes(name):
    assert "parameters" in check_encoder(ENCODERS[name](*SHAPE), *SHAPE)


class Faulty(ENCODERS["convolutional"]):
    """An encoder with one fault."""

    def __init__(self, fault):
        super().__init__(*SHAPE)
        self.fault = fault
        if fault == "idle":
            self.idle = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        mean, logvar = super().forward(x)
        faults = {
            "one": lambda: mean,
            "shape": lambda: (mean.flatten(2), logvar),
            "half": lambda: (mean.half(), logvar),
            "nan": lambda: (mean, logvar / 0),
            "frames": lambda: (mean - mean.mean(1, keepdim=True), logvar),
            "blind": lambda: (mean, 0 * logvar),
            "idle": lambda: (mean, logvar),
        }
        return faults[self.fault]()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("one", "must return"),
        ("shape", r"mean has shape \(3, 4, 10\)"),
        ("half", "float16"),
        ("nan", "log-variance is not finite"),
        ("frames", "depends on other frames"),
        ("blind", "log-variance is the same"),
        ("idle", "parameter idle has no gradient"),
    ],
)
def test_each_fault_of_an_encoder_is_named(fault, said):
    with pytest.raises(ValueError, match=said):
        check_encoder(Faulty(fault), *SHAPE)


SIZES = 18, 3, 18  # frames, capsules, units


@pytest.mark.parametrize(
    ("options", "rolls"),
    [({}, True), ({"n_off_diag": None}, True), ({"boundary": "zero"}, False), ({"trainable_w": True}, True)],
)
def test_every_grouper_passes_and_is_told_apart_by_its_border(options, rolls):
    grouper = EXPERIMENTS["tvae_Lshort_mnist"].with_options(**options).build_grouper()
    assert ("t rolls where" in check_grouper(grouper, *SIZES)) == rolls


FAULTS = {
    "frames and units are": lambda self, z, u, f: None,
    "sign of u": lambda self, z, u, f: self.inner(z, u.exp(), f),
    "another": lambda self, z, u, f: self.inner(z, u.abs() + u.abs().mean(2, keepdim=True), f),
    "is not that of all frames": lambda self, z, u, f: self.inner(z, u if f is None else u + u, f),
    "not finite": lambda self, z, u, f: self.inner(z, u, f) / 0,
    "no gradient": lambda self, z, u, f: self.inner(z, u, f).detach() + 0 * self.inner.mu,
    "has shape": lambda self, z, u, f: self.inner(z, u, f).flatten(2),
}


@pytest.mark.parametrize("said", FAULTS)
def test_each_fault_of_a_grouper_is_named(said):
    class Wrong(nn.Module):
        frames, capsule = (17 if said == "frames and units are" else 18), (18,)

        def __init__(self):
            super().__init__()
            self.inner = EXPERIMENTS["tvae_Lshort_mnist"].build_grouper()

        def forward(self, z, u, frames=None):
            return FAULTS[said](self, z, u, frames)

    with pytest.raises(ValueError, match=said):
        check_grouper(Wrong(), *SIZES)


def test_an_encoder_of_ones_own_is_trained_by_its_name(monkeypatch):
    monkeypatch.setitem(ENCODERS, "mine", ENCODERS["convolutional"])
    exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(encoder="mine")
    model = exp.build_model(0)
    assert type(model.encoder_u) is ENCODERS["mine"] and exp.options()["encoder"] == "mine"
    model(torch.rand(2, 18, 3, 28, 28)).elbo.mean().backward()
    assert all(p.grad.any() for p in model.parameters())
    q_u = model.encoder_u(torch.rand(2, 18, 3, 28, 28))
    assert abs(q_u.mean.mean() - 0.7) < 0.2 and abs(q_u.logvar.mean() + 2) < 0.2
