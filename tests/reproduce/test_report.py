"""The report: whole in one file, true to what lies on disk, readable by everybody; and what users enter."""

import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import nbformat.v4 as nb
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tvae_core.plotting.style import save
from tvae_core.plotting.tables import FIELDS, comma_separated, number
from tvae_core.reproduce import report as room
from tvae_core.reproduce import status as status_room
from tvae_core.reproduce.execute import check_names, execute
from tvae_core.reproduce.notebook_text import read_article
from tvae_core.reproduce.notebooks import RECORD, Notebook, notebooks
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.report import report
from tvae_core.reproduce.status import file_digest, input_digests, status

SAID = '<b>"bold" & wide</b>'
PARAMETERS = 'experiments: list[str] = ["a"]\nseeds: list[int] = []'
WRITES = {"fig9": 'save(figure, folder, "fig9")', "t": 'write_table(folder, "t")\nsave(figure, folder, "t")'}
CELLS = [
    ("TVAE", "tvae_a", False, "e_eq", "E_eq ↓", "L1", 0, True, 1005.0, 50**0.5, 2, 990.0, 1020.0),
    ("TVAE", "tvae_a", False, "nll", "nll ↓", "nats", 1, True, 5.3, 0.005**0.5, 2, None, None),
    ("TVAE", "tvae_a", False, "elbo", "in the file only", "nats", 1, False, 5.3, None, 1, None, None),
    ("untrained", "tvae_a", True, "e_eq", "E_eq ↓", "L1", 0, True, 905.0, 50**0.5, 2, 890.0, 920.0),
    ("untrained", "tvae_a", True, "nll", "nll ↓", "nats", 1, True, None, None, 0, None, None),
    ("chance level", "", True, "e_eq", "E_eq ↓", "L1", 0, True, 13271.0, 0.0, 2, None, None),
    ("chance level", "", True, "nll", "nll ↓", "nats", 1, True, 7.0, 0.0, 2, None, None),
]


class Page(HTMLParser):
    """Every start tag with its attributes, and the headings in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A figure, a table and a notebook that was never run, at a scale; the folder of all of it."""
    for module in ("reproduce.notebooks", "reproduce.report", "reproduce.status"):
        for name, value in (
            ("HOME", tmp_path),
            ("FIGURES", tmp_path / "figures"),
            ("RUNS", tmp_path / "runs"),
        ):
            monkeypatch.setattr(f"tvae_core.{module}.{name}", value, raising=False)
    for seed in (1, 2):
        folder = tmp_path / "runs" / f"a-{seed}"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text("{}")
        about = {
            "data": "a few digits",
            "device": "a CPU",
            "commit": "abc",
            "seconds": 90.0,
            "peak_memory": 2_000_000_000,
        }
        (folder / "provenance.json").write_text(json.dumps(about))
    (tmp_path / "source").mkdir()
    for name, title in (
        ("fig1", "Figure 1: never run"),
        ("fig9", "Figure 9: a sheet"),
        ("t", "Table 3: numbers"),
    ):
        lead = f"# {title}\n\n![At scale long](pictures/fig9.png)\n\nThe lead of {name}, see [t](t.ipynb)."
        cells = [nb.new_markdown_cell(lead)]
        if name == "t":
            cells.append(nb.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
        cells.append(nb.new_code_cell(WRITES.get(name, 'save(figure, folder, "fig1")')))
        nbformat.write(nb.new_notebook(cells=cells), tmp_path / "source" / f"{name}.ipynb")
    found = notebooks(tmp_path / "source")
    made = tmp_path / "figures" / "smoke"
    save(Figure(figsize=(2, 1)), made, "fig9", alt=f"A sheet {SAID}", caption=f"Nothing {SAID}")
    save(Figure(figsize=(2, 1)), made, "t", alt="A table as a picture", caption="What the table shows")
    (made / "t.csv").write_text(comma_separated(pd.DataFrame(CELLS, columns=FIELDS)))
    (made / "t.md").write_text("| a |")
    pretend(found["fig9"], {}, {})
    pretend(found["t"], {"a-1": ["tvae_a", 1], "a-2": ["tvae_a", 2]}, {"seeds": [1, 2], "steps": "a b"})
    return tmp_path


def pretend(notebook: Notebook, runs, parameters) -> None:
    """Leave what executing a notebook would have left, its figures apart."""
    figure = {"image/png": "iVBOR", "text/plain": "<Figure>"}
    shown = [
        nb.new_output("display_data", {"text/markdown": text}) for text in ("| a |\n|---|\n| 1 |", "*Said*")
    ]
    cells = [
        *nbformat.read(notebook.path, 4).cells,
        nb.new_code_cell("draw()", outputs=[nb.new_output("display_data", figure)]),
        nb.new_code_cell("print(7)", outputs=[nb.new_output("stream", name="stdout", text="seven < 8\n")]),
        nb.new_markdown_cell("## To end with"),
        nb.new_code_cell("say()", outputs=shown),
        nb.new_markdown_cell("**Exercise.** Guess.", metadata={"tags": ["exercise"]}),
    ]
    figures = (status_room.FIGURES / "smoke").iterdir()
    record = {
        "runs": runs,
        "input_digests": input_digests(notebook, runs),
        "files": {path.name: file_digest(path) for path in figures if path.stem == notebook.name},
        "peak_memory": 500_000_000,
        "commit": None,
    }
    record |= {"system": "Linux", "python": "3.13", "versions": {"torch": "2.0"}}
    said = {RECORD: record, "papermill": {"parameters": parameters, "duration": 30.0}}
    notebook.executed("smoke").parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb.new_notebook(cells=cells, metadata=said), notebook.executed("smoke"))


