"""Every measure against its literal definition, and the values that chance and perfect equivariance give."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from tvae_core.measures.metrics import (
    capsule_correlation,
    capsule_correlation_at_chance,
    equivariance_error,
    equivariance_error_at_chance,
    importance_sampled,
    iou,
    observed_roll,
    omega_rolls,
    selectivity,
)
from tvae_core.model.losses import gaussian_log_density

SHAPES = [(2, 4, 3, 4), (3, 5, 2, 7), (2, 7, 2, 5), (2, 3, 1, 1), (2, 1, 2, 4), (1, 6, 3, 2)]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rolling(b, s, c, d, seed=0):
    """Perfectly equivariant capsules: frame l is Roll_l of frame 0."""
    first = randn(b, c, d, seed=seed)
    return torch.stack([torch.roll(first, frame, -1) for frame in range(s)], 1)


def literal_error(t):
    t = t.double().numpy()
    t = t / np.linalg.norm(t, axis=-1, keepdims=True)
    s = t.shape[1]
    total = np.zeros(len(t))
    for delta in range(1, s):
        for frame in range(s):
            miss = np.roll(t[:, frame], delta, -1) - t[:, (frame + delta) % s]
            total += 0.5 * np.abs(miss).sum((1, 2))
    return total


def literal_roll(t_0, t_omega):
    """Mode over capsules of the argmax of the cross-correlation, the smallest of equals."""
    d = t_0.shape[-1]
    votes = Counter()
    for a, b in zip(t_0.double().numpy(), t_omega.double().numpy(), strict=True):
        products = [sum(a[(k + m) % d] * b[k] for k in range(d)) for m in range(d)]
        votes[int(np.argmax(products))] += 1
    return min(votes, key=lambda m: (-votes[m], m))


def literal_correlation(t, factors, varied, omega, sizes):
    result, d = [], t.shape[-1]
    for f in range(factors.shape[2]):
        rolls, starts = [], []
        for i in [i for i in range(len(t)) if varied[i] == f]:
            y = factors[i, :, f].tolist()
            found = [literal_roll(t[i, 0], t[i, frame]) for frame in range(len(y)) if y[frame] == 0]
            if found and omega == "first":  # how far t moved on, and what start that tells of
                rolls.append(-((d - found[0]) % d) % sizes[f])
            elif found:
                rolls.append(min(found, key=lambda m: abs(m - y[0])))
            if found:
                starts.append(y[0])
        defined = len(set(rolls)) > 1 and len(set(starts)) > 1
        result.append(np.corrcoef(rolls, starts)[0, 1] if defined else math.nan)
    return torch.tensor(result).float()


def walks(b, s, sizes, seed=0):
    """Factors (b, s, F) of which one walks with wrap-around, and which."""
    g = torch.Generator().manual_seed(seed)
    varied = torch.randint(len(sizes), (b,), generator=g)
    start = torch.stack([torch.randint(n, (b,), generator=g) for n in sizes], -1).unsqueeze(1)
    moves = torch.nn.functional.one_hot(varied, len(sizes)).unsqueeze(1) * torch.arange(s).view(1, -1, 1)
    return (start + moves) % torch.tensor(sizes), varied


@pytest.mark.parametrize("shape", SHAPES)
def test_equivariance_error_equals_the_double_loop(shape):
    t = randn(*shape)
    torch.testing.assert_close(
        equivariance_error(t), torch.from_numpy(literal_error(t)).float(), rtol=1e-5, atol=1e-5
    )
    scale = randn(*shape[:-1], 1, seed=1).abs() + 0.1
    torch.testing.assert_close(equivariance_error(t * scale), equivariance_error(t), rtol=1e-5, atol=1e-5)


def test_exact_rolls_have_no_error():
    assert equivariance_error(rolling(3, 6, 4, 6)).max() < 1e-4
    assert equivariance_error(rolling(3, 6, 4, 6).flip(1)).min() > 1  # the other direction
    assert equivariance_error(rolling(3, 4, 2, 6)).min() > 1  # S ≠ D: time wraps, the capsule doesn't


def test_equivariance_error_with_a_partner_and_centred():
    """Rolls of one sequence against frames of the other, and t without its capsules' means."""
    t, other = randn(4, 5, 3, 6) + 2, randn(4, 5, 3, 6, seed=1) + 2
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (t, other))
    pairs = [
        (a[:, k].roll(d, -1) - b[:, (k + d) % 5]).abs().sum((1, 2)) for d in range(1, 5) for k in range(5)
    ]
    torch.testing.assert_close(equivariance_error(t, other), sum(pairs) / 2)
    centred = t - t.mean(-1, keepdim=True)
    torch.testing.assert_close(equivariance_error(t, centred=True), equivariance_error(centred))
    assert not torch.allclose(equivariance_error(t, other), equivariance_error(other, t))
    torch.testing.assert_close(equivariance_error(t, t), equivariance_error(t))


