"""Values that people try: each wrong one is answered by a sentence that names it and what is allowed."""

from pathlib import Path

import jaxtyping
import pytest

from tvae_core.config import Experiment
from tvae_core.experiments import EXPERIMENTS, read_experiment
from tvae_core.validation import one_line, parse_numbers, parse_setting

FLOATS = [name for name, value in vars(EXPERIMENTS["nontvae_mnist"]).items() if type(value) is float]


@pytest.fixture(autouse=True)
def users_types(monkeypatch):
    """As outside of the tests, where a wrong type meets our own check first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "inf", "nan", float("inf"), float("nan"), 10**400, True]
)
@pytest.mark.parametrize("option", FLOATS)
def test_floats_are_finite(option, value):
    value = parse_setting(f"{option}={value}")[1] if isinstance(value, str) else value
    with pytest.raises(ValueError, match=f"{option} is .*, but must be (a finite number|of type float)"):
        EXPERIMENTS["tvae_Lshort_mnist"].with_options(**{option: value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr=0", "lr is 0.0, but must be above 0"),
        ("eps=-1e-9", "eps is -1e-09, but must be at least 1e-30"),
        ("kl_floor=0", "kl_floor is 0.0, but must be above 0"),
        ("kl_floor=1.5", "kl_floor is 1.5, but must be at most 1"),
        ("lr_decay=-0.5", "lr_decay is -0.5, but must be at least 0"),
        ("batch_size=0", "batch_size is 0, but must be at least 1"),
        ("batch_size=2.5", "batch_size is 2.5, but must be of type int"),
        ("max_steps=none", "max_steps is 'none', but must be of type int or None"),
        ("seed=4294967296", "seed is 4294967296, but must be at most 4294967295"),
        ("trainable_w=1", "trainable_w is 1, but must be of type bool, True or False"),
        ("optimizer=adam", "optimizer 'adam' is not one of sgd, adamw; did you mean 'adamw'"),
        ("test_data=mnist_dul", "test_data 'mnist_dul' is not one of .*; did you mean 'mnist_dual'"),
        ("group_kernel=[5,-5]", r"group_kernel is \(5, -5\), but must hold positive whole numbers"),
        ("group_kernel=" + "(" * 3000, "group_kernel is .*, but must be of type tuple"),
    ],
)
def test_a_wrong_value_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        read_experiment(f"tvae_Lshort_mnist {text}", "smoke")


def test_an_error_is_told_in_one_line_that_begins_with_the_file():
    with pytest.raises(OSError) as missing:
        Path("none/at\nall").read_text()
    assert one_line(missing.value) == "none/at all: No such file or directory"
    assert one_line(ValueError("x" * 300 + " is\n no name")) == "x" * 100 + "… is no name"


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "a\\b", "", ".", "..", "a b", "a\n", "/tmp/x", "a:b", "-a"]
)
def test_a_name_is_no_path(name):
    with pytest.raises(
        ValueError,
        match=r"name is .*, but must be at most 100 letters.*and begin with a letter, a digit or _",
    ):
        Experiment(name=name)


@pytest.mark.parametrize(
    ("text", "n", "words"),
    [
        ("0-9999999", 18, r"capsules '0-9999999' names 9999999, but there are 18, from 0 to 17"),
        ("18", 18, "but there are 18"),
        ("0-9999999", None, "names more than 10,000"),
        ("0-5000,10000-15001", None, "names more than 10,000"),
        *(
            (text, 18, "is not a list of whole numbers")
            for text in ("", "3-", "-3", "5-3", "a", "1.5", "9" * 5000)
        ),
    ],
)
def test_lists_of_numbers_are_bounded(text, n, words):
    with pytest.raises(ValueError, match=words):
        parse_numbers(text, "capsules", n)
    assert parse_numbers("17, 0–2 ,1", "capsules", 18) == [17, 0, 1, 2]
