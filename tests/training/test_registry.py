"""A run is opened by whatever names it: what is fetched is what was meant, and nothing else is kept."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import jaxtyping
import pytest
import torch

from tvae_core.cli import main
from tvae_core.store import DamagedFile
from tvae_core.training import registry
from tvae_core.training.pack import PackedRun
from tvae_core.training.registry import REGISTRY, open_run, packed_runs, read_registry, register

ASKED = []  # paths


class Quiet(SimpleHTTPRequestHandler):
    """Serve a folder; what ends in `short` is announced longer than it is."""

    def do_GET(self):
        ASKED.append(self.path)
        if self.path.endswith("short.tvae"):
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web(packed, tmp_path_factory):
    """The address of a loopback server with a pack and its registry, and their folder."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "own model.tvae").write_bytes(packed[0].read_bytes())
    (folder / "model.tvae").write_bytes(packed[0].read_bytes())
    register(folder / "model.tvae")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where fetched packs are kept; the repository's own packs are none."""
    monkeypatch.setattr(registry, "DOWNLOADED_PACKS", tmp_path / "kept")
    monkeypatch.setattr(registry, "PACKS", tmp_path / "none")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ASKED.clear()
    return tmp_path / "kept"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(run, other):
    ours, theirs = run.model.state_dict(), other.model.state_dict()
    return run.identity == other.identity and all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_a_folder_is_opened_as_the_run_in_it(small_run):
    found = open_run(small_run.folder)
    assert not isinstance(found, PackedRun) and found.results == small_run.results and same(found, small_run)


def test_every_name_of_a_pack_opens_the_same_run(web, packed, monkeypatch):
    address, folder = web
    truth = open_run(packed[0])
    monkeypatch.setattr(registry, "PACKS", folder)
    names = [f"{address}/model.tvae", f"{address}/own%20model.tvae", f"{address}/{REGISTRY}#model"]
    names += [f"{folder / REGISTRY}#model", "model", f"{address}/model.tvae#sha256={digest(packed[0])}"]
    for name in names:
        assert same(open_run(name), truth), name
    (listed,) = packed_runs()
    assert same(listed, truth)


def test_a_pack_of_known_digest_is_fetched_once_and_kept_under_a_plain_name(web, packed, kept):
    source = f"{web[0]}/own%20model.tvae?a=/../b#sha256={digest(packed[0])}"
    for _ in range(2):
        open_run(source)
    assert len(ASKED) == 1
    assert [path.name for path in kept.iterdir()] == [f"own_model-{digest(packed[0])[:12]}.tvae"]
    next(kept.iterdir()).write_bytes(b"spoilt")
    assert open_run(source).complete and len(ASKED) == 2


WEB_REFUSALS = {
    "/model.tvae#sha256=" + "0" * 64: "but 000000000000… is expected",
    "/short.tvae": "IncompleteRead|ended after 4 of 5,000 bytes",
    "/missing.tvae": "cannot be fetched: HTTP Error 404",
    "/other.tvae": "other.tvae is not a sound pack: it is damaged",
    "/wrong.json#model": "is no registry of packs",
}


@pytest.mark.parametrize("place", WEB_REFUSALS)
def test_what_the_web_gives_wrongly_is_refused_and_not_kept(place, web, kept):
    (web[1] / "other.tvae").write_bytes(b"<html>")
    (web[1] / "wrong.json").write_text("[]")
    with pytest.raises(OSError, match=WEB_REFUSALS[place]):
        open_run(web[0] + place)
    assert not kept.exists() or not list(kept.iterdir())


def test_a_download_has_a_largest_size(web, kept, monkeypatch):
    monkeypatch.setattr(registry, "MOST_BYTES", 1000)
    with pytest.raises(OSError, match="has more than 1,000 bytes"):
        open_run(f"{web[0]}/model.tvae")
    assert not kept.exists()


def test_a_host_that_is_not_there_is_named():
    with pytest.raises(OSError, match=r"http://127.0.0.1:9/model.tvae cannot be fetched"):
        open_run("http://127.0.0.1:9/model.tvae")


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://127.0.0.1/a.tvae"])
def test_other_addresses_are_not_opened(source):
    with pytest.raises(ValueError, match="begins with neither"):
        open_run(source)


def test_what_follows_a_url_must_be_a_digest(web):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        open_run(f"{web[0]}/model.tvae#md5=0")


@pytest.mark.parametrize(
    "source", ["../model.tvae", "/etc/passwd", "a/b.tvae", "file:///a.tvae", ".hidden", ""]
)
def test_a_registry_names_nothing_outside_its_folder(source, tmp_path):
    entry = {"source": source, "sha256": "0" * 64, "bytes": 1}
    (tmp_path / REGISTRY).write_text(json.dumps({"packs": {"model": entry}}))
    with pytest.raises(DamagedFile, match="neither a URL nor a file beside it"):
        read_registry(tmp_path / REGISTRY)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "d41d8cd98f00b204e9800998ecf8427e"])
def test_a_registry_without_a_sha256_is_refused(digest, tmp_path):
    entry = {"source": "model.tvae", "sha256": digest, "bytes": 1}
    (tmp_path / REGISTRY).write_text(json.dumps({"packs": {"model": entry}}))
    with pytest.raises(DamagedFile, match="is not SHA-256"):
        read_registry(tmp_path / REGISTRY)


def test_a_pack_that_is_not_the_one_registered_is_refused(packed, tmp_path, monkeypatch, caplog):
    path = tmp_path / "model.tvae"
    path.write_bytes(packed[0].read_bytes())
    entry = register(path)
    assert (entry.bytes, entry.sha256) == (path.stat().st_size, digest(path))
    assert entry.measures["cost"] == packed[1]["cost"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="is expected"):
        open_run(f"{tmp_path / REGISTRY}#model")
    monkeypatch.setattr(registry, "PACKS", tmp_path)
    monkeypatch.setattr(registry.log, "propagate", True)
    assert packed_runs() == [] and "pack model is left out" in caplog.text  # the others can still be listed


def test_the_command_reads_what_from_names(web, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert main(["--from", f"{web[0]}/model.tvae"]) == 0
    said = capsys.readouterr().out
    assert "tvae_Lshort_mnist n_caps=2" in said and "roll, held out" in said and "int8" in said
    out = tmp_path / "roll.html"
    assert main(["export", "--from", f"{web[1] / REGISTRY}#model", "--out", str(out)]) == 0 and out.is_file()
    refusals = {
        ("--from", f"{web[1] / REGISTRY}#modle"): (2, "did you mean 'model'"),
        ("--from", "nowhere"): (1, "there is no run and no pack nowhere"),
        ("--from", f"{web[0]}/model.tvae", "--seed", "1"): (2, "--from names a whole run"),
    }
    for words, (code, sentence) in refusals.items():
        assert main([*words]) == code and sentence in capsys.readouterr().err