def page_of(home, reference=None, noted=None) -> Page:
    found = notebooks(home / "source").values()
    path, problems = report("smoke", found, reference or {}, noted or {})
    assert not problems
    return Page(path.read_text())


def page_text(home) -> str:
    page_of(home)
    return (home / "figures" / "smoke" / "report.html").read_text()


def test_it_holds_all_that_it_shows(home):
    page = page_of(home)
    assert not page.of("link", "object", "embed", "base")
    assert not any("src" in script for script in page.of("script"))
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.of("img"))
    links = {link["href"] for link in page.of("a") if "href" in link}
    away = {link for link in links if re.match(r"\w+:", link)}
    assert away == {"https://arxiv.org/abs/2109.01394"}  # to be followed, not loaded
    folder = home / "figures" / "smoke"
    assert all((folder / link).is_file() for link in links - away if not link.startswith("#"))
    assert "#t" in links
    text = (folder / "report.html").read_text()
    assert "url(" not in text and "@import" not in text and str(home) not in text


def test_it_can_be_read_by_everybody(home):
    page = page_of(home)
    assert [tag["lang"] for tag in page.of("html")] == ["en"] and len(page.of("main")) == len(
        page.of("h1")
    ) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert [image["alt"] for image in page.of("img")] == [f"A sheet {SAID}"]
    assert all(tag.get("scope") in ("col", "row") for tag in page.of("th"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(names)) == len(names)
    inside = {link["href"][1:] for link in page.of("a") if link.get("href", "").startswith("#")}
    pointed = [a[key] for _, a in page.tags for key in ("aria-labelledby", "aria-describedby") if key in a]
    assert inside | set(pointed) <= set(names) and {"fig1", "fig9", "t"} <= inside
    assert all("tabindex" in attributes for attributes in page.of("pre"))


def test_every_item_says_what_it_was_made_from(home):
    text = "".join(page_of(home).text)
    contents, fig1, fig9, table = re.split(r"Figure 1 Never run|Figure 9 A sheet|Table 3 Numbers", text)
    assert "● 2 made" in contents and "○ 1 missing" in contents
    assert "./run_all.sh --scale smoke --only fig1" in fig1 and "Peak memory" not in fig1
    assert (
        f"Nothing {SAID}" in fig9 and "nothing is trained" in fig9 and "0.5 minutes for the notebook" in fig9
    )
    assert "The lead of fig9, see t." in fig9 and "seven < 8" in fig9 and "Said" in fig9
    assert "Guess" not in fig9 and fig9.index("To end with") < fig9.index("Said") < fig9.index("seven < 8")
    assert "./run_all.sh --scale smoke --only t --seeds 1,2 --set 'steps=a b'" in table
    assert "tvae_a (seeds 1, 2)" in table and "a few digits" in table and "a CPU; commit abc" in table
    assert "0.5 minutes for the notebook, 3.0 for training 2 runs" in table
    assert "0.5 GB for the notebook, 2.0 GB for training" in table and "torch 2.0" in table
    assert "What the table shows" in table and "Reference values: none entered" in table


def test_a_table_is_a_table(home):
    page = page_of(home)
    text = "".join(page.text)
    assert len(page.of("img")) == 1  # the table's picture is left out
    assert "1,005\xb1 7[990; 1,020]".replace("\xb1", "± ").replace("±  ", "± ") in text.replace("\n", "")
    assert "5.30± 0.07" not in text and "5.3± 0.1" in text.replace("\n", "")
    assert "13,271" in text and "[890" not in text


def test_reference_values_stand_beside_what_was_measured(home):
    text = "".join(page_of(home, {("tvae_a", "e_eq"): 1200.0}).text)
    assert re.search(r"1,005± 7\[990; 1,020\]\s+1,200\s*−195", text)
    assert "none entered" not in text and text.count("1,200") == 1
    above = "".join(page_of(home, {("tvae_a", "nll"): 5.0, ("tvae_b", "e_eq"): 1.0}).text)
    assert re.search(r"5\.3± 0\.1\s+5\.0\s*\+0\.3", above)


def test_every_figure_leads_to_its_notebook_runs_and_command(home):
    captions = re.findall(r"<figcaption.*?</figcaption>", page_text(home), re.DOTALL)
    sheet, table = captions
    assert 'href="../../notebooks/smoke/fig9.ipynb"' in sheet and "--only fig9</code>" in sheet
    assert 'href="../../notebooks/smoke/t.ipynb"' in table and "--only t --seeds 1,2" in table
    assert all(f'href="../../runs/a-{seed}/results.json">tvae_a, seed {seed}</a>' in table for seed in (1, 2))


def test_it_opens_with_what_is_claimed(home, monkeypatch):
    order = ["fig1", "fig9", "t"]
    assert re.findall(r'<section id="(\w+)"', page_text(home)) == order
    monkeypatch.setattr(room, "OPENING", ("t", "fig9"))
    text = page_text(home)
    assert re.findall(r'<section id="(\w+)"', text) == ["t", "fig9", "fig1"]
    first, second, contents, last = (
        text.index(part) for part in ('id="t"', 'id="fig9"', "<nav", 'id="fig1"')
    )
    assert first < second < contents < last
    assert first < text.index("What the table shows") < second


def test_every_cell_names_its_column_for_narrow_screens(home):
    cells = page_of(home).of("td")
    assert cells and all("data-label" in cell and cell["role"] == "cell" for cell in cells)
    assert {"E_eq ↓ (L1)", "Status", "Minutes"} <= {cell["data-label"] for cell in cells}
    assert "aside" not in page_text(home)  # which hid columns


@pytest.mark.browser
def test_no_column_is_hidden_at_any_width(home, browser):
    page_of(home)
    measure = "[...document.querySelectorAll('.wide')].map((e) => e.scrollWidth - e.clientWidth)"
    shapes = {}
    page = browser.new_page()
    page.goto((home / "figures" / "smoke" / "report.html").as_uri())
    for width in (1400, 800, 400, 240):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        assert max(page.evaluate(measure)) <= 0, width
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        shapes[width] = page.locator("table.blocks").count()
    page.close()
    assert shapes[1400] == 0 and shapes[240] == 2  # the same tables, as blocks


def test_it_is_written_when_something_changed(home):
    page_of(home)
    path = home / "figures" / "smoke" / "report.html"
    before = path.stat().st_mtime_ns, path.read_bytes()
    page_of(home)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    page_of(home, noted={"fig1": "training failed"})
    assert "○ missing</b>: training failed" in path.read_text()


def test_a_picture_on_the_page_is_the_one_on_disk(home):
    (image,) = page_of(home).of("img")
    shown = base64.b64decode(image["src"].partition(",")[2])
    with Image.open(home / "figures" / "smoke" / "fig9.png") as kept, Image.open(io.BytesIO(shown)) as small:
        assert small.size == kept.size
        difference = np.asarray(kept.convert("RGB"), float) - np.asarray(small.convert("RGB"), float)
    assert np.abs(difference).mean() < 3 and difference.size


def test_a_page_beside_a_figure_is_its_slider(home):
    (home / "figures" / "smoke" / "fig9.html").write_text('<script>let a = "1"</script>')
    pretend(notebooks(home / "source")["fig9"], {}, {})
    (frame,) = page_of(home).of("iframe")
    assert frame["srcdoc"] == '<script>let a = "1"</script>' and frame["sandbox"] == "allow-scripts"
    assert frame["title"]


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_nothing_on_the_page_is_code_of_what_it_shows(home):
    """Captions, tables, provenance, notebooks, parameters and reasons as an attacker would write them."""
    before, folder = page_of(home), home / "figures" / "smoke"
    table = pd.DataFrame(
        [(HOSTILE, HOSTILE, *CELLS[0][2:4], HOSTILE, HOSTILE, *CELLS[0][6:])], columns=FIELDS
    )
    (folder / "t.csv").write_text(comma_separated(table))
    for name in ("t", "fig9"):
        (folder / f"{name}.json").write_text(json.dumps({"alt": HOSTILE, "caption": HOSTILE}))
    about = dict.fromkeys(("data", "device", "commit", "system", "python"), HOSTILE) | {"seconds": 1.0}
    (home / "runs" / "a-1" / "provenance.json").write_text(json.dumps(about))
    found = notebooks(home / "source")
    text = f"# Figure 9: {HOSTILE}\n\n{HOSTILE} [here](javascript:alert(1)) ![x](javascript:alert(1))"
    nbformat.write(nb.new_notebook(cells=[nb.new_markdown_cell(text)]), found["fig9"].path)
    pretend(notebooks(home / "source")["fig9"], {}, {"steps": HOSTILE})
    pretend(found["t"], {"a-1": [HOSTILE, 1]}, {"steps": HOSTILE})
    path, _ = report("smoke", notebooks(home / "source").values(), {}, {"fig1": HOSTILE})
    page = Page(path.read_text())
    assert len(page.of("script")) == len(before.of("script")) and "".join(page.text).count("alert(1)") > 9
    sources = {image["src"].partition(",")[0] for image in page.of("img")}
    assert sources == {"data:image/webp;base64"}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert not any("javascript:" in (link.get("href") or "") for link in page.of("a"))


def test_status_follows_the_contents_of_files(home):
    found = notebooks(home / "source")
    assert {n.name: status(n, "smoke").word for n in found.values()} == {
        "fig1": "missing",
        "fig9": "made",
        "t": "made",
    }
    found["t"].path.touch()
    assert status(found["t"], "smoke").word == "made"
    (home / "runs" / "a-1" / "results.json").write_text("[]")
    assert status(found["t"], "smoke") == ("stale", "a run changed since")
    found["fig9"].path.write_text(found["fig9"].path.read_text().replace("The lead", "A lead"))
    found = notebooks(home / "source")
    assert status(found["fig9"], "smoke") == ("stale", "the notebook changed since")
    (home / "figures" / "smoke" / "fig9.png").write_text("cut short")
    assert status(found["fig9"], "smoke").why == "the notebook and fig9.png changed since"
    (home / "figures" / "smoke" / "fig9.pdf").unlink()
    assert status(found["fig9"], "smoke") == ("missing", "without fig9.pdf")


def test_a_status_is_that_of_what_is_asked_for(home):
    table = notebooks(home / "source")["t"]
    given = {"seeds": [1, 2], "steps": "a b"}
    assert status(table, "smoke", {**given, "device": "cpu"}, ["a-2", "a-1"]).word == "made"
    assert status(table, "smoke", {"seeds": []}) == ("stale", "the parameters asked for changed since")
    assert status(table, "smoke", given, ["a-1"]) == ("stale", "the set of its runs changed since")


def test_comments_of_the_library_change_nothing_and_code_that_is_reached_does(tmp_path, monkeypatch):
    monkeypatch.setattr(status_room, "PACKAGE", tmp_path / "tvae_core")
    files = {
        "__init__.py": 'ROOMS = {"fit": "training"}',
        "training.py": '"""Doc."""\nx = 1  # why\n\n\ndef f():\n    """Doc."""\n    return "page.jinja"\n',
        "page.jinja": "<p>",
        "a/__init__.py": "",
        "a/b.py": "from tvae_core.training import (\n    f,\n)\n",
        "explorer.py": "y = 1\n",
    }
    (tmp_path / "tvae_core" / "a").mkdir(parents=True)

    def digest(code, **changes) -> str:
        status_room._read.cache_clear()
        for name, text in (files | changes).items():
            (tmp_path / "tvae_core" / name).write_text(text)
        nbformat.write(nb.new_notebook(cells=[nb.new_code_cell(code)]), tmp_path / "n.ipynb")
        return status_room.library_digest(Notebook(tmp_path / "n.ipynb"))

    for code in ("from tvae_core import fit", "from tvae_core.a.b import c", "from tvae_core.a import b"):
        before = digest(code)
        assert before == digest(code, **{"training.py": files["training.py"].replace("Doc.", "Said.")})
        assert before == digest(code, **{"training.py": "# so\n" + files["training.py"]})
        assert before == digest(code, **{"explorer.py": "y = 2\n"})
        assert before != digest(code, **{"training.py": files["training.py"].replace("1", "2")})
        assert before != digest(code, **{"page.jinja": "<b>"})
    assert digest("import numpy") == digest("import numpy", **{"training.py": ""})
    status_room._read.cache_clear()


def test_a_failed_or_interrupted_attempt_is_told_apart(home):
    fig1 = notebooks(home / "source")["fig1"]
    attempt = fig1.attempt("smoke")
    attempt.parent.mkdir(parents=True)
    attempt.write_text("{")
    assert status(fig1, "smoke") == ("missing", "it was interrupted, or is being made")
    attempt.with_suffix(".log").write_text("Traceback\n\x1b[31mLookupError\x1b[0m: why\n")
    assert status(fig1, "smoke") == ("failed", "LookupError: why")
    assert "✕ 1 failed" in "".join(page_of(home).text)


BROKEN = {
    "notebooks/smoke/fig9.ipynb": (b"", b"{", b"[]", b'{"metadata": {"tvae_core": {"runs": {}}}}', b"\xff"),
    "runs/a-1/provenance.json": (b"", b"[1]", b"null"),
    "figures/smoke/fig9.png": (b"", b"\x89PNG", b"cut"),
    "figures/smoke/fig9.json": (b"{", b"[]"),
}


@pytest.mark.parametrize("name, content", [(name, c) for name, all_ in BROKEN.items() for c in all_])
def test_a_broken_file_is_named_and_stops_nothing(home, name, content):
    (home / name).write_bytes(content)
    found = notebooks(home / "source").values()
    path, problems = report("smoke", found, {}, {})
    (problem,) = problems
    assert str(home / name).rpartition(".")[0] in problem and "\n" not in problem
    text = "".join(Page(path.read_text()).text)
    assert "What the table shows" in text and "Figure 9" in text
    if "runs" not in name:
        assert status(notebooks(home / "source")["fig9"], "smoke").word == "stale"


def test_an_executed_notebook_says_what_it_was_made_from(home):
    source = home / "source" / "fig9.ipynb"
    code = 'steps: int = 1  # so many\nfigures: str = ""'
    cells = [nb.new_code_cell(code, metadata={"tags": ["parameters"]}), nb.new_code_cell("print(steps)")]
    cells += [nb.new_code_cell('open(f"{figures}/fig9_x.csv", "w").close()')]
    nbformat.write(nb.new_notebook(cells=cells), source)  # without metadata, as nbstripout leaves it
    notebook, figures = Notebook(source), home / "figures" / "smoke"
    execute(notebook, "smoke", {"steps": 5, "figures": str(figures)}, {"a-1": ["tvae_a", 1]})
    record = notebook.record("smoke")
    assert record["parameters"] == {"steps": 5, "figures": str(figures)}
    assert record["runs"] == {"a-1": ["tvae_a", 1]} and list(record["files"]) == ["fig9_x.csv"]
    assert record["seconds"] > 0 and record["peak_memory"] > 1e7 and record["versions"]["torch"]
    assert record["input_digests"] == input_digests(notebook, ["a-1"]) != input_digests(notebook, [])
    assert "<pre" in read_article(notebook.executed("smoke")).lead
    assert status(notebook, "smoke").word == "made" and not notebook.attempt("smoke").exists()
    assert {path.name for path in figures.iterdir() if path.name[0] == "."} == set()


def test_files_are_named_after_their_notebook():
    check_names("fig4", [Path("fig4.png"), Path("fig4_x.csv")])
    for name in ("fig44.png", "fig1.png"):
        with pytest.raises(ValueError, match=f"fig4 wrote {name}; the names of its files must begin"):
            check_names("fig4", [Path(name)])
    with pytest.raises(ValueError, match="fig4 wrote no file"):
        check_names("fig4", [])


EXPERIMENTS, MEASURES = ["nontvae_mnist", "bubbles_mnist"], ["e_eq", "capcorr_first/x"]


def test_a_reference_reads_back(tmp_path):
    path = tmp_path / "reference.csv"
    assert read_reference(EXPERIMENTS, MEASURES, path) == {}
    path.write_text(
        "# why\n\nexperiment,measure,value\nnontvae_mnist, e_eq, 13274\nbubbles_mnist,capcorr_first/x,-.5\n"
    )
    assert read_reference(EXPERIMENTS, MEASURES, path) == {
        ("nontvae_mnist", "e_eq"): 13274.0,
        ("bubbles_mnist", "capcorr_first/x"): -0.5,
    }
    assert read_reference(EXPERIMENTS, MEASURES) == {}  # it ships empty


SHEETS = {
    "UTF-8 with a mark": "experiment,measure,value\r\nnontvae_mnist,e_eq,-1.5\r\n".encode("utf-8-sig"),
    "UTF-16, tabs": "experiment\tmeasure\tvalue\r\nnontvae_mnist\te_eq\t-1.5\r\n".encode("utf-16"),
    "Latin-1": "# Größe\nnontvae_mnist,e_eq,-1.5\n".encode("latin-1"),
    "semicolons, decimal comma": b"Experiment;Measure;Value\r\nnontvae_mnist;e_eq;-1,5\r\n",
    "quoted comments": b'# a\r\n"# the ""measure"", of a table",,\r\nnontvae_mnist,e_eq,-1.5\r\n',
    "padded rows": b"# a,,\nnontvae_mnist,e_eq,-1.5,,\n,,\n , , \n",
    "a minus sign": "nontvae_mnist,e_eq,−1.5\n".encode(),
    "a hard blank": "nontvae_mnist\xa0,e_eq,\xa0–1.5\n".encode(),
    "old Mac lines": b"experiment,measure,value\rnontvae_mnist,e_eq,-1.5\r",
    "all quoted": b'"nontvae_mnist", "e_eq", "-1.5"\n',
    "a spreadsheet's hint": b"sep=;\r\nnontvae_mnist;e_eq;-1.5\r\n",
    "other columns": b"id,value,source,experiment,measure\n1,-1.5,paper,nontvae_mnist,e_eq\n",
    "a note after the value": b"nontvae_mnist,e_eq,-1.5,# Table 1\n",
    "the same row twice": b"nontvae_mnist,e_eq,-1.5\nnontvae_mnist,e_eq,-1.50\n",
}


@pytest.mark.parametrize("sheet", SHEETS)
def test_a_reference_is_read_as_spreadsheets_save_it(sheet, tmp_path):
    path = tmp_path / "reference.csv"
    path.write_bytes(SHEETS[sheet])
    assert read_reference(EXPERIMENTS, MEASURES, path) == {("nontvae_mnist", "e_eq"): -1.5}


@pytest.mark.parametrize(
    "line",
    [
        '"13,271.5"',
        "13’271.5",
        "13 271.5",
        "13\u202f271.5",
        "1.32715e4",
        ";13.271,5",
        ";13271,5",
        ";13 271,5",
    ],
)
def test_digits_of_a_reference_may_be_grouped(line, tmp_path):
    path, separator = tmp_path / "reference.csv", ";" if line[0] == ";" else ","
    path.write_text(separator.join(["nontvae_mnist", "e_eq", line.removeprefix(";")]))
    assert read_reference(EXPERIMENTS, MEASURES, path) == {("nontvae_mnist", "e_eq"): 13271.5}


@pytest.mark.parametrize("content", [b"PK\x03\x04\x14\0\x06\0", "a,b,1".encode("utf-16-le"), b"1" * 200_000])
def test_a_reference_that_is_no_text_is_named(content, tmp_path):
    path = tmp_path / "reference.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"/reference\.csv is no table in text: save it as CSV"):
        read_reference(EXPERIMENTS, MEASURES, path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nontvae_mist,e_eq,1", "experiment 'nontvae_mist' is not one of .*did you mean 'nontvae_mnist'"),
        ("nontvae_mnist,e_ep,1", "measure 'e_ep' is not one of .*did you mean 'e_eq'"),
        ("nontvae_mnist,e_eq,13.274.0", "value '13.274.0' is not a number"),
        ("nontvae_mnist,e_eq,nan", "value 'nan' is not a number"),
        ("nontvae_mnist,e_eq,1_3", "value '1_3' is not a number"),
        ("nontvae_mnist,e_eq,1e999", "value '1e999' is not a number"),
        ('nontvae_mnist,e_eq,"1,2,3"', "value '1,2,3' is not a number"),
        ("nontvae_mnist,e_eq", "does not have the fields experiment,measure,value"),
        ("nontvae_mnist,e_eq,2,3", "does not have the fields experiment,measure,value"),
        (
            "nontvae_mnist,e_eq,2\nnontvae_mnist,e_eq,3",
            "line 3: nontvae_mnist, e_eq has another value already, 2.0",
        ),
    ],
)
def test_a_reference_that_cannot_be_names_its_line(line, words, tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(f"# a comment\n{line}\n")
    with pytest.raises(
        ValueError, match=rf"/reference\.csv, line [23]: .*{words}" if "line 3" not in words else words
    ):
        read_reference(EXPERIMENTS, MEASURES, path)


def test_numbers_have_a_real_minus_sign_and_none_before_zero():
    assert [number(v, 1) for v in (-1234.56, 0.04, -0.04, 1e6)] == ["−1,234.6", "0.0", "0.0", "1,000,000.0"]


def test_every_kind_of_status_has_a_mark():
    assert set(room.MARKS) == {"made", "stale", "failed", "missing"}
