"""Tables: what a cell says, text and file read back, whose rows stand where, and the sentences below."""

import csv
import io
import itertools
import json
import math
import re

import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures.comparison import (
    MARGIN,
    TABLE_1,
    TABLE_2,
    average,
    table_rows,
    value_of,
    what_rolls_show,
    what_table_shows,
    write_table,
)
from tvae_core.measures.catalog import MEASURES
from tvae_core.plotting.style import WIDTH
from tvae_core.plotting.tables import (
    FIELDS,
    cell,
    cells,
    comma_separated,
    draw,
    heads,
    labels,
    markdown,
    mean_and_sd,
    number,
)
from tvae_core.training.runs import Run

NATS, ERROR = [1234.56, 1200.0, 1300.1], [-13269.4]
L0 = "tvae_L0_mnist"


def line(row, measure, values, interval=(None, None), shown=True):
    """A line of a frame as comparison.table_rows makes them."""
    heading = {"nats": ("a long head ↓", "nats/frame", 1), "e": ("error ↓", "L1", 0), "file": ("file", "", 2)}
    seeds = sum(value is not None for value in values)
    of = (row, L0, row == "untrained", measure, *heading[measure], shown)
    return dict(zip(FIELDS, (*of, *mean_and_sd(values), seeds, *interval), strict=True))


FRAME = pd.DataFrame(
    [
        line("TVAE, L = 0", "nats", NATS, (1190.25, 1300.125)),
        line("TVAE, L = 0", "e", ERROR),
        line("TVAE, L = 0", "file", [7.125], shown=False),
        line("untrained", "nats", [0.25, None, 0.5]),
        line("untrained", "e", [None]),
        line("untrained", "file", [None], shown=False),
    ]
)


