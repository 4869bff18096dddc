"""Many questions in one search: answers as they come, in text and JSON, kept, and never asked for twice."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import resource
import signal
from pathlib import Path

import pytest

from rstar_jax import launch
from rstar_jax.errors import UserError
from rstar_jax.report.answer import Answer
from rstar_jax.report.answer_list import AnswerList
from rstar_jax.report.events import EVENTS, Events
from rstar_jax.search import votes
from rstar_jax.solve import ask
from rstar_jax.solve.answers import Answers
from rstar_jax.text.grammar import CODE_STEPS
from tests.search.scripted import grow_trees
from tests.solve.test_ask import CONFIG, FUNCTIONS, PROBLEM, propose

FLAGS = ("--config.search.rollouts=5", "--config.search.candidates=4", "--config.verify.workers=1")
ROWS = [{"question": f"How much is {i}?", "id": f"n{i}"} for i in range(7)]


class Killed(BaseException):
    """What ends a command as kill -9 does: nobody catches it."""


class Scripted:
    """A reasoner of the scripted functions. searched: ids of the questions that its leaves are of."""

    tokens = 0
    searched: list[str] = []  # noqa: RUF012

    def __init__(self, *_, **__):
        pass

    def queues(self, round):
        def noted(leaves):
            self.searched.extend(leaf.problem.id for leaf in leaves)
            return propose(leaves)

        return dataclasses.replace(FUNCTIONS, propose=noted).queues()

    def on_compile(self, told):
        pass

    def same(self, problem, one, other):
        return one == other

    def grade(self, requests):
        return ["right" if answer == problem.answer else "wrong" for problem, answer in requests]


@pytest.fixture
def scripted(monkeypatch):
    Scripted.searched = []
    monkeypatch.setattr(ask, "Reasoner", Scripted)


def written(folder, rows=ROWS, name="questions.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"--config.questions={path}"


def launched(capsys, folder, *flags):
    status = launch.main(["--config=solve", f"--workdir={folder / 'w'}", *FLAGS, *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def kept(folder):
    return [
        json.loads(line) for line in (folder / "w" / "answers" / "answers.jsonl").read_text().splitlines()
    ]


def test_answers_come_as_they_are_found_each_with_its_support(capsys, tmp_path, scripted):
    (alone,) = grow_trees([PROBLEM], FUNCTIONS, dataclasses.replace(CONFIG, rollouts=5), round=0)
    first = votes.election(alone, "weighted", equal=str.__eq__)[0]
    rows = [*ROWS, {"question": "and this?", "answer": first.answer}, {"question": "this?", "answer": -7}]
    status, out, err = launched(capsys, tmp_path, written(tmp_path, rows), "--config.search.batch=3")
    assert status == 0 and "questions: 9\n" in out and "Traceback" not in err
    lines = re.findall(r"^\[(.)/9\] (\S+): (\S+)  (\d+ of \d+ trajector\w+)", out, re.MULTILINE)
    assert [line[0] for line in lines] == list("123456789") and len({line[1] for line in lines}) == 9
    found = kept(tmp_path)
    assert [row["id"] for row in found] == [line[1] for line in lines]
    grades = {row["question"]: row["grade"] for row in found}
    assert grades.pop("and this?") == "right" and grades.pop("this?") == "wrong"
    assert set(grades.values()) == {None} and "9 answered" in out.splitlines()[-1]
    weak = [row["warning"] for row in found if row["weak"]]
    assert out.count("a weak answer: ") == len(weak) and all(words in out for words in weak)


@pytest.mark.parametrize("show", ["brief", "answer"])
@pytest.mark.parametrize("many", [True, False])
def test_json_is_all_that_is_printed_an_event_a_line(capsys, tmp_path, scripted, show, many):
    asks = written(tmp_path, ROWS[:3]) if many else "--config.question=How much?"
    status, out, _ = launched(capsys, tmp_path, asks, "--config.json=True", f"--config.show={show}")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event.pop("event") for event in events]
    for kind, event in zip(kinds, events, strict=True):
        assert set(event) == {field.name for field in dataclasses.fields(EVENTS[kind])}
    assert status == 0 and kinds[0] == "begin" and kinds[-1] == "end"
    assert kinds.count("answer") == (3 if many else 1) and kinds.count("begin") == kinds.count("end") == 1
    assert ("steps" in kinds) == (show == "brief") and ("leads" in kinds) == (show == "brief" and not many)
    last = events[-1]
    assert (last["answered"], last["unanswered"], last["left"], last["stopped"]) == (
        3 if many else 1,
        0,
        0,
        False,
    )
    told = [event for kind, event in zip(kinds, events, strict=True) if kind == "answer"]
    if many:
        assert told == kept(tmp_path)
    else:
        assert not (tmp_path / "w" / "answers").exists()


def test_docs_name_every_field_of_an_event():
    text = Path(__file__).parents[2].joinpath("docs", "RUNS.md").read_text()
    section = text.split("## Many questions")[1].split("\n## ")[0]
    for name, kind in EVENTS.items():
        row = next(line for line in section.splitlines() if line.startswith(f"| `{name}`"))
        documented = set(re.findall(r"`(\w+)`", row.split("|", 2)[2]))
        assert {field.name for field in dataclasses.fields(kind)} <= documented, name


@pytest.mark.parametrize("moment", range(9))
def test_a_killed_command_goes_on_and_asks_nothing_twice(capsys, tmp_path, scripted, monkeypatch, moment):
    """Killed before an answer is on disk, in the midst of its line, or before anybody was told."""
    add, count, how = Answers.add, moment // 3 + 1, moment % 3

    def fatal(self, answer):
        nonlocal count
        count -= 1
        if count:
            return add(self, answer)
        if how:
            add(self, answer)
        if how == 1:
            self._file.truncate(self._file.tell() - 9)
        raise Killed

    flags = written(tmp_path), "--config.search.batch=2"
    monkeypatch.setattr(Answers, "add", fatal)
    with pytest.raises(Killed):
        launched(capsys, tmp_path, *flags)
    whole = (tmp_path / "w" / "answers" / "answers.jsonl").read_bytes().split(b"\n")[:-1]
    before = [json.loads(line)["id"] for line in whole]
    assert len(before) == moment // 3 + (how == 2)
    monkeypatch.setattr(Answers, "add", add)
    Scripted.searched = []
    capsys.readouterr()
    status, out, _ = launched(capsys, tmp_path, *flags)
    ids = [row["id"] for row in kept(tmp_path)]
    assert status == 0 and ids[: len(before)] == before and sorted(ids) == [row["id"] for row in ROWS]
    assert set(Scripted.searched) == set(ids) - set(before)
    assert not before or f"questions: 7, {len(before)} of them answered before" in out
    Scripted.searched = []
    status, out, _ = launched(capsys, tmp_path, *flags)
    assert status == 0 and not Scripted.searched and "0 answered" in out


def test_half_a_line_is_cut_off_however_long_it_is(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b", "question": "' + "why? " * 1000)
    with Answers(path) as answers:
        assert [row for _, row in answers.read()] == [{"id": "a"}]
        answers.add(Answer(id="c", question="?", answer=None))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "c"]


def test_a_full_disk_is_named_and_leaves_what_was_kept(tmp_path):
    path, (soft, hard) = tmp_path / "answers.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text('{"id": "a"}\n')
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
        with pytest.raises(UserError, match=rf"{path}: "), Answers(path) as answers:
            assert len(list(answers.read())) == 1
            answers.add(Answer(id="b", question="?", answer=None))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Answers(path) as answers:
        assert [row for _, row in answers.read()] == [{"id": "a"}]


def test_an_answer_is_kept_before_it_is_told(capsys, tmp_path, scripted, monkeypatch):
    def killed(*_):
        raise Killed

    monkeypatch.setattr(AnswerList, "concludes", killed)
    with pytest.raises(Killed):
        launched(capsys, tmp_path, written(tmp_path))
    assert len(kept(tmp_path)) == 1


def test_the_answers_are_those_of_an_unbroken_command_and_more_may_be_asked(capsys, tmp_path, scripted):
    launched(capsys, tmp_path, written(tmp_path, ROWS[:3]))
    launched(capsys, tmp_path, written(tmp_path, ROWS))
    (tmp_path / "other").mkdir()
    launched(capsys, tmp_path / "other", written(tmp_path / "other", ROWS))
    once, whole = kept(tmp_path), kept(tmp_path / "other")
    key = lambda row: row["id"]  # noqa: E731
    for row in (*once, *whole):
        del row["seconds"]
    assert sorted(once, key=key) == sorted(whole, key=key) and [row["id"] for row in once[:3]] == [
        "n0",
        "n1",
        "n2",
    ]


def test_a_signal_leaves_the_others_for_the_same_command(capsys, tmp_path, scripted, monkeypatch):
    add = Answers.add

    def signalled(self, answer):
        add(self, answer)
        if len(Path(self.path).read_text().splitlines()) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Answers, "add", signalled)
    flags = written(tmp_path), "--config.search.batch=2", "--config.json=True", "--config.show=answer"
    status, out, err = launched(capsys, tmp_path, *flags)
    last = json.loads(out.splitlines()[-1])
    assert status == 130 and last["stopped"] and last["left"] == 7 - len(kept(tmp_path)) > 0
    assert "the same command asks those that are left" in err
    monkeypatch.setattr(Answers, "add", add)
    status, out, _ = launched(capsys, tmp_path, *flags)
    begin = json.loads(out.splitlines()[0])
    assert status == 0 and begin["answered"] == 7 - last["left"] and len(kept(tmp_path)) == 7


def test_questions_without_an_answer_are_told_and_give_status_1(capsys, tmp_path, scripted, monkeypatch):
    monkeypatch.setattr(Scripted, "queues", lambda self, round: BROKEN.queues())
    status, out, _ = launched(capsys, tmp_path, written(tmp_path, ROWS[:2]))
    assert status == 1 and "] n0: no answer; of " in out and "NameError" in out
    assert "0 answered" in out and [row["answer"] for row in kept(tmp_path)] == [None, None]

    status, out, _ = launched(capsys, tmp_path, written(tmp_path, ROWS[:2]))
    assert status == 1 and "0 came to no answer" in out  # they are not asked again, and have none still


BROKEN = dataclasses.replace(
    FUNCTIONS,
    propose=lambda leaves: [
        [
            dataclasses.replace(one, text=f"{CODE_STEPS.opening}\nundefined\n{CODE_STEPS.end_step}")
            for one in each
        ]
        for each in propose(leaves)
    ],
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "config.questions: no question in "),
        ("\n\n", "config.questions: no question in "),
        ('{"question": "a"}\nnot json\n', "questions.jsonl:2"),
        ('{"question": "a"}\n[1]\n', "questions.jsonl:2"),
        ('{"problem": "a"}\n', "questions.jsonl:1: 'problem' given, a question expected"),
        ('{"question": "a"}\n{"question": " "}\n', "questions.jsonl:2: ' ' as 'question' given"),
        ('{"question": 3}\n', "questions.jsonl:1: 3 as 'question' given"),
        ('{"question": "a", "id": ["x"]}\n', "questions.jsonl:1: 'id' is ['x'], a text or a number"),
        ('{"question": "a", "answer": true}\n', "questions.jsonl:1: 'answer' is True"),
        (
            '{"question": "a", "id": 1}\n{"question": "b", "id": "1"}\n',
            "questions.jsonl:2: id '1' is already",
        ),
        ('{"question": "a b"}\n{"question": "A  b"}\n', "questions.jsonl:2: asks what line 1 does"),
        ('{"question": "\\ud800"}\n', "questions.jsonl:1"),
        ('{"question": "' + "why? " * 3000 + '"}\n', "(" + "{path}:1"),
    ],
)
def test_a_bad_file_is_named_with_its_line(capsys, tmp_path, scripted, content, message):
    (tmp_path / "questions.jsonl").write_text(content)
    flag = f"--config.questions={tmp_path / 'questions.jsonl'}"
    status, out, err = launched(capsys, tmp_path, flag, "--config.json=True")
    assert (status, out) == (2, "") and "Traceback" not in err
    assert message.format(path=tmp_path / "questions.jsonl") in err and not Scripted.searched


def test_flags_and_folders_that_do_not_go_together(capsys, tmp_path, scripted):
    asks = written(tmp_path, ROWS[:2])
    for flags, message in (
        ((asks, "--config.question=How much?"), "config.question: given beside config.questions"),
        ((f"--config.questions={tmp_path / 'none'}",), "config.questions: "),
        ((f"--config.questions={tmp_path}",), "config.questions: "),
        ((asks, "--config.verify.task=code"), "config.verify.task: 'code' given"),
        ((asks, "--config.json=maybe"), "config.json"),
    ):
        status, out, err = launched(capsys, tmp_path, *flags)
        assert (status, out) == (2, "") and message in err and "Traceback" not in err, message
    (tmp_path / "w").write_text("a file")
    status, out, err = launched(capsys, tmp_path, asks)
    assert (status, out) == (2, "") and "w: a file, a folder expected" in err


def test_answers_of_other_options_or_questions_are_not_gone_on_with(capsys, tmp_path, scripted):
    asks = written(tmp_path, ROWS[:2])
    launched(capsys, tmp_path, asks)
    status, _, err = launched(capsys, tmp_path, asks, "--config.seed=1")
    assert status == 2 and "made with other options" in err and "config.seed: there 0, now 1" in err
    other = written(tmp_path, [{"question": "another", "id": "n1"}])
    status, _, err = launched(capsys, tmp_path, other)
    assert status == 2 and "answers.jsonl:2: answers another question of the id 'n1'" in err
    path = tmp_path / "w" / "answers" / "answers.jsonl"
    path.write_text("{}\n" + path.read_text())
    status, _, err = launched(capsys, tmp_path, asks)
    assert status == 2 and "answers.jsonl:1: no answer of ours (no object with an id)" in err
    path.unlink()
    path.mkdir()
    status, _, err = launched(capsys, tmp_path, asks)
    assert status == 2 and "answers.jsonl: cannot be written" in err


def test_json_has_no_number_that_is_none():
    out = io.StringIO()
    Events(out, "brief", lambda: 0.0).concludes(
        Answer(id="a", question="\ud83d \u202e", answer="1", share=float("nan"))
    )
    assert json.loads(out.getvalue())["share"] is None and out.getvalue().isascii()
