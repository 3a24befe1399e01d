"""The examples in docstrings do what they show; the names that others import have one each."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
import torch

import tvae_core

ROOT = Path(tvae_core.__file__).parent
FACE = {"tvae_core", "tvae_core.experiments", "tvae_core.model.tvae.TVAE", "tvae_core.model.torus.roll"}
FACE |= {"tvae_core.model.grouper.Grouper", "tvae_core.data.warps.affine_frames"}
FACE |= {"tvae_core.data.dsprites.render", "tvae_core.config.Experiment.build_sequences"}
FACE |= {"tvae_core.training.trainer.fit", "tvae_core.measures.evaluation.evaluate"}
FACE |= {f"tvae_core.measures.metrics.{name}" for name in ("equivariance_error", "capsule_correlation")}
FACE |= {"tvae_core.training.trainer.fit"}


def examples():
    """The docstrings with an example, by the name of what they explain."""
    found = {}

    def visit(node, name):
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                visit(child, f"{name}.{child.name}")
        if ">>>" in (text := ast.get_docstring(node) or ""):
            found[name] = text

    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        visit(ast.parse(path.read_text(encoding="utf-8")), ".".join(parts).removesuffix(".__init__"))
    return found


EXAMPLES = examples()


def failures(name, text):
    """How many examples fail and how many there are; run among the names of their module, and torch."""
    module = name
    while not (ROOT.parent / f"{module.replace('.', '/')}.py").is_file() and "." in module:
        module = module.rpartition(".")[0]
    names = {"torch": torch, **vars(importlib.import_module(module))}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    return doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(test)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_do_what_they_show(name):
    failed, attempted = failures(name, EXAMPLES[name])
    assert attempted > 0 and failed == 0


def test_a_wrong_example_is_seen(capsys):
    assert (
        failures("tvae_core.model.torus.roll", ">>> roll(torch.arange(2), 1).tolist()\n[0, 1]\n").failed == 1
    )


def test_every_name_that_others_import_has_an_example():
    assert FACE <= set(EXAMPLES)
