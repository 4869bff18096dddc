"""TensorBoard and Weights & Biases get the same scalars, each once, whatever was killed and resumed."""

from __future__ import annotations

import dataclasses
import struct
import sys
import types

import pytest

from rstar_jax import launch, scalars
from rstar_jax.errors import UserError
from rstar_jax.report import results, sections
from rstar_jax.report.round_scalars import round_scalars
from rstar_jax.scalars import RunScalars
from rstar_jax.train import MetricsWriter, read_metrics

FIRST = {0: {"policy_pass1": 0.25}, 1: {"coverage": 0.5, "coverage/level1": 0.75}}
SECOND = {**FIRST, 1: {**FIRST[1], "search_accuracy": 0.625}, 2: {"coverage": 0.875}}


def board(folder):
    """What TensorBoard reads of a folder: (name, step, value), those that a later file purges left out."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                found = [point for point in found if point[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


class Wandb(types.ModuleType):
    """A module that keeps what it is told. broken: which of its calls fail."""

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.rows, self.keys, self.broken = [], [], {}, ""
        self.api = types.SimpleNamespace(api_key=None)

    def Settings(self, **options):
        return options

    def init(self, **options):
        self.fails("init")
        self.begun.append(options)
        return self

    def define_metric(self, name, step_metric=None):
        self.keys[name] = step_metric

    def log(self, row):
        self.fails("log")
        self.rows.append(row)

    def finish(self):
        self.fails("finish")

    def fails(self, call):
        if self.broken == call:
            raise ConnectionError(f"no {call}\nand more")


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", module := Wandb())
    return module


def of(root, warn=None):
    return RunScalars(root, "project", {"seed": 0}, warn or (lambda text: pytest.fail(text)))


def trained(root, begin, end, fatal=None):
    """A training's steps, killed in the midst of one."""
    folder = root / "round1" / "policy"
    run = of(root)
    with MetricsWriter(folder, sinks=run.training(folder)) as metrics:
        metrics.start(begin)
        for step in range(begin, end):
            if step == fatal:
                raise KeyboardInterrupt
            metrics.write(step, {"loss": 1.0 / (1 + step)})
    run.close()
    return folder


def test_a_resumed_training_is_written_once_to_all(tmp_path, wandb):
    """Killed twice behind its last checkpoint: what is done again is there once, and all of it."""
    for begin, fatal in ((0, 5), (2, 4)):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, begin, 9, fatal)
    folder = trained(tmp_path, 2, 9)
    steps = [(step, pytest.approx(1.0 / (1 + step))) for step in range(9)]
    assert [(row["step"], row["loss"]) for row in read_metrics(folder / "metrics.jsonl")] == steps
    assert [(step, value) for _, step, value in board(folder)] == steps
    sent = [(row["round1/policy/step"], row["round1/policy/loss"]) for row in wandb.rows]
    assert sent == steps
    assert wandb.keys["round1/policy/loss"] == "round1/policy/step"
    assert {(one["id"], one["project"], one["resume"], one["mode"]) for one in wandb.begun} == {
        (wandb.begun[0]["id"], "project", "allow", "offline")
    }


@pytest.mark.parametrize("held", [b"\0" * 20, None])
def test_a_damaged_note_of_what_was_sent_ends_no_training(tmp_path, wandb, held):
    """As a host that lost power leaves it, or a folder that cannot be written."""
    folder, note, said = tmp_path / "round1", tmp_path / "scalars" / "wandb" / "round1", list[str]()
    note.parent.mkdir(parents=True)
    note.write_bytes(held) if held else note.mkdir()
    (series,) = of(tmp_path, said.append).training(folder)
    for step in range(3):
        series.write(step, {"loss": 1.0})
    series.close()
    assert len(said) == 1 and "the run goes on without it" in said[0] and not wandb.rows


def test_rounds_are_keyed_by_round_and_written_once(tmp_path, wandb):
    for found in (FIRST, FIRST, SECOND, SECOND):
        run = of(tmp_path)
        run.rounds(found)
        run.close()
    expected = [(name, number, value) for number, each in SECOND.items() for name, value in each.items()]
    assert sorted(board(tmp_path / "scalars")) == sorted(expected)
    sent = [
        (name.removeprefix("rounds/"), row["rounds/round"], value)
        for row in wandb.rows
        for name, value in row.items()
        if name != "rounds/round"
    ]
    assert sorted(sent) == sorted(expected) and wandb.keys["rounds/coverage"] == "rounds/round"