def test_of_an_open_sequence_each_pair_of_frames_in_order_counts_once():
    t = randn(2, 5, 3, 7)
    a = t / t.norm(dim=-1, keepdim=True)
    pairs = [(a[:, k].roll(d, -1) - a[:, k + d]).abs().sum((1, 2)) for d in range(1, 5) for k in range(5 - d)]
    torch.testing.assert_close(equivariance_error(t, closed=False), sum(pairs))
    square = randn(2, 6, 3, 6)  # where time and the capsule go round alike, nothing is lost by it
    torch.testing.assert_close(equivariance_error(square, closed=False), equivariance_error(square))


def test_bfloat16_latents_are_measured_as_the_same_numbers_in_float32():
    t, (factors, varied) = rolling(40, 9, 2, 9).bfloat16(), walks(40, 9, [9, 3])
    for measure in (equivariance_error, lambda t: capsule_correlation(t, factors, varied)):
        assert torch.equal(measure(t), measure(t.float()))


def test_without_its_mean_a_capsule_of_one_unit_has_no_direction():
    assert not equivariance_error(randn(2, 4, 3, 1), centred=True).any()
    assert equivariance_error_at_chance(4, 3, 1, centred=True) == 0


@pytest.mark.parametrize("n, level", [(18, 13_270.7), (15, 6_936.5)])
def test_random_directions_are_at_chance(n, level):
    values = equivariance_error(randn(300, n, n, n))
    assert values.std() / math.sqrt(300) < 4
    assert abs(values.mean() - level) < 10
    assert equivariance_error_at_chance(n, n, n) == pytest.approx(level, abs=0.05)
    centred = equivariance_error(randn(300, n, n, n) + 3, centred=True).mean()
    assert abs(centred - equivariance_error_at_chance(n, n, n, centred=True)) < 10


@pytest.mark.parametrize("frames, capsules, units", [(4, 3, 1), (5, 2, 2), (3, 4, 3), (18, 1, 324)])
def test_chance_level_of_other_shapes(frames, capsules, units):
    values = equivariance_error(randn(2000 if units < 9 else 60, frames, capsules, units))
    level = equivariance_error_at_chance(frames, capsules, units)
    assert abs(values.mean() / level - 1) < 4 * values.std() / values.mean() / math.sqrt(len(values))


def test_observed_roll_equals_the_loop():
    a, b = randn(40, 5, 7), randn(40, 5, 7, seed=1)
    assert observed_roll(a, b).tolist() == [literal_roll(*pair) for pair in zip(a, b, strict=True)]


def test_of_equally_frequent_rolls_the_smallest_counts():
    base = randn(1, 4, 9)
    for shifts in ([7, 3, 3, 7], [5, 2, 8, 0], [8, 8, 1, 1]):
        moved = torch.stack([torch.roll(base[0, c], shift) for c, shift in enumerate(shifts)])[None]
        assert observed_roll(moved, base).item() == min(shifts)


@pytest.mark.parametrize("omega", ["first", "nearest"])
@pytest.mark.parametrize("units", [9, 6, 14])
def test_capsule_correlation_equals_the_loop(omega, units):
    sizes = [9, 3, 4]
    factors, varied = walks(120, 9, sizes)
    t = rolling(120, 9, 3, units) + 0.8 * randn(120, 9, 3, units, seed=1)
    r = capsule_correlation(t, factors, varied, omega)
    torch.testing.assert_close(r, literal_correlation(t, factors, varied, omega, sizes))
    assert r.isfinite().all() and r.abs().max() < 0.99
    other = "first" if omega == "nearest" else "nearest"
    assert not torch.allclose(r, literal_correlation(t, factors, varied, other, sizes), atol=1e-2)


@pytest.mark.parametrize("omega", ["first", "nearest"])
def test_exact_rolls_correlate_perfectly(omega):
    factors, varied = walks(100, 18, [18, 18, 18])
    torch.testing.assert_close(
        capsule_correlation(rolling(100, 18, 4, 18), factors, varied, omega), torch.ones(3)
    )
    assert capsule_correlation(rolling(100, 18, 4, 18).flip(1), factors, varied, omega).max() < 0.5


