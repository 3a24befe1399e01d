"""The same numbers in every precision: finite differences, float64 against float32, bfloat16 against it."""

import pytest
import torch
from torch.func import functional_call

from tvae_core.experiments import EXPERIMENTS
from tvae_core.measures.evaluation import evaluate
from tvae_core.model.grouper import Grouper
from tvae_core.model.torus import offsets
from tvae_core.model.tvae import TVAE

SMALL = {"n_caps": 3}
NAMES = ["tvae_Lpartial_mnist", "nontvae_mnist", "bubbles_dsprites", "tvae_2d_mnist"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(trainable=False, likelihood="bernoulli"):
    """Frames of 2 x 2 pixels, two capsules of two units over three frames."""
    grouper = Grouper((3, 2), [offsets(3, 2, 1)], 2.0, trainable=trainable)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TVAE((1, 2, 2), 2, 2, grouper, likelihood).double()


def terms(model, x, noise):
    out = model(x, noise=noise)
    return torch.stack([out.nll, out.kl_z, out.kl_u])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_equal_finite_differences(trainable, likelihood):
    model, x = tiny(trainable, likelihood), torch.rand(1, 3, 1, 2, 2, generator=seeded()).double()
    noise, names = model.noise(x, seeded(1)), [name for name, _ in model.named_parameters()]
    assert any("mu" in name for name in names) and any("weights" in name for name in names) == trainable

    def loss(*parameters):
        return terms_of(dict(zip(names, parameters, strict=True))).mean((1, 2))

    def terms_of(parameters):
        out = functional_call(model, parameters, (x,), {"noise": noise})
        return torch.stack([out.nll, out.kl_z, out.kl_u])

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()), fast_mode=False)


def test_a_wrong_gradient_is_seen(monkeypatch):
    model = tiny()
    u, z = torch.rand(2, 1, 3, 2, 2, generator=seeded()).double()
    group = model.grouper.forward
    assert torch.autograd.gradcheck(lambda u: group(z, u), u.requires_grad_())
    cut = Grouper.energy
    monkeypatch.setattr(Grouper, "energy", lambda self, u, *frames: cut(self, u, *frames).detach() + 0 * u)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda u: group(z, u), u)


def in_both(name):
    """Loss terms and gradients of one batch in float32 and in float64, with the same noise."""
    exp = EXPERIMENTS[name].with_options(**({} if name == "tvae_2d_mnist" else SMALL))
    x = torch.rand(2, exp.n_transforms, *exp.image_shape, generator=seeded())
    noise = exp.build_model().noise(x, seeded(1))
    for dtype in (torch.float32, torch.float64):
        model = exp.build_model().to(dtype)
        out = terms(model, x.to(dtype), tuple(part.to(dtype) for part in noise))
        assert out.dtype == dtype
        out.sum(0).mean().backward()
        yield out.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_float64_rounded(name):
    (single, slope), (double, exact) = in_both(name)
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    assert (slope.double() - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_float32(name):
    exp = EXPERIMENTS[name].with_options(**({} if name == "tvae_2d_mnist" else SMALL))
    x, model = torch.rand(2, exp.n_transforms, *exp.image_shape, generator=seeded()), exp.build_model()
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = terms(model, x, model.noise(x, seeded(1)))
        assert out.dtype == torch.float32
        out.sum(0).mean().backward()
        slope = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((out.detach(), slope))
    (single, exact), (half, slope) = found
    assert not torch.equal(single, half)
    torch.testing.assert_close(half[0], single[0], rtol=2e-3, atol=0)
    torch.testing.assert_close(half[1:], single[1:], rtol=2e-2, atol=0.05)
    assert torch.cosine_similarity(slope, exact, dim=0) > 0.995


def test_a_double_model_is_measured_end_to_end(data):
    exp = EXPERIMENTS["tvae_Lshort_dsprites"].at_scale("smoke").with_options(n_caps=2, eval_sequences=2)
    rows = [evaluate(exp.build_model().to(dtype), exp, data=data) for dtype in (torch.float32, torch.float64)]
    assert rows[0]["kl_u"] == pytest.approx(rows[1]["kl_u"], rel=1e-4)
    assert exp.build_model().double().sample(1).dtype == torch.float64
