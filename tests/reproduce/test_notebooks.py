"""The notebooks as they are stored: calls alone, seconds to run, nothing that differs between two runs."""

import ast
import copy
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import nbformat
import nbformat.v4 as nb
import numpy as np
import pytest
from jupyter_server.services.contents.filemanager import FileContentsManager
from PIL import Image

from tvae_core.experiments import EXPERIMENTS, read_experiment
from tvae_core.reproduce.notebooks import Notebook, notebooks, reproducible
from tvae_core.reproduce.pictures import LARGEST, PICTURES, first_picture, keep, show
from tvae_core.reproduce.refresh import main as refresh
from tvae_core.reproduce.refresh import say_noise, strip

NOTEBOOKS = notebooks()
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list[str]": list, "list[int]": list}
ELSEWHERE = re.compile(r"""(?:^|[\s'"(=\[])(?:/|~/|[A-Z]:\\)\w""", re.MULTILINE)  # an absolute path
EXPERIMENT = re.compile(r"(?:tvae|bubbles|nontvae)_")


def source(cell) -> str:
    return "".join(cell["source"])


def code_cells(notebook) -> list:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def in_code(notebook, kind) -> list:
    return [
        n for cell in code_cells(notebook) for n in ast.walk(ast.parse(source(cell))) if isinstance(n, kind)
    ]