@pytest.mark.parametrize(
    "values, frames, units", [(18, 18, 18), (15, 15, 15), (5, 15, 15), (18, 18, 30), (4, 9, 9)]
)
def test_exact_rolls_score_1_however_often_a_factor_goes_round(values, frames, units):
    factors = ((torch.arange(values).view(-1, 1) + torch.arange(frames)) % values).unsqueeze(-1)
    t, varied = rolling(values, frames, 3, units), torch.zeros(values, dtype=torch.long)
    assert capsule_correlation(t, factors, varied).item() == pytest.approx(1)
    rolls, starts = omega_rolls(t, factors, varied)
    assert torch.equal(rolls, starts)


def test_only_where_a_factor_has_fewer_values_than_units_is_the_roll_taken_modulo():
    t = randn(60, 15, 3, 15)
    for values, same in ((15, True), (5, False)):
        factors = ((torch.arange(60).view(-1, 1) + torch.arange(15)) % values).unsqueeze(-1)
        rolls, _ = omega_rolls(t, factors, torch.zeros(60, dtype=torch.long))
        frame = (-torch.arange(60)) % values
        m = observed_roll(t[:, 0], t[torch.arange(60), frame])
        assert torch.equal(rolls, m % values) and torch.equal(rolls, m) == same


def test_a_sequence_that_passes_0_shows_how_many_values_its_factor_has():
    """Also where three frames show three of five values: who comes to 0 comes from the last value."""
    factors = ((torch.arange(5).view(-1, 1) + torch.arange(3)) % 5).unsqueeze(-1)
    rolls, starts = omega_rolls(rolling(5, 3, 2, 15), factors, torch.zeros(5, dtype=torch.long))
    assert rolls.tolist() == [0, -1, -1, 3, 4] and starts.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("omega", ["first", "nearest"])
def test_capsule_correlation_is_nan_where_undefined(omega):
    factors, varied = walks(200, 6, [6, 6, 6, 6])
    varied[varied == 3] = 0  # nobody varies the last factor
    factors[varied == 1] = factors[varied == 1][:1]  # a single start
    factors[varied == 2] = factors[varied == 2].clamp(min=1)  # never passes 0
    r = capsule_correlation(rolling(200, 6, 2, 6), factors, varied, omega)
    assert r.isnan().tolist() == [False, True, True, True]
    assert capsule_correlation(rolling(200, 6, 2, 6)[:1], factors[:1], varied[:1], omega).isnan().all()
    two = ((torch.tensor([[1], [4]]) + torch.arange(6)) % 6).unsqueeze(2)  # are enough
    exact = torch.nn.functional.one_hot(two, 6).float()
    assert capsule_correlation(exact, two, torch.zeros(2, dtype=torch.long), omega).item() == pytest.approx(1)
    still = torch.ones(200, 6, 2, 6)  # one roll only
    assert capsule_correlation(still, factors, varied, omega).isnan().all()


def balanced(n, units):
    """150 sequences for each start of one factor with n values."""
    starts = torch.arange(150 * n).view(-1, 1) % n
    return ((starts + torch.arange(units)) % n).unsqueeze(-1), torch.zeros(150 * n, dtype=torch.long)


@pytest.mark.parametrize("n, units", [(15, 15), (5, 15), (6, 6)])
def test_chance_level_of_capsule_correlation(n, units):
    """Not 0: a sequence that starts at 0 is its own Ω, so its roll is right whatever t is."""
    covariance = (n - 1) ** 2 / (4 * n)
    square, mean = ((n - 1) / n * x for x in ((n - 1) * (2 * n - 1) / 6, (n - 1) / 2))
    wanted = covariance / math.sqrt((square - mean**2) * (n**2 - 1) / 12)
    chance = capsule_correlation_at_chance(*balanced(n, units), units).item()
    assert chance == pytest.approx(wanted, abs=0.02)
    many = capsule_correlation(randn(150 * n, units, 5, units), *balanced(n, units))
    assert many.item() == pytest.approx(wanted, abs=0.15)  # the mode of several capsules is as random as one


def test_the_nearest_omega_lifts_chance_where_there_are_several():
    for n, lift in ((15, False), (5, True)):
        factors, varied = (part[-225:] for part in balanced(n, 15))
        first, nearest = (
            capsule_correlation_at_chance(factors, varied, 15, omega).item() for omega in ("first", "nearest")
        )
        assert (nearest > first + 0.03) == lift
        assert lift or nearest == pytest.approx(first, abs=0.03)


