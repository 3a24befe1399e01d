"""What follows a training: the real packages, offline, read back; an interrupted run is whole again."""

import csv
import json
import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2 as protocol

from tvae_core import EXPERIMENTS
from tvae_core.training import trainer
from tvae_core.training.trainer import fit

ROWS = (2, 4, 6)  # steps


def wandb_rows(folder):
    """The rows in the file of an offline run, which is a log of LevelDB that holds protocol buffers."""
    (path,) = folder.glob("run-*.wandb")
    content, at, whole, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        whole, at = whole + content[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # the whole record, or its last part
            record, whole = protocol.Record.FromString(whole), b""
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
            if record.HasField("run"):
                about = record.run
    return about, rows


class Stop(Exception):
    """An interruption after some rows."""


@pytest.fixture
def train_interrupted(brief, tmp_path, monkeypatch):
    """Train with a tracker, stop at the second row, and train to the end; return the run."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "of my own")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path))  # where W&B would find an account

    def train(**options):
        changed = {"n_caps": 2, "max_steps": 6, "eval_sequences": 4, **options}
        exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(**changed)

        def stop(model, history, seconds):
            if len(history) == 2:
                raise Stop

        with pytest.raises(Stop):
            fit(exp, "cpu", tmp_path / "runs", progress=False, watch=stop)
        return fit(exp, "cpu", tmp_path / "runs", progress=False)

    return train


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_has_the_whole_run_offline_under_its_own_settings(train_interrupted):
    run = train_interrupted(wandb_on=True)
    first, last = sorted(
        (run.folder / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns
    )
    assert [row["step"] for row in wandb_rows(first)[1] if "nll" in row] == [2, 4]
    about, rows = wandb_rows(last)
    rows = [{k: v for k, v in row.items() if k[0] != "_"} for row in rows]
    assert [row for row in rows if "nll" in row] == run.history and len(run.history) == 3
    assert about.run_id == run.folder.name and about.run_group == run.label and about.project == "of my own"
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert config["group_kernel"] == [5, 5]
    pictures = sorted(path.name.partition("_")[0] for path in last.rglob("*.png"))
    assert pictures == sorted(run.data.test.varying)


def test_tensorboard_goes_on_where_the_run_was_stopped(train_interrupted):
    run = train_interrupted(tracker="tensorboard")
    events = EventAccumulator(str(run.folder / "tensorboard"), {"images": 0})
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("nll")] == [
        (row["step"], round(row["nll"], 3)) for row in run.history
    ]
    assert events.Tags()["images"] == [f"rolls/{name}" for name in run.data.test.varying]


def test_the_history_is_a_table_whatever_follows_it(train_interrupted):
    run = train_interrupted()
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(ROWS)
    assert [float(row["nll"]) for row in rows] == [row["nll"] for row in run.history]
    assert rows[-1]["validation_roll_margin/hue"] and not (run.folder / "wandb").exists()
    same = EXPERIMENTS["tvae_Lshort_mnist"]
    assert same.with_options(tracker="tensorboard").options(("tracker",)) == same.options(("tracker",))
