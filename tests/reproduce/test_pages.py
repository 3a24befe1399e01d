"""The pages about the library: every public name, and no warning is passed over."""

import pytest

import tvae_core
from tvae_core.reproduce.pages import write_pages


def test_every_public_name_has_its_place(tmp_path):
    page = write_pages(tmp_path).read_text()
    assert [name for name in tvae_core.__all__ if f'id="{name}"' not in page] == []
    assert "E_eq = ½" in page  # docstrings, equations included
    assert ">n_off_diag</a></code>: K = 2·n_off_diag + 1" in page  # options, with their comments


def test_a_name_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tvae_core, "__all__", [*tvae_core.__all__, "missing"])
    with pytest.raises(AttributeError, match="missing"):
        write_pages(tmp_path)
