"""The model's face for every experiment, loss terms against torch.distributions, traversals, samples."""

import math

import pytest
import torch
from scipy.stats import kstest
from torch.distributions import Bernoulli, Normal, kl_divergence

from tvae_core.experiments import EXPERIMENTS
from tvae_core.model.losses import (
    Gaussian,
    gaussian_kl,
    gaussian_log_density,
    negative_log_likelihood,
)
from tvae_core.model.tvae import TVAE

PARAMETERS = {  # topographic or not, by data
    ("mnist", True): 9_803_920,
    ("dsprites", True): 9_716_177,
    ("mnist", False): 6_465_748,
    ("dsprites", False): 6_443_552,
    ("mnist_grey", True): 5_231_630,
}
SMALL = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(n_caps=2)
PLAIN = EXPERIMENTS["nontvae_mnist"].with_options(n_caps=2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(exp, b=2):
    return torch.rand(b, exp.n_transforms, *exp.image_shape, generator=seeded(7))


def alike(a, b):
    return all(
        torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_public_face(name):
    exp = EXPERIMENTS[name]
    model, x = exp.build_model(seed=0), images(exp)
    plain = name.startswith("nontvae")
    with torch.inference_mode():
        out = model(x, seeded())
        b, s = x.shape[:2]
        assert out.z.shape == out.t.shape == (b, s, exp.n_caps, exp.cap_dim)
        assert out.probs.shape == x.shape and 0 <= out.probs.min() and out.probs.max() <= 1
        assert out.nll.shape == out.kl_z.shape == out.kl_u.shape == (b, s)
        torch.testing.assert_close(model.decode(out.t), out.probs)
        assert model.traverse(out.t, exp.anchor).shape == x.shape
        torch.testing.assert_close(out.elbo, -(out.nll + out.kl_z + out.kl_u))
        assert (out.u is None) == (model.grouper is None) == plain
        if plain:
            assert torch.equal(out.t, out.z) and not out.kl_u.any()
        else:
            assert out.u.shape == out.z.shape and (out.kl_u > 0).all()
            assert not torch.equal(out.u, out.z)  # encoders of their own
            torch.testing.assert_close(model.grouper(out.z, out.u), out.t)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kind = exp.data if exp.data in ("dsprites", "mnist_grey") else "mnist"
    assert count == PARAMETERS[kind, not plain]


@pytest.mark.parametrize("name", ["tvae_2d_mnist", "tvae_Lpartial_mnist", "tvae_L0_dsprites"])
def test_mu_is_one_trainable_scalar(name):
    model = EXPERIMENTS[name].build_model()
    assert model.grouper.mu.shape == () and model.grouper.mu.requires_grad
    assert model.grouper.mu.item() == (10 if name == "tvae_2d_mnist" else 30)


def test_widths_of_the_networks():
    model = EXPERIMENTS["tvae_Lpartial_mnist"].build_model()
    widths = {
        n: [m.out_features for m in getattr(model, n).modules() if isinstance(m, torch.nn.Linear)]
        for n in ("encoder_z", "encoder_u", "decoder")
    }
    assert widths["encoder_z"] == widths["encoder_u"] == [3 * 324, 2 * 324, 2 * 324]
    assert widths["decoder"] == [2 * 324, 3 * 324, 3 * 28 * 28]


def test_kl_equals_torch_distributions():
    mean, logvar = torch.randn(2, 3, 4, 5, 6, generator=seeded())
    wanted = kl_divergence(Normal(mean, torch.exp(logvar / 2)), Normal(0.0, 1.0)).sum((2, 3))
    torch.testing.assert_close(gaussian_kl(mean, logvar), wanted)
    x = torch.randn(3, 4, 5, 6, generator=seeded(1))
    wanted = Normal(mean, torch.exp(logvar / 2)).log_prob(x).sum((2, 3))
    torch.testing.assert_close(gaussian_log_density(x, mean, logvar), wanted)
    torch.testing.assert_close(gaussian_log_density(x), Normal(0.0, 1.0).log_prob(x).sum((2, 3)))


def test_a_draw_is_mean_and_spread_times_noise():
    mean, logvar, noise = torch.randn(3, 2, 3, 4, 5, generator=seeded())
    posterior = Normal(mean, torch.exp(logvar / 2))
    drawn = Gaussian(mean, logvar).at(noise)
    torch.testing.assert_close((drawn - posterior.mean) / posterior.stddev, noise)


def test_likelihoods_equal_torch_distributions():
    logits = torch.randn(2, 3, 1, 5, 5, generator=seeded())
    grey = torch.rand(logits.shape, generator=seeded(1))
    coin = Bernoulli(logits=logits, validate_args=False)  # grey values are used as they are
    wanted = -(grey * coin.probs.log() + (1 - grey) * (1 - coin.probs).log()).sum((2, 3, 4))
    torch.testing.assert_close(negative_log_likelihood(logits, grey), wanted)
    black = grey.round()
    torch.testing.assert_close(negative_log_likelihood(logits, black), -coin.log_prob(black).sum((2, 3, 4)))
    wanted = -Normal(coin.probs, 0.1).log_prob(grey).sum((2, 3, 4))
    torch.testing.assert_close(negative_log_likelihood(logits, grey, "gaussian"), wanted)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_loss_terms_of_the_model(likelihood):
    exp = SMALL.with_options(likelihood=likelihood)
    model, x = exp.build_model(), images(exp)
    out = model(x, seeded())
    torch.testing.assert_close(out.nll, negative_log_likelihood(out.logits, x, likelihood))
    q_z, q_u = model.encode(x)
    for kl, q in ((out.kl_z, q_z), (out.kl_u, q_u)):
        std = torch.exp(q.logvar / 2)
        torch.testing.assert_close(kl, kl_divergence(Normal(q.mean, std), Normal(0.0, 1.0)).sum((2, 3)))
    out.elbo.mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_frames_are_encoded_and_decoded_one_by_one():
    model, x = SMALL.build_model(), images(SMALL)
    q_z, _ = model.encode(x)
    torch.testing.assert_close(model.encode(x[:1, 3:4])[0].mean, q_z.mean[:1, 3:4])
    t = model.latents(x)
    torch.testing.assert_close(model.decode(t[:1, 3:4]), model.decode(t)[:1, 3:4])


@pytest.mark.parametrize(
    "exp", [SMALL, PLAIN, SMALL.with_options(capsule=(3, 6)), EXPERIMENTS["bubbles_mnist"]]
)
def test_traversal_decodes_the_rolls_of_the_anchor(exp):
    model, anchor = exp.build_model(), exp.anchor
    t = torch.randn(2, 18, exp.n_caps, 18, generator=seeded())
    with torch.inference_mode():
        traversal = model.traverse(t, anchor).sigmoid()
        rolled = t[:, anchor].unflatten(-1, exp.capsule_shape)
        for frame in range(18):
            moved = torch.roll(rolled, frame - anchor, -len(exp.capsule_shape)).flatten(3 - 1)
            torch.testing.assert_close(traversal[:, frame], model.decode(moved.unsqueeze(1)).squeeze(1))
    torch.testing.assert_close(traversal[:, anchor], model.decode(t)[:, anchor])
    assert not torch.allclose(traversal[:, anchor], traversal[:, anchor + 1])


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=str)
def test_the_torus_is_rolled_in_both_directions(axes):
    exp = EXPERIMENTS["tvae_2d_mnist"]
    model, t = exp.build_model(), torch.randn(2, 1, 1, 324, generator=seeded())
    square = t.view(2, 18, 18)
    with torch.inference_mode():
        rolled, traversal = model.rolls(t, 0, axes, n=18), model.traverse(t, 0, axes, n=18)
    assert traversal.shape == (2, 18, 1, 28, 28)
    for shift in range(18):
        wanted = square.roll([shift] * len(axes), [1 + axis for axis in axes])
        assert torch.equal(rolled[:, shift, 0].view(2, 18, 18), wanted)


@pytest.mark.parametrize("name", ["tvae_Lpartial_mnist", "bubbles_dsprites", "tvae_2d_mnist"])
def test_samples_from_the_prior_are_grouped_over_all_frames(name):
    exp = EXPERIMENTS[name]
    model, seen = exp.build_model(), {}
    model.grouper.register_forward_hook(lambda _, zu, t: seen.update(z=zu[0], u=zu[1], t=t))
    model.decoder.register_forward_hook(lambda _, t, logits: seen.update(decoded=t[0], logits=logits))
    with torch.inference_mode():
        x = model.sample(6, generator=seeded())
        shape = (6, exp.n_transforms, exp.n_caps, exp.cap_dim)
        assert x.shape == (6, exp.n_transforms, *exp.image_shape) and 0 <= x.min() and x.max() <= 1
        assert seen["z"].shape == seen["u"].shape == shape and torch.equal(seen["t"], seen["decoded"])
        assert torch.equal(x, seen["logits"].sigmoid())
        for noise in (seen["z"], seen["u"]):
            assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
        assert not torch.equal(seen["z"], seen["u"])
        assert torch.equal(model.sample(6, generator=seeded()), x)
        assert not torch.equal(model.sample(6, generator=seeded(1)), x)


def test_samples_of_the_plain_vae_decode_the_prior():
    model = PLAIN.build_model()
    with torch.inference_mode():
        assert model.sample(5, 3, seeded()).shape == (5, 3, 3, 28, 28)
        assert torch.equal(model.sample(5, 3, seeded()), model.sample(5, 3, seeded()))


def test_weights_depend_on_the_seed_alone():
    model = SMALL.build_model(3)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert alike(SMALL.build_model(3), model) and torch.equal(torch.random.get_rng_state(), state)
    assert not alike(SMALL.build_model(4), model)
    assert alike(SMALL.build_model(), SMALL.build_model(SMALL.seed))


def test_a_forward_pass_depends_on_the_generator_alone():
    model, x = SMALL.build_model(), images(SMALL)
    first = model(x, seeded())
    torch.manual_seed(99)
    assert torch.equal(model(x, seeded()).t, first.t) and not torch.equal(model(x, seeded(1)).t, first.t)


def test_the_start_of_u_moves_its_posterior_only():
    a, b = SMALL.build_model(), SMALL.with_options(u_mean_init=0.7, u_logvar_init=-3.0).build_model()
    x = images(SMALL)
    (z, u), (z_moved, u_moved) = a.encode(x), b.encode(x)
    torch.testing.assert_close(z_moved, z)
    torch.testing.assert_close(u_moved.mean, u.mean + 0.7)
    torch.testing.assert_close(u_moved.logvar, u.logvar - 3)


@pytest.mark.parametrize("name", [e.name for e in EXPERIMENTS.values() if e.topography != "none"])
def test_a_standardised_decoder_is_the_same_with_another_first_layer(name):
    exp = EXPERIMENTS[name]
    plain, moved = exp.build_model(), exp.with_options(standardised=True).build_model()
    first, decoder = moved.decoder.layers[0][0], moved.decoder
    t = decoder.centre + torch.randn(1, exp.n_transforms, exp.n_caps, exp.cap_dim)
    with torch.no_grad():
        first.weight *= decoder.spread
        first.bias += decoder.centre / decoder.spread * first.weight.sum(1)
        torch.testing.assert_close(moved.logits(t), plain.logits(t), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_he_init_is_for_the_layers_before_a_relu(name):
    """Their outputs then have the variance that their inputs' mean square calls for; the rest is uniform
    up to 1 / sqrt(inputs), as a linear layer's default is."""
    he = EXPERIMENTS[name].with_options(he_init=True).build_model()
    layers = {k: m for k, m in he.named_modules() if isinstance(m, torch.nn.Linear)}
    before_relu = [key for key in layers if key.startswith("decoder.layers") or key[-1] in "02"]
    assert len(before_relu) == 2 * len(layers) // 3
    for key, layer in layers.items():
        least = (6 if key in before_relu else 1) / layer.in_features
        assert layer.weight.abs().max().item() == pytest.approx(least**0.5, rel=1e-3)
        if layer.bias is not None and key != "encoder_u.layers.4":
            assert layer.bias.abs().max().item() == pytest.approx(layer.in_features**-0.5, rel=0.05)


def drawn_alike(a, b):
    """Whether two sets of numbers may be draws from one distribution (Kolmogorov and Smirnov)."""
    return kstest(a.detach().flatten().numpy(), b.detach().flatten().numpy()).pvalue > 1e-3


@pytest.mark.parametrize("name", ["tvae_Lpartial_mnist", "nontvae_dsprites", "tvae_2d_mnist"])
def test_the_decoder_begins_as_the_official_transposed_convolutions(name):
    exp = EXPERIMENTS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        s, (channels, size, _) = exp.n_caps * exp.cap_dim, exp.image_shape
        official = [
            torch.nn.ConvTranspose2d(a, b, k)
            for a, b, k in ((s, 2 * s, 1), (2 * s, 3 * s, 1), (3 * s, channels, size))
        ]
        linear = torch.nn.Linear(3 * s, channels * size**2)
    decoder = exp.build_model().decoder
    layers = [layer for layer in decoder.modules() if isinstance(layer, torch.nn.Linear)]
    biases = [layers[0].bias, layers[1].bias, decoder.channel_bias]
    for layer, bias, wanted in zip(layers, biases, official, strict=True):
        assert drawn_alike(layer.weight, wanted.weight) and drawn_alike(bias, wanted.bias)
        assert bias.abs().max() <= wanted.out_channels**-0.5 / wanted.kernel_size[0]
    assert not drawn_alike(layers[2].weight, linear.weight)


@pytest.mark.parametrize("name", [e.name for e in EXPERIMENTS.values() if e.topography != "none"])
def test_standardised_is_what_t_is_at_the_start(name):
    exp = EXPERIMENTS[name].with_options(standardised=True, u_mean_init=0.7, u_logvar_init=-2.0)
    model = exp.build_model()
    shape = (20, exp.n_transforms, exp.n_caps, exp.cap_dim)
    with torch.no_grad():
        t = model.grouper(torch.randn(shape), 0.7 + math.exp(-1) * torch.randn(shape))
    assert t.mean().item() == pytest.approx(model.decoder.centre, rel=0.03)
    assert t.std().item() == pytest.approx(model.decoder.spread, rel=0.2)


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(ValueError, match="did you mean 'bernoulli'"):
        TVAE((1, 4, 4), 1, 2, likelihood="bernouli")
