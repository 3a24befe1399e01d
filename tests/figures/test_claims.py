"""The table of claims: a verdict follows from the numbers, and a missing run is no verdict."""

import itertools

import pytest

from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures.claims import claim_rows, verdict
from tvae_core.training.runs import Run

FACTORS = ("rotation", "hue", "scale")
MNIST = ("tvae_L0_mnist", "tvae_Lshort_mnist", "tvae_Lpartial_mnist", "tvae_Lhalf_mnist", "nontvae_mnist")


@pytest.fixture
def run(tmp_path):
    """Return a run with these results, which is all that `claim_rows` reads of it."""
    folders = (tmp_path / str(i) for i in itertools.count())

    def make(name, *given, **options):
        made = Run(EXPERIMENTS[name].at_scale("smoke"), next(folders))
        made.__dict__["results"] = results(*given, **options)  # where the cached property looks
        return made

    return make


def results(share=1.0, untrained=1.0, iwae=-250.0, margins=(5.0, 5.0, 5.0)):
    row = {"e_eq_share": share, "iwae_sequence": iwae}
    row["roll_margin_at_draws"] = dict(zip(FACTORS, margins, strict=True))
    control = {"e_eq_share": untrained, "roll_margin_at_draws": dict.fromkeys(FACTORS, -9.0)}
    return {"trained": row, "untrained": control}


def said(runs, number):
    return next(row for row in claim_rows(runs) if row["claim"].startswith(f"({number}) "))


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ({"a": True, "b": True}, "reproduced"),
        ({"a": False, "b": True}, "partly: b"),
        ({"a": False, "b": False}, "not reproduced"),
    ],
)
def test_a_verdict_names_the_parts_that_hold(holds, words):
    assert verdict(holds) == words


@pytest.mark.parametrize(
    ("shares", "untrained", "words"),
    [
        ((1.0, 0.8, 0.6, 0.4), (1.0, 0.9, 0.7, 0.5), "reproduced"),
        ((1.0, 0.8, 0.6, 0.4), (1.0, 0.8, 0.6, 0.4), "partly: it falls"),
        ((1.0, 0.8, 0.9, 0.4), (1.0, 0.9, 0.96, 0.5), "partly: below the untrained model"),
        ((1.0, 0.8, 0.9, 0.4), (1.0, 0.8, 0.9, 0.4), "not reproduced"),
    ],
)
def test_e_eq_must_fall_and_lie_below_the_untrained_model(run, shares, untrained, words):
    runs = [run(*each) for each in zip(MNIST, shares, untrained, strict=False)]
    assert said(runs, "i")["verdict"] == words


def test_a_factor_counts_if_its_margin_is_above_0_in_every_seed(run):
    plain = run("nontvae_mnist", margins=(-50.0, -50.0, -50.0))
    runs = [plain, plain]
    runs += [run(MNIST[2], margins=(8.0, 9.0, 1.0)), run(MNIST[2], margins=(6.0, -1.0, -9.0))]
    row = said(runs, "iii")
    assert row["verdict"] == "partly: rotation" and row["seeds"] == "2"
    assert row["measured"] == "rotation 7, hue 4, scale −4"
    assert row["control"] == "VAE rotation −50, hue −50, scale −50"


def test_a_claim_whose_runs_are_missing_is_not_tested(run):
    rows = claim_rows([run("tvae_L0_mnist")])
    assert {row["verdict"] for row in rows} == {"not tested"} and len(rows) == 8