def tagged(notebook, tag) -> list:
    return [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", [])]


def no_code_lives_here(notebook):
    assert not in_code(notebook, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)


def parameters_are_typed_and_explained(notebook):
    """One cell of typed literals; all but `experiments` carry the reason or the choice as a comment."""
    (cell,) = tagged(notebook, "parameters")
    tokens = tokenize.generate_tokens(io.StringIO(source(cell)).readline)
    comments = [token.start[0] for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.parse(source(cell)).body:
        assert isinstance(node, ast.AnnAssign), ast.unparse(node)
        value, name = ast.literal_eval(node.value), node.target.id
        kind = ast.unparse(node.annotation)
        assert isinstance(value, TYPES[kind]), name
        if isinstance(value, list):
            assert all(isinstance(item, TYPES[kind[5:-1]]) for item in value), name
        assert name == "experiments" or any(node.lineno <= line <= node.end_lineno for line in comments), name


def saves(notebook) -> list[ast.Call]:
    """The calls of style.save; the explorer's save is a button without keywords."""
    calls = [call for call in in_code(notebook, ast.Call) if ast.unparse(call.func) == "save"]
    return [call for call in calls if call.keywords]


def stored_scale_is_smoke(notebook):
    """So that storing and checking it takes seconds; what makes nothing is for whoever opens it: quick."""
    (cell,) = tagged(notebook, "parameters")
    scale = "smoke" if "figures: str" in source(cell) else "quick"
    assert f'scale: str = "{scale}"' in source(cell)
    own = [one for one in notebook["cells"] if "picture" not in one["metadata"].get("tags", [])]
    assert own.index(cell) < 3  # title, imports


def outputs_are_the_same_everywhere(notebook):
    assert "widgets" not in notebook["metadata"]
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr"
            assert set(output.get("data", {})) <= {"text/plain", "text/markdown"}
            assert not output.get("metadata")
            text = ["".join(part) for part in [output.get("text", ""), *output.get("data", {}).values()]]
            assert not any(map(ELSEWHERE.search, text)), text
        assert not (cell["outputs"] and "nbval-ignore-output" in cell["metadata"].get("tags", []))


def numbers_are_stored_to_compare_with(notebook):
    """What nbval runs is only compared where something was stored; every print counts."""
    count = len(code_cells(notebook))
    for cell in code_cells(notebook):
        ignored = "nbval-ignore-output" in cell["metadata"].get("tags", [])
        if "print(" in source(cell) and not ignored:
            text = "".join("".join(output.get("text", "")) for output in cell["outputs"])
            assert re.search(r"\d", text), source(cell)
    assert any("print(" in source(cell) for cell in code_cells(notebook))
    assert [cell["execution_count"] for cell in code_cells(notebook)] == list(range(1, count + 1))


def title_names_an_item(notebook):
    """`# ITEM: what it shows`: run_all.sh and the report go by it."""
    first, *_ = source(notebook["cells"][0]).splitlines()
    assert re.fullmatch(r"# [A-Z][^:]*: \S.*", first), first


def pictures_are_there_and_small(notebook):
    text = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert name.startswith("pictures/") and (PICTURES.parent / name).stat().st_size <= LARGEST


def smoke_is_said_to_be_noise(notebook):
    """In one wording, where a notebook trains in seconds as stored."""
    first = source(notebook["cells"][0])
    said = nb.new_notebook(cells=[nb.new_markdown_cell(first)])
    say_noise(said)
    assert said.cells[0].source == first


def experiments_exist(notebook):
    words = [node.value for node in in_code(notebook, ast.Constant) if isinstance(node.value, str)]
    named = {word for word in words if EXPERIMENT.match(word)}
    assert named or any("own_experiment(" in source(cell) for cell in code_cells(notebook))
    for word in named:  # the sixteen, or variants of them
        read_experiment(word, "smoke")


def words_of(text: ast.expr) -> list[str]:
    """What a string says in any case, whatever stands in the braces of an f-string."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "{}".join(p.value for p in parts if isinstance(p, ast.Constant)).split()


def figures_are_told_in_words(notebook):
    """Every `save` has its alternative text, its caption, and a name that is read off the code."""
    for call in saves(notebook):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert len(words_of(given["alt"])) >= 10 and "caption" in given
        assert isinstance(call.args[2], ast.Constant | ast.JoinedStr), ast.unparse(call)


PAPER = [
    *(f"Figure {n}" for n in (1, 2, 3, 4, 6)),
    *("Figures 7–21", "Figure 22", "Figure 23", "Table 1", "Table 2", "Table 5"),
    *("Appendix C", "Samples from the prior"),
]


def test_every_item_of_the_paper_has_a_notebook_in_its_order():
    items = [notebook.item for notebook in NOTEBOOKS.values()]
    assert [item for item in items if item in PAPER] == PAPER
    assert len(set(items)) == len(items)


OPENING = ["fig2", "fig4", "table1", "study"]  # for whoever has not read the paper, in this order
WITHOUT_ITEM = {"explore", "index", "from_scratch"}


def test_three_notebooks_make_nothing():
    assert set(NOTEBOOKS) - set(reproducible()[0]) == WITHOUT_ITEM and not any(reproducible()[1:])


def text_of(name) -> str:
    return "\n".join(cell["source"] for cell in NOTEBOOKS[name].cells if cell["cell_type"] == "markdown")


def test_the_contents_lead_to_every_notebook_the_four_to_begin_with_first():
    text = text_of("index")
    linked = re.findall(r"\[(\w+)\]\((\w+)\.ipynb\)", text)
    assert [name for name, _ in linked][:4] == OPENING and all(name == file for name, file in linked)
    assert sorted(name for name, _ in linked) == sorted(set(NOTEBOOKS) - {"index"})
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    for name in set(NOTEBOOKS) - {*OPENING, *WITHOUT_ITEM, "your_own_data"}:
        one = NOTEBOOKS[name]
        assert f"| [{name}]({name}.ipynb) | {one.item} | {one.shows} |" in rows


@pytest.mark.parametrize("name", [*OPENING, "from_scratch"])
def test_an_opening_notebook_ends_with_an_exercise(name):
    last = NOTEBOOKS[name].cells[-1]
    assert "**Exercise.**" in last["source"] and "*What to expect:*" in last["source"]
    assert name == "from_scratch" or "exercise" in last["tags"]  # the report leaves it out


def test_from_scratch_needs_the_library_only_to_compare_with():
    *own, compared = [
        cell["source"] for cell in NOTEBOOKS["from_scratch"].cells if cell["cell_type"] == "code"
    ]
    assert not any("tvae_core" in code for code in own) and "tvae_core" in compared
    assert sum(bool(line.strip()) for code in own for line in code.splitlines()) <= 100
    printed = json.loads(NOTEBOOKS["from_scratch"].path.read_text())["cells"][-2]["outputs"][0]["text"]
    assert len(printed) == 7 and all(line.strip().endswith("all equal: True") for line in printed)


@pytest.mark.parametrize("name", sorted(set(NOTEBOOKS) - WITHOUT_ITEM))
def test_a_notebook_shows_the_picture_that_is_kept_of_it(name):
    picture = first_picture(NOTEBOOKS[name])
    shown = [cell["source"] for cell in NOTEBOOKS[name].cells[1:2] if "picture" in cell["tags"]]
    assert [f"](pictures/{picture.name})" in text for text in shown] == [True] * bool(picture)


def test_a_picture_is_shrunk_until_it_is_small(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(256, size=(600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "fig4.png")
    (tmp_path / "fig4.json").write_text('{"alt": "Noise", "caption": "Scale long. Data: none"}')
    picture = keep(tmp_path / "fig4.png", tmp_path / "pictures")
    with Image.open(picture) as small:
        assert picture.stat().st_size <= LARGEST and 100 < small.width < 600
    one = stored(tmp_path, "steps = 3")
    before = one.digest
    for _ in range(2):  # the second takes the place of the first
        show(one, picture)
    cells = Notebook(one.path).cells
    assert [cell["tags"] for cell in cells] == [[], ["picture"], ["parameters"]]
    assert cells[1]["source"] == "![Noise](pictures/fig4.webp)\n\n*Scale long. Data: none*"
    assert Notebook(one.path).digest == before


LAWS = [
    no_code_lives_here,
    parameters_are_typed_and_explained,
    stored_scale_is_smoke,
    outputs_are_the_same_everywhere,
    numbers_are_stored_to_compare_with,
    experiments_exist,
    figures_are_told_in_words,
    pictures_are_there_and_small,
    smoke_is_said_to_be_noise,
    title_names_an_item,
]
# from_scratch defines the method itself, and has no scale; index is text alone.
EXCEPT = {"from_scratch": {no_code_lives_here, stored_scale_is_smoke}}
EXCEPT["index"] = {parameters_are_typed_and_explained, stored_scale_is_smoke, experiments_exist}
EXCEPT["index"] |= {numbers_are_stored_to_compare_with}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook(name, law):
    if law in EXCEPT.get(name, ()):
        with pytest.raises((AssertionError, ValueError)):  # an exception that is needed
            law(json.loads(NOTEBOOKS[name].path.read_text()))
        return
    law(json.loads(NOTEBOOKS[name].path.read_text()))


def change(what, old, new):
    """Replace a text in the code, or in what was printed."""

    def planted(notebook):
        for cell in code_cells(notebook):
            if what == "code":
                cell["source"] = source(cell).replace(old, new)
            for output in cell["outputs"] if what == "output" else []:
                output["text"] = "".join(output.get("text", "")).replace(old, new)

    return planted


def link_to(name):
    return lambda notebook: notebook["cells"][0].update(source=f"# A title\n![A picture]({name})")


def output(**content):
    return lambda notebook: code_cells(notebook)[-1]["outputs"].append(content)


def trained_in_seconds(notebook):
    first = notebook["cells"][0]
    first["source"] = source(first).replace("seconds at every scale", "smoke 5 s, quick 3 min")


PLANTED = [
    (smoke_is_said_to_be_noise, trained_in_seconds),
    (no_code_lives_here, change("code", "drawn =", "def f():\n    pass\ndrawn =")),
    (no_code_lives_here, change("code", "drawn =", "class F: pass\ndrawn =")),
    (parameters_are_typed_and_explained, change("code", "device: str =", "device =")),
    (parameters_are_typed_and_explained, change("code", 'device: str = "auto"', "device: str = 1")),
    (parameters_are_typed_and_explained, change("code", 'device: str = "auto"', "device: str = scale")),
    (parameters_are_typed_and_explained, change("code", "  # not used, as nothing is trained", "")),
    (parameters_are_typed_and_explained, change("code", '"bubbles_mnist",', "3,")),
    (stored_scale_is_smoke, change("code", '"smoke"', '"quick"')),
    (stored_scale_is_smoke, change("code", "figures: str", "pictures: str")),
    (outputs_are_the_same_everywhere, output(output_type="stream", name="stderr", text="100%")),
    (outputs_are_the_same_everywhere, output(output_type="display_data", data={"image/png": "iVBOR"})),
    (outputs_are_the_same_everywhere, output(output_type="error", ename="E", evalue="", traceback=[])),
    (outputs_are_the_same_everywhere, change("output", "15 terms", "/home/me/runs")),
    (outputs_are_the_same_everywhere, lambda notebook: notebook["metadata"].update(widgets={})),
    (numbers_are_stored_to_compare_with, lambda notebook: code_cells(notebook)[-1].update(outputs=[])),
    (
        numbers_are_stored_to_compare_with,
        lambda notebook: code_cells(notebook)[2].update(execution_count=None),
    ),
    (experiments_exist, change("code", "tvae_Lhalf_mnist", "tvae_Lfull_mnist")),
    (figures_are_told_in_words, change("code", "alt=", "alt='Four grids', said=")),
    (figures_are_told_in_words, change("code", "caption=", "about=")),
    (figures_are_told_in_words, change("code", "alt=", "alt=f'Four {drawn}', said=")),
    (figures_are_told_in_words, change("code", '"fig2",', "name,")),
    (experiments_exist, change("code", '"bubbles_mnist"', '"bubbles_mnist n_of_diag=2"')),
    (pictures_are_there_and_small, link_to("pictures/fig0.webp")),
    (pictures_are_there_and_small, link_to("../README.md")),
    (pictures_are_there_and_small, link_to("pictures/roll.gif")),  # larger
]


@pytest.mark.parametrize("law, plant", PLANTED)
def test_every_law_can_be_broken(law, plant):
    notebook = json.loads(NOTEBOOKS["fig2"].path.read_text())
    law(notebook)
    plant(notebook)
    with pytest.raises((AssertionError, ValueError, OSError)):
        law(notebook)


def test_one_figure_for_each_model_of_figures_7_to_21():
    notebook = NOTEBOOKS["fig7_21"]
    models = [exp.name for exp in EXPERIMENTS.values() if re.search("Table [12]", exp.shows)]
    assert sorted(notebook.experiments({})) == sorted(models)
    assert 'f"fig7_21_{' in notebook.code


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_stored_is_stripped(name):
    stored = nbformat.read(NOTEBOOKS[name].path, nbformat.NO_CONVERT)
    nbformat.validate(stored)
    assert strip(copy.deepcopy(stored)) == stored


def test_strip_keeps_text_and_nothing_else():
    picture = {"text/plain": "<Figure>", "image/png": "iVBOR", "text/markdown": "**1**", "text/html": "<b>"}
    widget = {"text/plain": "  0%| | 0/20", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    outputs = [
        nb.new_output("stream", name="stdout", text="12 terms\n"),
        nb.new_output("stream", name="stderr", text="a warning"),
        nb.new_output("display_data", picture, metadata={"image/png": {"width": 3}}),
        nb.new_output("display_data", widget),
        nb.new_output("display_data", {"image/png": "iVBOR"}),
        nb.new_output("execute_result", {"text/plain": "3"}, execution_count=7),
    ]
    times = {"execution": {"iopub.execute_input": "2021"}, "collapsed": True}
    seen = nb.new_code_cell("f()", outputs=outputs, execution_count=7, metadata=times)
    tags = {"tags": ["nbval-ignore-output"], **times}
    unseen = nb.new_code_cell("g()", outputs=copy.deepcopy(outputs), metadata=tags)
    words = nb.new_markdown_cell("# Title", metadata=times)
    kernel = {
        "widgets": {"state": {}},
        "kernelspec": {"name": "mine", "display_name": "Mine"},
        "papermill": {"duration": 3},
    }
    stripped = strip(nb.new_notebook(cells=[words, seen, unseen], metadata=kernel))
    assert set(stripped.metadata) == {"kernelspec", "language_info"}
    assert stripped.metadata.kernelspec.name == "python3"
    assert [cell.metadata for cell in stripped.cells] == [{}, {}, {"tags": ["nbval-ignore-output"]}]
    assert [cell.execution_count for cell in stripped.cells[1:]] == [1, 2]
    kept = {"text/plain": "<Figure>", "text/markdown": "**1**"}
    text, shown, result = stripped.cells[1].outputs
    assert (text.text, shown.data, result.data) == ("12 terms\n", kept, {"text/plain": "3"})
    assert (result.execution_count, shown.metadata, stripped.cells[2].outputs) == (1, {}, [])
    assert [cell.source for cell in stripped.cells] == ["# Title", "f()", "g()"]
    nbformat.validate(stripped)


def stored(folder, code) -> Notebook:
    cells = [nb.new_markdown_cell("Words\n# A title\n# No title")]
    cells += [nb.new_code_cell(code, metadata={"tags": ["parameters"]})] if code else []
    nbformat.write(nb.new_notebook(cells=cells), folder / "one.ipynb")
    return notebooks(folder)["one"]


def test_a_notebook_says_what_it_needs(tmp_path):
    one = stored(tmp_path, 'experiments: list[str] = ["a"]\nsteps = 3')
    assert (one.name, one.title) == ("one", "A title")
    assert one.parameters == {"experiments": ["a"], "steps": 3}
    assert one.experiments({}) == ["a"] and one.experiments({"experiments": ["b"]}) == ["b"]
    bare = stored(tmp_path, "")
    assert bare.parameters == {} and bare.experiments({}) == []
    assert Path(one.attempt("quick")) != one.executed("quick")


NO_CELLS = {  # what other programs write in place of a cell
    "null": "null",
    "source": '{"source": null}',
    "numbers": '{"source": [1]}',
    "metadata": '{"metadata": null}',
    "surrogate": '{"cell_type": "code", "source": "a = "\\ud800"", "metadata": {"tags": ["parameters"]}}',
}


def test_an_item_is_a_notebook_with_a_folder_for_figures(tmp_path):
    def write(name, code, title="# Figure 4: rolls", more='save(figure, folder, "fig4")'):
        cells = [nb.new_markdown_cell(title), nb.new_code_cell(code, metadata={"tags": ["parameters"]})]
        nbformat.write(nb.new_notebook(cells=[*cells, nb.new_code_cell(more)]), tmp_path / f"{name}.ipynb")

    figures = '%matplotlib inline\nfigures: str = ""'
    write("fig4", figures)
    for copy_of in ("fig4-Copy1", "Copy of fig4", "a"):
        write(copy_of, figures)
    write("scratch", "steps = 3")
    write("half_done", "figures = f()")
    write("syntax", "figures = (")
    write("._fig4", figures)  # as macOS leaves it beside a file
    (tmp_path / "tags.ipynb").write_text('{"cells": [{"source": ["a"], "metadata": {"tags": null}}]}')
    (tmp_path / "Untitled.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    (tmp_path / "old.ipynb").write_text('{"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3}')
    for name, cell in NO_CELLS.items():
        (tmp_path / f"{name}.ipynb").write_text(f'{{"cells": [{cell}]}}')
    (tmp_path / "deep.ipynb").write_text("[" * 100_000)
    (tmp_path / "link.ipynb").symlink_to("nowhere.ipynb")
    (tmp_path / "loop.ipynb").symlink_to("loop.ipynb")
    (tmp_path / "empty.ipynb").write_text("")
    (tmp_path / "list.ipynb").write_text("[]")
    (tmp_path / "latin.ipynb").write_bytes(b'{"cells": "\xe4"}')
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "merge.ipynb").write_text("{\n<<<<<<< HEAD\n" + (tmp_path / "fig4.ipynb").read_text()[2:])
    found, broken, copies = reproducible(tmp_path)
    assert list(found) == ["fig4"] and found["fig4"].parameters == {"figures": ""}
    assert set(copies) == {"fig4-Copy1", "Copy of fig4", "a"}
    assert all("no file that is named after it" in reason for reason in copies.values())
    wrong = {"half_done", "syntax", "empty", "list", "latin", "folder", "merge", "deep", "link", "loop"}
    assert set(broken) == wrong | set(NO_CELLS)
    assert all(reason.startswith(f"{name}.ipynb") for name, reason in broken.items())


def test_opening_and_saving_a_notebook_makes_nothing_stale(tmp_path):
    one = stored(tmp_path, "steps = 3")
    opened = nbformat.read(one.path, 4)
    opened.cells[0].metadata |= {"editable": True, "slideshow": {"slide_type": ""}, "tags": ["mine"]}
    opened.cells[1].update(id="other", execution_count=7, outputs=[nb.new_output("stream", text="3")])
    opened.cells[1].metadata |= {"execution": {"iopub.execute_input": "2026"}, "collapsed": True}
    opened.cells[1].metadata["tags"].append("hide-input")
    opened.metadata |= {"kernelspec": {"name": "mine", "display_name": "Mine"}, "widgets": {}}
    nbformat.write(opened, one.path)
    assert Notebook(one.path).digest == one.digest
    opened.cells[1].metadata["tags"].remove("parameters")
    nbformat.write(opened, one.path)
    assert Notebook(one.path).digest != one.digest
    assert stored(tmp_path, "steps = 4").digest != one.digest


@pytest.mark.parametrize("name", ["fig4", "table1"])
def test_jupyter_saves_what_it_opened(name, tmp_path):
    """Through the manager of files by which JupyterLab opens and saves."""
    shutil.copy(NOTEBOOKS[name].path, tmp_path)
    manager = FileContentsManager(root_dir=str(tmp_path))
    manager.save(manager.get(f"{name}.ipynb"), f"{name}.ipynb")
    assert Notebook(tmp_path / f"{name}.ipynb").digest == NOTEBOOKS[name].digest


@pytest.mark.parametrize(
    "code", ["steps = f()", "steps: int = a", "import os", "a.b = 1", "print(1)", "n: int"]
)
def test_what_is_no_parameter_is_refused(code, tmp_path):
    with pytest.raises(ValueError, match=r"one\.ipynb: .*is no parameter"):
        _ = stored(tmp_path, code).parameters


def planted_notebook(path: Path) -> None:
    """A number that is compared, a time that is not, and a picture."""
    picture = (
        "from IPython.display import Image\nImage(b'\\x89PNG' + str(time.time()).encode(), format='png')"
    )
    cells = [
        nb.new_code_cell("import time\nprint(6 * 7, 'terms')"),
        nb.new_code_cell("print(time.time())", metadata={"tags": ["nbval-ignore-output"]}),
        nb.new_code_cell(picture),
    ]
    nbformat.write(nb.new_notebook(cells=cells), path)


def test_nbval_compares_numbers_and_neither_pictures_nor_times(tmp_path, monkeypatch):
    one = {"one": Notebook(tmp_path / "one.ipynb")}
    monkeypatch.setattr("tvae_core.reproduce.refresh.notebooks", lambda: one)
    planted_notebook(tmp_path / "one.ipynb")
    refresh(["one"])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "one.ipynb"]
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    same = subprocess.run(command, **run)
    assert same.returncode == 0 and "3 passed" in same.stdout, same.stdout
    stored = (tmp_path / "one.ipynb").read_text()
    (tmp_path / "one.ipynb").write_text(stored.replace("42 terms", "43 terms"))
    changed = subprocess.run(command, **run)
    assert changed.returncode == 1 and "1 failed, 2 passed" in changed.stdout, changed.stdout
    assert "43 terms" in changed.stdout
