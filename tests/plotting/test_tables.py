"""Tables: what a cell says, text and file read back, whose rows stand where, and the sentences below."""

import csv
import io
import itertools
import json
import math
import re

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures.comparison import (
    TABLE_1,
    TABLE_2,
    average,
    table_rows,
    value_of,
    what_rolls_show,
    what_table_shows,
    write_table,
)
from tvae_core.plotting.style import WIDTH
from tvae_core.plotting.tables import Column, Row, cell, cells, comma_separated, draw, markdown, number
from tvae_core.training.runs import Run

NATS = Column("nats", "a long\nhead ↓", "nats/frame", 1)
ERROR = Column("e", "er-\nror ↓", "L1", 0)
L0 = "tvae_L0_mnist"
ROWS = [
    Row("TVAE, L = 0", [[1234.56, 1200.0, 1300.1], [-13269.4]], False, [(1190.25, 1300.125), None], L0),
    Row("untrained", [[0.25, None, 0.5], [None]], control=True),
]


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
    assert cell(values, decimals) == text
    with_interval = cell(values, decimals, (-1.0, 2345.0))
    interval = f" [{number(-1.0, decimals)}; {number(2345.0, decimals)}]"
    assert with_interval == (text if text == "–" else text + interval)


def read(text: str) -> list[float] | None:
    """The numbers of a cell: the mean, the deviation if there is one, the ends of the interval."""
    plain = text.replace(",", "").replace("−", "-")
    return None if text == "–" else [float(part) for part in re.findall(r"-?[\d.]+", plain)]


def test_markdown_reads_back():
    head, rule, *lines = [line[2:-2].split(" | ") for line in markdown((NATS, ERROR), ROWS).splitlines()]
    assert head == ["", "a long head ↓ [nats/frame]", "error ↓ [L1]"] and rule == ["---", "---:", "---:"]
    assert [line[0] for line in lines] == ["TVAE, L = 0", "*untrained*"]
    first, second = ([read(text) for text in line[1:]] for line in lines)
    nats = ROWS[0].values[0]
    assert first[0] == pytest.approx([sum(nats) / 3, sample_sd(nats), 1190.25, 1300.125], abs=0.051)
    assert (first[1], second) == ([-13269.0], [[0.4, 0.2], None])


def test_comma_separated_reads_back_unrounded():
    lines = list(csv.DictReader(io.StringIO(comma_separated((NATS, ERROR), ROWS))))
    nats = ROWS[0].values[0]
    assert [(line["row"], line["measure"]) for line in lines] == [
        (row.label, column.key) for row in ROWS for column in (NATS, ERROR)
    ]
    first, error, control, undefined = lines
    assert (first["heading"], first["unit"], first["decimals"]) == ("a long head ↓", "nats/frame", "1")
    assert float(first["mean"]) == pytest.approx(sum(nats) / 3, rel=1e-12)
    assert float(first["sd"]) == pytest.approx(sample_sd(nats), rel=1e-12)
    assert (float(first["low"]), float(first["high"]), first["seeds"]) == (1190.25, 1300.125, "3")
    assert (error["mean"], error["sd"], error["seeds"], error["low"]) == ("-13269.4", "", "1", "")
    assert (control["mean"], control["seeds"], control["control"]) == ("0.375", "2", "1")
    assert (undefined["mean"], undefined["seeds"], first["experiment"]) == ("", "0", "tvae_L0_mnist")


def test_a_row_needs_a_value_for_every_column():
    for make in (markdown, draw):
        with pytest.raises((ValueError, IndexError)):
            make((NATS, ERROR), [Row("short", [[1.0]])])


LOW = {"roll_held_out": 200.0, "roll_seen": 150.0, "reconstruction": 100.0, "e_eq": 1000.0}
LOW |= {"log_p_sequence": -12345.6, "log_p_per_frame": -220.0}
LOW |= {
    f"capcorr_{o}": {"x": 0.5, "y": -0.5, "orientation": None, "scale": 0.25} for o in ("first", "nearest")
}
CHANCE = {**dict.fromkeys(LOW, 500.0), "e_eq": 13269.0, "capcorr_first": {}, "capcorr_nearest": None}


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
    return {**values, "start": start, "varied": varied, "roll_first": rolls, "roll_nearest": start.clone()}


def test_rows_of_several_experiments_and_seeds(tmp_path):
    a = [synthetic(tmp_path, "tvae_Lpartial_mnist", s, roll_held_out=200.0 + s) for s in (1, 2)]
    b = [synthetic(tmp_path, "nontvae_mnist", chance={**CHANCE, "e_eq": 1.0}, roll_held_out=None)]
    rows = table_rows([*a, *b], TABLE_1)
    labels = ["TVAE, L = 13/36 S", "untrained", "VAE", "untrained", "chance level"]
    assert [(row.label, row.control) for row in rows] == list(zip(labels, [0, 1, 0, 1, 1], strict=True))
    keys = [column.key for column in TABLE_1]
    held_out = [row.values[keys.index("roll_held_out")] for row in rows]
    assert held_out == [[201.0, 202.0], [1100.0] * 2, [None], [1100.0], [500.0] * 2]
    assert rows[-1].values[keys.index("e_eq")] == [13269.0] * 2  # of the first experiment
    assert average(a, "trained", "roll_held_out") == 201.5
    assert average(b, "trained", "roll_held_out") is None
    assert cell(held_out[0], 1) == "201.5 ± 0.7"


