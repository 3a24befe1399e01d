"""One row of a table: every measure computed anew in a line or two, and the controls of all seeds."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tvae_core.data.dsprites import FACTORS
from tvae_core.experiments import EXPERIMENTS
from tvae_core.measures import controls, evaluation, metrics, rolls
from tvae_core.measures.catalog import COMPARABLE, MARGINS, MEASURES, flat
from tvae_core.model.losses import negative_log_likelihood

SMALL = EXPERIMENTS["tvae_Lpartial_mnist"].with_options(n_caps=2)
PLAIN = EXPERIMENTS["nontvae_mnist"].with_options(n_caps=2)
SPRITES = EXPERIMENTS["tvae_Lpartial_dsprites"].at_scale("smoke").with_options(n_caps=3, eval_sequences=40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(exp, b=2):
    return torch.rand(b, exp.n_transforms, *exp.image_shape, generator=seeded(7))


def draws(model, x, n, seed=0):
    with torch.inference_mode():
        return evaluation.posterior_draws(model, x, model.encode(x), n, seeded(seed))


@pytest.mark.parametrize("exp", [SMALL, PLAIN])
def test_the_elbo_is_the_mean_of_the_log_weights(exp):
    model, x, n = exp.build_model(), images(exp, 1), 150
    _, _, log_w = draws(model, x, n)
    log_w = log_w.mean(2)
    with torch.inference_mode():
        elbo = model(x.expand(n, -1, -1, -1, -1), seeded(1)).elbo.mean(1)
    error = (log_w.var() / n + elbo.var() / n).sqrt().item()
    assert log_w.mean().item() == pytest.approx(elbo.mean().item(), abs=4 * error)
    assert error < 2  # of about 1,600
    assert torch.equal(draws(model, x, 3)[2], draws(model, x, 3)[2])


def test_log_weights_by_their_definition():
    model, x, seen = SMALL.build_model(), images(SMALL, 1), {}
    model.grouper.register_forward_hook(lambda _, zu, t: seen.update(z=zu[0], u=zu[1]))
    t, logits, log_w = draws(model, x, 4)
    with torch.inference_mode():
        wanted = -negative_log_likelihood(model.logits(model.group(**seen)), x.expand(4, -1, -1, -1, -1))
        torch.testing.assert_close(negative_log_likelihood(logits, x), -wanted[:1])
        for value, q in zip((seen["z"], seen["u"]), model.encode(x), strict=True):
            posterior = Normal(q.mean, torch.exp(q.logvar / 2))
            wanted += (Normal(0.0, 1.0).log_prob(value) - posterior.log_prob(value)).sum((2, 3))
    torch.testing.assert_close(log_w[:, 0], wanted, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(t, model.group(**seen)[:1])
    assert (log_w[0] - log_w[1]).abs().min() > 1e-4  # draws differ


@pytest.fixture(scope="module")
def row():
    """A row of untrained sprites, what it is made of, and the sequences: on these test sprites only."""
    sequences = SPRITES.build_sequences("test", SPRITES.seed)
    model = SPRITES.build_model().eval()
    return model, sequences, *evaluation.evaluate_sequences(model, SPRITES, sequences)


def test_a_row_has_every_measure_and_every_mean_is_of_what_is_kept(row):
    _, _, found, kept = row
    assert list(found) == list(MEASURES) and found["n_sequences"] == 40
    for key, value in flat(found).items():
        assert value is None or math.isfinite(value), key
        if not MEASURES[key.partition("/")[0]].by_factor and key not in ("n_sequences", "e_eq_share"):
            assert value == pytest.approx(kept[key].mean().item(), rel=1e-6)
    assert set(COMPARABLE) >= set(flat(found)) - {"n_sequences"}
    assert None not in flat(found).values()


def pixel_nats(p, x):
    """Bernoulli cost of probabilities, literally."""
    return -(x * p.log() + (1 - x) * (1 - p).log()).flatten(2).sum(2).mean(1)


def literal_iou(shown, x):
    a, b = shown.flatten(2) > 0.5, x.flatten(2) > 0.5
    return ((a & b).sum(2) / (a | b).sum(2)).mean(1)


@pytest.mark.parametrize("suffix", ["", "_at_draws"])
def test_rolls_and_their_controls_by_definition(row, suffix):
    model, sequences, _, kept = row
    batch, g = next(evaluation.test_batches(SPRITES, sequences))
    x, n = batch.x, len(batch.x)
    with torch.inference_mode():
        drawn, *_ = evaluation.posterior_draws(model, x, model.encode(x), SPRITES.n_is_samples, g)
        t = drawn if suffix else model.latents(x)
        shown = {
            "roll_held_out": torch.stack([t[:, 4].roll(frame - 4, -1) for frame in range(10, 15)], 1),
            "roll_seen": torch.stack([t[:, 4].roll(frame - 4, -1) for frame in range(10)], 1),
            "roll_still": torch.stack([t[:, 4]] * 5, 1),
            "roll_backwards": torch.stack([t[:, 4].roll(4 - frame, -1) for frame in range(10, 15)], 1),
            "reconstruction": t,
        }
        for key, latents in shown.items():
            true = {"reconstruction": x, "roll_seen": x[:, :10]}.get(key, x[:, 10:])
            p = model.decode(latents)
            torch.testing.assert_close(kept[key + suffix][:n], pixel_nats(p, true), rtol=1e-4, atol=1e-2)
            torch.testing.assert_close(kept[f"iou_{key}{suffix}"][:n], literal_iou(p, true))


def test_controls_that_need_no_model_by_definition(row):
    _, sequences, _, kept = row
    x = torch.cat([batch.x for batch, _ in evaluation.test_batches(SPRITES, sequences)])
    mean = x[:, :10].mean(1, keepdim=True).expand(-1, 5, -1, -1, -1)
    torch.testing.assert_close(kept["iou_seen_mean"], literal_iou(mean, x[:, 10:]))
    torch.testing.assert_close(kept["iou_copy"], literal_iou(x[:, 4:5].expand(-1, 5, -1, -1, -1), x[:, 10:]))
    costs = torch.stack([pixel_nats(mean.clamp(c, 1 - c), x[:, 10:]) for c in rolls.CLAMPS])
    for factor in range(4):
        member = kept["varied"] == factor
        best = costs[:, member].mean(1).min()
        assert kept["seen_mean"][member].mean().item() == pytest.approx(best.item(), rel=1e-5)
    assert (kept["seen_mean"] >= costs.amin(0) - 1e-2).all()


@pytest.mark.parametrize("key", MARGINS)
def test_a_margin_is_the_best_control_minus_the_roll(row, key):
    _, _, found, kept = row
    rolled, others = MARGINS[key]
    for f, factor in enumerate(FACTORS):
        mean = {name: kept[name][kept["varied"] == f].mean().item() for name in (rolled, *others)}
        controls = [mean[name] for name in others]
        gain = mean[rolled] - max(controls) if "iou" in key else min(controls) - mean[rolled]
        assert found[key][factor] == pytest.approx(gain, rel=1e-4, abs=1e-4)


def test_a_margin_is_undefined_where_no_sequence_varies_a_factor(row):
    _, _, _, kept = row
    kept = {key: values[kept["varied"] != 2] for key, values in kept.items()}
    found = rolls.margins(kept, kept["varied"], FACTORS)["roll_margin"]
    assert [value is None for value in found.values()] == [False, False, True, False]


def test_latents_that_roll_exactly_have_a_margin_and_still_ones_have_none():
    """A decoder that shows t itself: rolls of it are right in every frame, and every control is wrong."""
    pixels = (torch.rand(8, 1, 15, 15, generator=seeded()) > 0.5).float()
    x = torch.stack([pixels.roll(frame, -1) for frame in range(15)], 1)
    model = SPRITES.with_options(n_caps=15).build_model()
    model.logits = lambda t: 8 * t.unflatten(2, (1, 15)) - 4
    found = rolls.roll_likelihoods(model, SPRITES, x, x[:, :, 0])
    found |= rolls.baselines(SPRITES, x)
    found["seen_mean"] = rolls.best_clamp(found["seen_mean"], torch.zeros(8, dtype=torch.long))
    margin = rolls.margins(found, torch.zeros(8, dtype=torch.long), ["x"])
    assert found["iou_roll_held_out"].min() == 1 and margin["roll_margin"]["x"] > 50
    assert margin["iou_roll_margin"]["x"] > 0.4
    still = rolls.roll_likelihoods(model, SPRITES, x[:, :1].expand_as(x), x[:, :1, 0].expand(-1, 15, -1, -1))
    same = still | rolls.baselines(SPRITES, x[:, :1].expand_as(x))
    same["seen_mean"] = rolls.best_clamp(same["seen_mean"], torch.zeros(8, dtype=torch.long))
    assert rolls.margins(same, torch.zeros(8, dtype=torch.long), ["x"])["roll_margin"]["x"] < 0


@pytest.mark.parametrize(
    "frames, anchor, seen, held_out", [(18, 6, 13, 5), (15, 4, 10, 5), (5, 1, 4, 1), (1, 0, 1, 0)]
)
def test_the_frames_on_which_models_are_compared(frames, anchor, seen, held_out):
    assert rolls.compared_frames(frames) == (anchor, list(range(seen)), list(range(seen, frames)))
    assert held_out == frames - seen
    for name in ("tvae_Lpartial_mnist", "tvae_Lpartial_dsprites"):  # they are those of L = 13/36 S and S/3
        exp = EXPERIMENTS[name]
        if exp.n_transforms == frames:
            assert (anchor, exp.held_out) == (exp.anchor, rolls.compared_frames(frames)[2])


def test_the_share_of_e_eq_and_its_partners(row):
    model, sequences, found, kept = row
    batches = evaluation.test_batches(SPRITES, sequences)
    with torch.inference_mode():
        t = torch.cat([evaluation.per_sequence(model, SPRITES, *one)[1] for one in batches])
    partner = metrics.equivariance_error(t, torch.cat([t[1:], t[:1]]))
    torch.testing.assert_close(kept["e_eq_chance"], partner)
    torch.testing.assert_close(kept["e_eq_centred"], metrics.equivariance_error(t - t.mean(-1, keepdim=True)))
    assert found["e_eq_share"] == pytest.approx((kept["e_eq"].sum() / partner.sum()).item(), rel=1e-5)


def test_the_terms_of_the_elbo_by_definition(row):
    model, sequences, found, kept = row
    x = torch.cat([batch.x for batch, _ in evaluation.test_batches(SPRITES, sequences)])
    with torch.inference_mode():
        for key, q in zip(("kl_z", "kl_u"), model.encode(x), strict=True):
            wanted = (
                kl_divergence(Normal(q.mean, torch.exp(q.logvar / 2)), Normal(0.0, 1.0)).sum((2, 3)).mean(1)
            )
            torch.testing.assert_close(kept[key], wanted)
    torch.testing.assert_close(kept["elbo"], -(kept["nll"] + kept["kl_z"] + kept["kl_u"]))
    assert found["kl_z"] != found["kl_u"]


def test_a_model_without_u_pays_nothing_for_it():
    exp = EXPERIMENTS["nontvae_dsprites"].at_scale("smoke").with_options(n_caps=2)
    batch, g = next(evaluation.test_batches(exp, exp.build_sequences("test", exp.seed)))
    with torch.inference_mode():
        values, _ = evaluation.per_sequence(exp.build_model().eval(), exp, batch, g)
    assert not values["kl_u"].any()
    torch.testing.assert_close(values["elbo"], -(values["nll"] + values["kl_z"]))


def test_the_first_sequences_are_the_first_of_those_that_are_measured(row):
    _, sequences, _, _ = row
    x = torch.cat([batch.x for batch, _ in evaluation.test_batches(SPRITES, sequences)])
    for n, wanted in ((30, 30), (1000, 40)):
        first = torch.cat([batch.x for batch, _ in evaluation.first_batches(SPRITES, n)])
        assert len(first) == wanted
        assert torch.equal(first[: evaluation.BATCH], x[: evaluation.BATCH])  # a batch has one generator


def test_of_sequences_that_are_not_closed_every_kind_of_e_eq_is_that_of_open_ones():
    t = torch.randn(4, 5, 2, 6, generator=seeded())
    found = evaluation.equivariance(t, closed=False)
    kinds = {"e_eq": {}, "e_eq_centred": {"centred": True}, "e_eq_chance": {"partner": t.roll(-1, 0)}}
    for key, options in kinds.items():
        assert torch.equal(found[key], metrics.equivariance_error(t, closed=False, **options))
        assert not torch.allclose(found[key], metrics.equivariance_error(t, **options), rtol=0.01)


def test_a_single_sequence_has_no_partner():
    exp = SPRITES.with_options(eval_sequences=1)
    found = evaluation.evaluate(exp.build_model(), exp)
    assert found["e_eq_chance"] is found["e_eq_share"] is None and found["e_eq"] > 0


def test_the_untrained_control_is_measured_once_for_all_seeds_and_trainings(row, tmp_path, monkeypatch):
    model, _, found, kept = row
    rows, values = controls.evaluate_with_controls(model, SPRITES, tmp_path)
    assert rows["trained"] == rows["untrained"] == found
    assert all(torch.equal(values["untrained"][key], value) for key, value in kept.items())
    monkeypatch.setattr(controls, "_measure", lambda *_: pytest.fail("measured again"))
    for other in (
        {"seed": 5},
        {"lr": 0.5, "max_steps": 7},
        {"kl_floor": 0.5, "window_hold": 0.1},
    ):
        again, _ = controls.untrained_and_chance(SPRITES.with_options(**other), tmp_path)
        assert again == {kind: rows[kind] for kind in ("untrained", "chance")}
    for other in ({"mu_init": 3.0}, {"eval_sequences": 30}, {"n_caps": 2}, {"group_kernel": (5, 5)}):
        with pytest.raises(pytest.fail.Exception, match="measured again"):
            controls.untrained_and_chance(SPRITES.with_options(**other), tmp_path)


def flipped(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


DAMAGES = {"empty": lambda _: b"", "foreign": lambda _: b"no tensors", "cut short": lambda c: c[:200]}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), flipped], ids=[*DAMAGES, "one bit"])
def test_damaged_controls_are_measured_anew(row, tmp_path, caplog, damage):
    found = controls.untrained_and_chance(SPRITES, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = controls.untrained_and_chance(SPRITES, tmp_path)
    assert again[0] == found[0] and path.read_bytes() == whole
    assert f"{path} is damaged" in caplog.text


def test_chance_paints_the_mean_frame(row):
    _, sequences, found, _ = row
    x = torch.cat([batch.x for batch, _ in evaluation.test_batches(SPRITES, sequences)])
    level = controls.chance(SPRITES, sequences)
    assert list(level) == list(found)
    mean = x.mean((0, 1)).expand_as(x)
    nats = pixel_nats(mean.clamp(1e-7, 1 - 1e-7), x).mean().item()
    for key in ("nll", "reconstruction", "roll_held_out", "roll_held_out_at_draws", "roll_still"):
        assert level[key] == pytest.approx(nats, rel=1e-3)
    assert level["elbo"] == level["iwae_sequence"] == -level["nll"]
    assert level["e_eq"] == pytest.approx(6_936.5 * 3 / 15, rel=1e-4) and level["e_eq_share"] == 1.0
    assert level["roll_margin"] is level["iou_roll_held_out"] is level["iou_roll_margin_at_draws"] is None
    assert 0.2 < level["capcorr_first"]["scale"] < 0.6