def test_an_unknown_omega_is_refused():
    factors, varied = walks(4, 3, [3])
    with pytest.raises(Exception, match=r"last|omega"):
        capsule_correlation(randn(4, 3, 1, 3), factors, varied, "last")


def test_importance_sampling_equals_its_definition():
    log_w = 3 * randn(10, 4, 6) - 50
    w = log_w.double().numpy()
    sequence = np.log(np.mean(np.exp(w.sum(2)), 0)) / 6
    per_frame = np.log(np.mean(np.exp(w), 0)).mean(1)
    for over, wanted in (("sequence", sequence), ("per_frame", per_frame)):
        torch.testing.assert_close(importance_sampled(log_w, over), torch.from_numpy(wanted).float())
    torch.testing.assert_close(importance_sampled(log_w), importance_sampled(log_w, "sequence"))
    assert not np.allclose(sequence, per_frame, atol=0.1)
    # what the official code logs lies log n above `per_frame`
    official = log_w.logsumexp(0).mean(1)
    torch.testing.assert_close(
        official - importance_sampled(log_w, "per_frame"), torch.full((4,), math.log(10))
    )


def test_importance_sampling_over_frames_and_sequences_agree_for_one_draw_or_one_frame():
    for shape in ((1, 4, 6), (7, 4, 1)):
        log_w = randn(*shape)
        torch.testing.assert_close(
            importance_sampled(log_w, "sequence"), importance_sampled(log_w, "per_frame")
        )


def test_importance_sampling_of_a_linear_gaussian_model():
    """z ~ N(0, 1), x = z + N(0, v): exact for the exact posterior, and close from another one."""
    v, x = 0.5, randn(3, 2, 1)
    exact = gaussian_log_density(x, 0.0, math.log(1 + v)).mean(1)

    def estimate(mean, variance, n):
        z = mean + math.sqrt(variance) * randn(n, 3, 2, 1, seed=1)
        prior, likelihood, q = (
            -0.5 * ((a - b) ** 2 / c + math.log(2 * math.pi * c)).squeeze(-1)
            for a, b, c in ((z, 0.0, 1.0), (x, z, v), (z, mean, variance))
        )
        return importance_sampled(prior + likelihood - q)

    torch.testing.assert_close(estimate(x / (1 + v), v / (1 + v), 2), exact)
    torch.testing.assert_close(estimate(x / 2, 0.5, 20_000), exact, atol=0.02, rtol=0)


def test_selectivity_equals_its_definition():
    responses = randn(60, 4).double() + 3
    labels = torch.arange(60) % 3
    d = selectivity(responses, labels, 5)
    for k in range(3):
        for unit in range(4):
            inside, outside = responses[labels == k, unit].numpy(), responses[labels != k, unit].numpy()
            spread = math.sqrt((inside.var(ddof=1) + outside.var(ddof=1)) / 2)
            assert d[k, unit].item() == pytest.approx((inside.mean() - outside.mean()) / spread)
    assert d[3:].isnan().all()
    assert selectivity(responses, (torch.arange(60) == 5).long(), 2)[1].isnan().all()  # one member


def test_a_unit_that_never_changes_selects_nothing_and_two_members_are_enough():
    found = selectivity(torch.stack([torch.ones(6), torch.arange(6.0)], 1), torch.arange(6) // 2)
    assert found.shape == (10, 2) and not found[:3, 0].any()
    assert found[:3, 1].isfinite().all() and found[3:].isnan().all()


def test_selectivity_in_single_precision_far_from_0():
    """One pass, the mean of squares minus the square of the mean, is off by 5 here."""
    responses, labels = randn(2000, 3), torch.arange(2000) % 10
    moved = selectivity(responses + 3000, labels)
    wanted = selectivity((responses + 3000).double(), labels).float()
    torch.testing.assert_close(moved, wanted, atol=2e-3, rtol=0)


def test_iou_is_intersection_over_union():
    true, logits = torch.zeros(1, 3, 1, 2, 2), torch.full((1, 3, 1, 2, 2), -1.0)
    true[0, :2, 0, 0] = 1  # the upper row, in two frames; the third is empty
    logits[0, 0, 0, :, 0] = 1  # the left column
    logits[0, 1, 0, 0] = 1
    assert iou(logits, true)[0].tolist() == pytest.approx([1 / 3, 1.0, 1.0])
    undecided = torch.zeros(1, 1, 1, 2, 2)  # one half is not above one half
    assert iou(undecided, undecided + 0.5).item() == 1