def test_intervals_of_rows(tmp_path):
    runs = [synthetic(tmp_path, "bubbles_dsprites", seed) for seed in (1, 2)]
    trained, untrained, chance = table_rows(runs, TABLE_2)
    keys = [column.key for column in TABLE_2]
    for row in (trained, untrained):
        intervals = dict(zip(keys, row.intervals, strict=True))
        assert intervals["capcorr_first/orientation"] is None  # undefined
        assert intervals["capcorr_nearest/scale"] == pytest.approx((1.0, 1.0))
        low, high = intervals["capcorr_first/x"]
        assert 0.9 < low < high < 1.0
        for key in ("e_eq", "roll_held_out", "log_p_sequence"):
            low, high = intervals[key]
            assert low < average(runs, "untrained" if row.control else "trained", key) < high < low + 1
    assert set(chance.intervals) == {None} and chance.experiment == ""
    assert trained.experiment == untrained.experiment == "bubbles_dsprites"
    assert " [" in cells(TABLE_2, trained)[keys.index("e_eq")]


def test_values_by_factor(tmp_path):
    rows = table_rows([synthetic(tmp_path, "bubbles_dsprites")], TABLE_2)
    assert [values[0] for values in rows[0].values[:5]] == [0.5, -0.5, None, 0.25, 0.25]
    assert [values[0] for values in rows[2].values[:5]] == [None] * 5
    assert value_of({"a": {"b": 0.0}}, "a/b") == 0.0 and value_of({}, "a/b") is None


@pytest.mark.parametrize("columns", [TABLE_1, TABLE_2], ids=["table1", "table2"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_in_a_drawn_table_touches_anything_else(columns, seeds, tmp_path):
    names = [n for n in EXPERIMENTS if n.endswith("_mnist") and "Table 1" in EXPERIMENTS[n].shows]
    runs = [synthetic(tmp_path, n, s, e_eq=1e4 * s) for n in names for s in range(1, seeds + 1)]
    rows = table_rows(runs, columns)
    figure = draw(columns, rows)
    texts = figure.axes[0].texts
    parts, rest = divmod(len(texts) - len(columns) * (2 + len(rows)), len(rows))  # rows are named in each
    assert rest == 0 and parts >= 1
    assert figure.get_figwidth() <= WIDTH  # so its letters keep their size when printed
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for (a, box), (b, other) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other.padded(-1)), (a, b)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for _, box in boxes)
    shown = {text.get_text() for text in texts}
    for row in rows:
        said = cells(columns, row._replace(intervals=()) if row.control else row)
        assert {text.replace(" ±", "\n±").replace(" [", "\n[") for text in said} <= shown
    assert any("[" in text for text in shown)


def test_what_is_written_is_what_is_shown(tmp_path):
    run = synthetic(tmp_path, "bubbles_mnist")
    rows = table_rows([run], TABLE_1)
    text = write_table(tmp_path / "made", "t", TABLE_1, rows, "Seed 1.")
    assert text == (tmp_path / "made/t.md").read_text() == f"{markdown(TABLE_1, rows)}\nSeed 1.\n"
    assert (tmp_path / "made/t.csv").read_text() == comma_separated(TABLE_1, rows)
    assert len(list((tmp_path / "made").iterdir())) == 2


PARTIAL = "tvae_Lpartial_mnist"
WORDS = {  # by what was measured: what the sentence must say, and what it must not
    (200.0, 100.0): (["100.0", "200.0", "500.0", "covers 75% of the way"], ["not learned", "no frame"]),
    (600.0, 100.0): (["600.0", "covers -25% of the way"], ["not learned"]),
    (200.0, 500.0): (["reconstruction 500.0", "200.0", "not learned"], ["covers"]),
    (None, 100.0): (["100.0", "500.0", "no frame is held out."], ["covers", "not learned", "None"]),
    (None, 700.0): (["700.0", "no frame is held out", "not learned"], ["covers"]),
}


@pytest.mark.parametrize("measured", WORDS, ids=str)
def test_what_rolls_show(measured, tmp_path):
    rolled, best = measured
    said = what_rolls_show([synthetic(tmp_path, PARTIAL, roll_held_out=rolled, reconstruction=best)])
    wanted, unwanted = WORDS[measured]
    assert said.startswith(f"**TVAE, L = 13/36 S** ({PARTIAL}, scale smoke): ") and said.endswith(".")
    assert all(words in said for words in wanted) and not any(words in said for words in unwanted)


def test_what_rolls_show_takes_means_over_seeds(tmp_path):
    runs = [synthetic(tmp_path, PARTIAL, s, roll_held_out=100.0 * s) for s in (1, 2)]
    runs.append(synthetic(tmp_path, "bubbles_mnist"))
    first, second = what_rolls_show(runs).split("\n\n")
    assert "held-out frames 150.0" in first and "BubbleVAE" in second and "200.0" in second


def test_what_the_table_shows(tmp_path):
    runs = [
        synthetic(tmp_path, "tvae_Lhalf_mnist", roll_held_out=None),
        synthetic(tmp_path, "bubbles_mnist", roll_held_out=450.0),
        *(synthetic(tmp_path, PARTIAL, s, untrained=1000.0, roll_held_out=150.0 + 50 * s) for s in (1, 2)),
    ]
    said = what_table_shows(runs)
    assert said == (
        "At scale smoke **TVAE, L = 13/36 S** rolls best into held-out frames: 225.0 nats/frame, untrained "
        "1,200.0, the mean frame 500.0 (BubbleVAE 450.0). Its E_eq is 1,000, but 2,000 without any training "
        "and 13,269 by chance."
    )


def test_a_table_that_decides_nothing_says_so(tmp_path):
    said = what_table_shows([synthetic(tmp_path, PARTIAL, roll_held_out=500.0)])
    assert "500.0. No model does better than the mean frame" in said
    said = what_table_shows([synthetic(tmp_path, "tvae_Lhalf_mnist", roll_held_out=None)])
    assert "smoke" in said and "no frame is held out" in said