def sample_sd(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


@pytest.mark.parametrize(
    "values, decimals, text",
    [
        ([], 1, "–"),
        ([None, None], 1, "–"),
        ([0.0], 2, "0.00"),
        ([1234567.89], 1, "1,234,567.9"),
        ([-1234.4], 0, "−1,234"),
        ([None, 3.0], 1, "3.0"),
        ([1.0, 2.0, None], 2, "1.50 ± 0.71"),
        ([1000.0, 5000.0], 0, "3,000 ± 2,828"),
        ([2.0, 2.0], 1, "2.0 ± 0.0"),
    ],
)
def test_cells(values, decimals, text):
    assert cell(*mean_and_sd(values), None, None, decimals) == text
    with_interval = cell(*mean_and_sd(values), -1.0, 2345.0, decimals)
    interval = f" [{number(-1.0, decimals)}; {number(2345.0, decimals)}]"
    assert with_interval == (text if text == "–" else text + interval)


def read(text: str) -> list[float] | None:
    """The numbers of a cell: the mean, the deviation if there is one, the ends of the interval."""
    plain = text.replace(",", "").replace("−", "-")
    return None if text == "–" else [float(part) for part in re.findall(r"-?[\d.]+", plain)]


def test_markdown_reads_back():
    parts = [line.strip("|").split("|") for line in markdown(FRAME).splitlines()]
    head, rule, *lines = [[part.strip() for part in line] for line in parts]
    assert head == ["", "a long head ↓ [nats/frame]", "error ↓ [L1]"]
    assert [part.strip("-") for part in rule] == [":", ":", ":"] and rule[0][0] == ":" != rule[1][0]
    assert [line[0] for line in lines] == ["TVAE, L = 0", "*untrained*"]
    first, second = ([read(text) for text in line[1:]] for line in lines)
    assert first[0] == pytest.approx([sum(NATS) / 3, sample_sd(NATS), 1190.25, 1300.125], abs=0.051)
    assert (first[1], second) == ([-13269.0], [[0.4, 0.2], None])


def test_comma_separated_reads_back_unrounded():
    lines = list(csv.DictReader(io.StringIO(comma_separated(FRAME))))
    assert list(lines[0]) == list(FIELDS)
    assert [(line["row"], line["measure"], line["shown"]) for line in lines] == [
        (row, key, shown)
        for row in ("TVAE, L = 0", "untrained")
        for key, shown in {"nats": "1", "e": "1", "file": "0"}.items()
    ]
    first, error, _, control, undefined, _ = lines
    assert (first["heading"], first["unit"], first["decimals"]) == ("a long head ↓", "nats/frame", "1")
    assert float(first["mean"]) == pytest.approx(sum(NATS) / 3, rel=1e-12)
    assert float(first["sd"]) == pytest.approx(sample_sd(NATS), rel=1e-12)
    assert (float(first["low"]), float(first["high"]), first["seeds"]) == (1190.25, 1300.125, "3")
    assert (error["mean"], error["sd"], error["seeds"], error["low"]) == ("-13269.4", "", "1", "")
    assert (control["mean"], control["seeds"], control["control"]) == ("0.375", "2", "1")
    assert (undefined["mean"], undefined["seeds"], first["experiment"]) == ("", "0", "tvae_L0_mnist")


def test_a_row_needs_a_value_for_every_column():
    for make in (markdown, draw):
        with pytest.raises((ValueError, IndexError)):
            make(FRAME.drop(4))


LOW = {key: 100.0 + i for i, (key, measure) in enumerate(MEASURES.items()) if not measure.by_factor}
LOW |= {"roll_held_out_at_draws": 200.0, "reconstruction_at_draws": 100.0, "iwae_sequence": -12345.6}
LOW |= {"e_eq": 1000.0, "e_eq_share": 0.25}
LOW |= {
    key: {"x": 0.5, "y": -0.5, "orientation": None, "scale": 0.25}
    for key in ("capcorr_first", "capcorr_nearest")
}
LOW |= {MARGIN: {"rotation": 30.0, "hue": -12.0, "scale": 6.0}}
CHANCE = {**dict.fromkeys(LOW, 500.0), "e_eq": 13271.0, MARGIN: None, "capcorr_first": {}}


def raised(row, by):
    return {k: v + by if isinstance(v, float) else v for k, v in row.items()}


def synthetic(folder, name, seed=1, chance=CHANCE, untrained=900.0, **trained) -> Run:
    """A finished run with these results, without having been trained."""
    run = Run(EXPERIMENTS[name].at_scale("smoke").with_options(seed=seed), folder / f"{name}-{seed}")
    run.folder.mkdir()
    results = {"trained": {**LOW, **trained}, "untrained": raised(LOW, untrained), "chance": chance}
    (run.folder / "results.json").write_text(json.dumps(results))
    run.save_per_sequence(**{kind: around(results[kind], seed) for kind in ("trained", "untrained")})
    return run


def around(row, seed, n=120) -> dict[str, torch.Tensor]:
    """Values of n sequences whose means are those of the row; rolls that hit the start or miss it by one."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, generator=g)
    values = {k: v + noise - noise.mean() for k, v in row.items() if isinstance(v, float)}
    start, varied = (torch.randint(high, (n,), generator=g) for high in (15, 4))
    rolls = start + torch.randint(2, (n,), generator=g)
    return {
        **values,
        "start": start,
        "varied": varied,
        "observed_first": rolls,
        "observed_nearest": start.clone(),
    }


def test_rows_of_several_experiments_and_seeds(tmp_path):
    a = [synthetic(tmp_path, "tvae_Lpartial_mnist", s, roll_held_out_at_draws=200.0 + s) for s in (1, 2)]
    without = {"roll_held_out_at_draws": None, MARGIN: None}
    b = [synthetic(tmp_path, "nontvae_mnist", chance={**CHANCE, "e_eq": 1.0}, **without)]
    frame = table_rows([*a, *b], TABLE_1)
    rows = labels(frame)
    wanted = ["TVAE, L = 13/36 S", "untrained", "VAE", "untrained", "chance level"]
    assert list(rows.row) == wanted and list(rows.control) == [0, 1, 0, 1, 1]
    held_out = frame[frame.measure == "roll_held_out_at_draws"]
    assert list(held_out.seeds) == [2, 2, 0, 1, 2]
    assert held_out["mean"].tolist() == pytest.approx([201.5, 1100.0, math.nan, 1100.0, 500.0], nan_ok=True)
    assert frame[frame.measure == "e_eq"]["mean"].iloc[-1] == 13271.0  # of the first experiment
    assert set(frame.measure) >= {*TABLE_1, "roll_seen", "iou_copy"}
    assert list(heads(frame).measure) == list(TABLE_1)
    assert average(a, "trained", "roll_held_out_at_draws") == 201.5
    assert average(b, "trained", "roll_held_out_at_draws") is None
    assert value_of({"a": {"b": 0.0}}, "a/b") == 0.0 and value_of({}, "a/b") is None
    assert cells(frame)["roll_held_out_at_draws"][0].startswith("201.5 ± 0.7 [")


def test_intervals_of_rows(tmp_path):
    runs = [synthetic(tmp_path, "bubbles_dsprites", seed) for seed in (1, 2)]
    frame = table_rows(runs, TABLE_2)
    for label, kind in (("BubbleVAE", "trained"), ("untrained", "untrained")):
        row = frame[frame.row == label].set_index("measure")
        assert math.isnan(row.low["capcorr_first/orientation"])  # undefined
        assert (row.low["capcorr_nearest/scale"], row.high["capcorr_nearest/scale"]) == pytest.approx((1, 1))
        assert 0.9 < row.low["capcorr_first/x"] < row.high["capcorr_first/x"] < 1.0
        for key in ("e_eq", "roll_held_out_at_draws", "iwae_sequence"):
            low, high = row.low[key], row.high[key]
            assert low < average(runs, kind, key) < high < low + 1
        assert set(row.experiment) == {"bubbles_dsprites"}
    chance = frame[frame.row == "chance level"]
    assert chance.low.isna().all() and set(chance.experiment) == {""}
    assert " [" in cells(frame)["e_eq"][0]


def test_values_by_factor(tmp_path):
    text = cells(table_rows([synthetic(tmp_path, "bubbles_dsprites")], TABLE_2))
    shown = [words.partition(" ")[0] for words in text.iloc[0, -5:]]
    assert shown == ["0.50", "−0.50", "–", "0.25", "0.25"] and list(text.iloc[2, -5:]) == ["–"] * 5


def test_headings_come_from_the_catalogue(tmp_path):
    found = heads(table_rows([synthetic(tmp_path, PARTIAL)], TABLE_1)).set_index("measure")
    assert found.heading["roll_margin_at_draws/hue"] == "roll margin hue, at draws ↑"
    assert found.heading["iwae_sequence"] == "IWAE-2 ↑"  # of the scale smoke
    assert (found.unit["e_eq"], found.decimals["e_eq_share"]) == ("L1", 2)


@pytest.mark.parametrize("columns", [TABLE_1, TABLE_2], ids=["table1", "table2"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_in_a_drawn_table_touches_anything_else(columns, seeds, tmp_path):
    names = [n for n in EXPERIMENTS if n.endswith("_mnist") and "Table 1" in EXPERIMENTS[n].shows]
    runs = [synthetic(tmp_path, n, s, e_eq=1e4 * s) for n in names for s in range(1, seeds + 1)]
    frame = table_rows(runs, columns)
    long = "u_mean_init=0.0 u_logvar_init=0.0 standardised=False he_init=False"  # as the study names a row
    frame = frame.assign(row=frame.row.replace({frame.row.iloc[0]: long}))
    figure, rows = draw(frame), labels(frame)
    texts = figure.axes[0].texts
    parts, rest = divmod(len(texts) - len(columns) * (2 + len(rows)), len(rows))  # rows are named in each
    assert rest == 0 and parts >= 1
    assert figure.get_figwidth() <= WIDTH  # so its letters keep their size when printed
    renderer = FigureCanvasAgg(figure).get_renderer()  # one for all: every text would make its own
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for (a, box), (b, other) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other.padded(-1)), (a, b)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for _, box in boxes)
    shown = {text.get_text() for text in texts}
    for control, row in zip(rows.control, cells(frame).to_numpy(), strict=True):
        said = [text.replace(" ±", "\n±").replace(" [", "\n[") for text in row]
        kept = 1 if control and seeds == 1 else 2  # the mean, and the deviation or else the interval
        assert {"\n".join(text.split("\n")[:kept]) for text in said} <= shown
    assert any("[" in text for text in shown) == (seeds == 1)


def test_what_is_written_is_what_is_shown(tmp_path):
    run = synthetic(tmp_path, "bubbles_mnist")
    frame = table_rows([run], TABLE_1)
    text = write_table(tmp_path / "made", "t", frame, "Seed 1.")
    assert text == (tmp_path / "made/t.md").read_text() == f"{markdown(frame)}\nSeed 1.\n"
    assert (tmp_path / "made/t.csv").read_text() == comma_separated(frame)
    assert len(list((tmp_path / "made").iterdir())) == 2


PARTIAL = "tvae_Lpartial_mnist"


@pytest.mark.parametrize("best, learned", [(100.0, True), (500.0, False)])
def test_what_rolls_show(best, learned, tmp_path):
    said = what_rolls_show([synthetic(tmp_path, PARTIAL, reconstruction_at_draws=best)])
    assert said == (
        f"**TVAE, L = 13/36 S** ({PARTIAL}, scale smoke), at posterior draws in nats/frame: "
        f"reconstruction {best}, roll into held-out frames 200.0, the mean frame 500.0"
        + "; the model has not learned to reconstruct, so this says nothing about the claim" * (not learned)
        + ". Roll margin: rotation 30.0, hue −12.0, scale 6.0; above 0 for 2 of 3 factors."
    )


def test_what_rolls_show_takes_means_over_seeds(tmp_path):
    runs = [synthetic(tmp_path, PARTIAL, s, roll_held_out_at_draws=100.0 * s) for s in (1, 2)]
    runs.append(synthetic(tmp_path, "tvae_Lhalf_mnist"))
    first, second = what_rolls_show(runs).split("\n\n")
    assert "held-out frames 150.0" in first and "has seen these frames too" in second and "200.0" in second


def test_what_the_table_shows(tmp_path):
    low = {"rotation": -1.0, "hue": 2.0, "scale": 2.0}
    runs = [
        synthetic(tmp_path, "bubbles_mnist", **{MARGIN: low}),
        *(synthetic(tmp_path, PARTIAL, seed, untrained=-0.125) for seed in (1, 2)),
    ]
    assert what_table_shows(runs) == (
        "At scale smoke **TVAE, L = 13/36 S** has the largest roll margin: mean over factors 8.0 nats/frame "
        "at posterior draws (rotation 30.0, hue −12.0, scale 6.0; above 0 for 2 of 3 factors), untrained "
        "8.0; the others: BubbleVAE 1.0. Its E_eq is 0.25 of chance, 0.12 without any training."
    )


def test_a_table_that_decides_nothing_says_so(tmp_path):
    said = what_table_shows([synthetic(tmp_path, PARTIAL, **{MARGIN: {"rotation": -1.0}})])
    assert "No model rolls better than the controls" in said