def test_a_kill_between_writing_and_noting_doubles_nothing(tmp_path, wandb, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scalars, "_note", killed)
        of(tmp_path).rounds(FIRST)
    of(tmp_path).rounds(FIRST)
    assert len(board(tmp_path / "scalars")) == 3
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(wandb, "log", killed)
        of(tmp_path).rounds(SECOND)
    rows = len(wandb.rows)
    of(tmp_path).rounds(SECOND)
    assert len(wandb.rows) == rows and len(board(tmp_path / "scalars")) == 5
    folder = tmp_path / "round1" / "policy"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(wandb, "log", killed)
        trained(tmp_path, 0, 2)
    trained(tmp_path, 0, 2)
    assert [row["round1/policy/step"] for row in wandb.rows[rows:]] == [1]
    assert len(board(folder)) == 2


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_failure_of_wandb_is_said_once_and_ends_nothing(tmp_path, wandb, broken):
    said, wandb.broken = [], broken
    run = of(tmp_path, said.append)
    folder = tmp_path / "round1" / "policy"
    with MetricsWriter(folder, sinks=run.training(folder)) as metrics:
        metrics.start(0)
        for step in range(3):
            metrics.write(step, {"loss": 1.0})
    run.rounds(FIRST)
    run.close()
    assert len(said) == 1 and f"Weights & Biases failed (no {broken}); the run goes on" in said[0]
    assert len(read_metrics(folder / "metrics.jsonl")) == 3 and len(board(tmp_path / "scalars")) == 3


def test_without_a_project_wandb_is_not_asked(tmp_path, wandb):
    run = RunScalars(tmp_path, "", {}, pytest.fail)
    run.rounds(FIRST)
    run.close()
    assert run.training(tmp_path / "round1" / "policy") == [] and not wandb.begun


def test_a_key_of_wandb_sends_to_it_and_its_variable_decides(tmp_path, wandb, monkeypatch):
    wandb.api.api_key = "key"
    of(tmp_path).rounds(FIRST)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    of(tmp_path).rounds(SECOND)
    assert [one["mode"] for one in wandb.begun] == ["online", "disabled"]


def test_a_damaged_note_of_the_rounds_writes_them_again(tmp_path, wandb):
    of(tmp_path).rounds(FIRST)
    (tmp_path / "scalars" / "rounds.json").write_text("{")
    of(tmp_path).rounds(FIRST)
    assert len(board(tmp_path / "scalars")) == 3


@pytest.mark.parametrize("config", ["quickstart", "sft", "ppm"])
def test_wandb_that_is_not_installed_is_named_with_its_extra(capsys, tmp_path, monkeypatch, config):
    monkeypatch.setattr(scalars.importlib.util, "find_spec", lambda name: None)
    flags = [f"--config={config}", "--config.wandb=project", f"--workdir={tmp_path}"]
    given = {"sft": "--config.rows=none", "ppm": "--config.rows=none"}
    status = launch.main([*flags, *filter(None, [given.get(config)])])
    captured = capsys.readouterr()
    assert status == 2 and "config.wandb: 'project' given, but wandb is not installed" in captured.err
    assert "pip install 'rstar-jax[wandb]'" in captured.err and not list(tmp_path.iterdir())
    with pytest.raises(UserError):
        scalars.require("project")
    scalars.require("")


def test_a_report_gives_its_rounds_figures():
    shares = {"all": 0.5, "level1": 0.75, "level3": None}
    rounds = (
        sections.Round(round=1, coverage=shares, policy_pass1=0.5, policy_pass1_by_level=shares, pairs=7),
        sections.Round(round=2, coverage=shares, search_accuracy_by_level=shares, ppm_pair_accuracy=0.875),
    )
    base = sections.Base(policy_pass1=0.25, policy_pass1_by_level={"all": 0.25})
    report = results.to_json(sections.RunReport(base=base, rounds=rounds))
    assert round_scalars(report) == {
        0: {"policy_pass1": 0.25},
        1: {
            **{"coverage": 0.5, "coverage/level1": 0.75, "policy_pass1": 0.5, "policy_pass1/level1": 0.75},
            "pairs": 7.0,
        },
        2: {
            **{"coverage": 0.5, "coverage/level1": 0.75, "search_accuracy": 0.5},
            **{"search_accuracy/level1": 0.75, "ppm_pair_accuracy": 0.875},
        },
    }
    fields = {field.name for field in dataclasses.fields(sections.Round)}
    assert {"coverage", "policy_pass1_by_level", "search_accuracy_by_level", "ppm_pair_accuracy"} <= fields
    assert round_scalars(results.to_json(sections.RunReport())) == {}


def logged(data, block=1 << 15):
    """The records of a LevelDB log behind its 7 bytes of header: checksum, length and part of each."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if (room := block - at % block) < 7:
            at += room
            continue
        length, part = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


@pytest.mark.wandb
def test_real_wandb_keeps_every_point_once_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for end in (3, 5):
        trained(tmp_path, 0, end)
        run = of(tmp_path)
        run.rounds(FIRST)
        run.close()
    from wandb.proto.wandb_internal_pb2 import Record

    keys = []
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        for record in map(Record.FromString, logged(path.read_bytes())):
            for item in record.history.item if record.HasField("history") else ():
                keys.append((item.key or "/".join(item.nested_key), item.value_json))
    assert sorted(float(v) for k, v in keys if k == "round1/policy/step") == [0, 1, 2, 3, 4]
    assert sorted(float(v) for k, v in keys if k == "rounds/round") == [0, 1]
