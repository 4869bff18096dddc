"""Problems from a number or a JSONL file; bad rows are named by file and line."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_jax.data import load as load_module
from rstar_jax.data import problem_set, tables
from rstar_jax.data.known import Columns
from rstar_jax.data.load import load_problems
from rstar_jax.data.problem_set import digest
from rstar_jax.errors import UserError
from rstar_jax.problems.suite import generate
from rstar_jax.types import Problem

GOOD = {"id": "a", "question": "1 + 1?", "answer": "2"}


def load(path):
    return list(load_problems(str(path), seed=0, split="train"))


def test_a_number_is_that_many_suite_problems():
    assert list(load_problems("12", seed=5, split="heldout")) == generate(12, seed=5, split="heldout")
    for spec in ("-3", "0", "1000001", "9" * 5000):
        with pytest.raises(UserError, match=rf"train: {spec[:20]}.* given, 1 problem or more") as refused:
            load_problems(spec, seed=0, split="train")
        assert len(str(refused.value)) < 200


def test_rows_of_a_file(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [GOOD, {**GOOD, "id": 7, "answer": 2, "level": 2, "source": "x", "synthetic": True, "more": []}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    assert load(path) == [
        Problem("a", "1 + 1?", "2"),
        Problem("7", "1 + 1?", "2", level=2, source="x", synthetic=True),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "list given"),
        ('{"id": "b", "question": "1?"}', "no 'answer'"),
        ('{"id": "b", "question": "1?", "answer": " "}', "no 'answer'"),
        ('{"id": "b", "answer": "1"}', "no 'question'"),
        ('{"id": "a", "question": "1?", "answer": "1"}', "'a' is already that of line 1"),
        ('{"id": "b", "question": "1?", "answer": [1]}', "answer is \\[1\\]"),
        ('{"id": "b", "question": "1?", "answer": "1", "level": 10}', "level is 10"),
        ('{"id": "b", "question": "1?", "answer": "1", "level": true}', "level is True"),
        (
            '{"id": "b", "question": "1?", "answer": "1", "level": "' + "x" * 999 + '"}',
            r"level is '.{76}\.\.\. \(str",
        ),
        ('{"id": "b", "question": "1?", "answer": NaN}', "answer is nan"),
        ('{"id": "b", "question": "1?", "answer": 1e400}', "answer is inf"),
        pytest.param('{"id": "b", "question": "1?", "answer": ' + "9" * 5000 + "}", "as JSON", id="digits"),
        pytest.param("[" * 100_000, "as JSON", id="brackets"),
        (r'{"id": "b", "question": "1 \ud800?", "answer": "1"}', "question holds half a character"),
        (
            r'{"id": "b", "question": "$\frac{1}{2}$", "answer": "1"}',
            r"question holds '\\x0crac'.*Write '\\\\frac'",
        ),
        (r'{"id": "b", "question": "1", "answer": "\boxed{1}"}', r"answer holds '\\x08oxed'"),
        (r'{"id": "b", "question": "2 \times 3", "answer": "6"}', r"'\\times'. Write"),
        (r'{"id": "b", "question": "an angle \theta_1", "answer": "6"}', r"'\\theta'. Write"),
        (r'{"id": "b", "question": "$\left(1\right)$", "answer": "6"}', "not JSON"),
        (r'{"id": "b", "question": "(1\right)", "answer": "6"}', r"'\\right'. Write"),
        (r'{"id": "b", "question": "x \neq 3", "answer": "6"}', r"'\\neq'. Write"),
        (r'{"id": "b", "question": "$x \to 3$", "answer": "6"}', r"'\\to'. Write"),
        (r'{"id": "b", "question": "\alpha", "answer": "6"}', "not JSON.*written as two"),
        ('{"id": "b", "question": "1?", "answer": "It is one. #### "}', "nothing behind '####'"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, line, message):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"own\.jsonl:2: .*{message}"):
        load(path)


@pytest.mark.parametrize(
    "problem",
    [
        "How many?\n\ta) one\n\tb) two",
        "A table:\nx\ty\n1\t2",
        "Two lines.\nequal ones\r\nright after",
        "$a$ and\nu, of $b$",
        "\tan apple or two",
        r"$\frac{1}{2} \times \theta \neq \nabla$",
    ],
)
def test_ordinary_tabs_and_line_ends_stay(tmp_path, problem):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**GOOD, "question": problem}), encoding="utf-8")
    assert load(path)[0].question == problem


def test_files_of_every_kind_are_read_as_what_they_are(tmp_path):
    rows = [GOOD, {**GOOD, "id": "b", "answer": "It is 6 * 12 = <<6*12=72>>72.\n#### 1,072"}]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "array.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    for file in tmp_path.iterdir():
        assert load(file) == [Problem("a", "1 + 1?", "2"), Problem("b", "1 + 1?", "1072")], file.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9], "damaged"),
        ("a.parquet", b"PAR1" + b"\0" * 99, "damaged"),
        ("a.json", b'[\n{"id": "a",\n}]', "not JSON .*line 3"),
        ("b.json", b'[{"id": "a", "question": "?", "answer": "1"}, 7]', "item 2: int given"),
        ("c.json", json.dumps([GOOD, GOOD]).encode(), "item 2: id 'a' is already that of item 1"),
    ],
)
def test_damaged_files_of_every_kind_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("one.jsonl.gz", gzip.compress(b"x" * 10**6, mtime=0), "a line of more than 1,000 bytes.*JSON lines"),
        ("one.json.gz", gzip.compress(b"[{" + b" " * 10**6, mtime=0), "an array of more than 1,000 bytes"),
        ("blank.gz", gzip.compress(b"\n" * 10**6, mtime=0), "unpacks to more than 9,000 bytes.*unpack it"),
        ("one.jsonl", b"x" * 1001, "a line of more than 1,000 bytes"),
        ("one.json", b"[{" + b" " * 1000, "an array of more than 1,000 bytes"),
    ],
)
def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(tables, "MOST_TEXT", 1000)
    monkeypatch.setattr(tables, "_MOST_UNPACKED", 9000)
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{name}(:1)?: {message}"):
        load(tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_a_large_file_of_short_lines_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_TEXT", 100)
    rows = [{**GOOD, "id": str(n)} for n in range(1000)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "own.gz").write_bytes(gzip.compress((tmp_path / "own.jsonl").read_bytes()))
    pq.write_table(
        pa.Table.from_pylist([*rows, *({**GOOD, "id": f"b{n}"} for n in range(2000))]),
        tmp_path / "own.parquet",
    )
    assert load(tmp_path / "own.jsonl") == load(tmp_path / "own.gz") == load(tmp_path / "own.parquet")[:1000]
    assert len(load(tmp_path / "own.parquet")) == 3000


def test_a_missing_empty_or_binary_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        load(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no problems in it"):
        load(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=":1: not UTF-8"):
        load(tmp_path / "binary.jsonl")


def test_files_of_other_systems_and_homes_are_read(tmp_path, monkeypatch):
    text = "\ufeff" + json.dumps(GOOD) + "\r\n" + json.dumps({**GOOD, "id": "é", "answer": "½"}) + "\r\n"
    (tmp_path / "own.jsonl").write_bytes(text.encode())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [p.id for p in load("~/own.jsonl")] == ["a", "é"]


def test_the_option_is_named():
    with pytest.raises(UserError, match=r"config\.problems\.heldout: '1\.5'"):
        load_problems("1.5", seed=0, split="heldout")


BAD = [
    GOOD,
    '{"id": "x", ',
    b"\xff\xfe",
    {"id": "b", "question": "2?"},
    {"id": "c", "question": "3?", "answer": [1]},
    {"id": "d", "question": "4?", "answer": "5"},
    {**GOOD, "question": "1 + 2?"},
    {"question": "5?", "answer": "5"},
    {"question": "5?  ", "answer": "6"},
    "[2]",
]


def test_bad_rows_are_left_out_and_counted_where_that_is_asked_for(tmp_path):
    path, told = tmp_path / "own.jsonl", []
    lines = [row if isinstance(row, bytes | str) else json.dumps(row) for row in BAD]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))

    def require(problem):
        if problem.id == "d":
            raise UserError("nothing for this task")

    options = {"seed": 0, "split": "train", "require": require}
    problems = load_problems(str(path), **options, bad="drop", log=told.append)
    assert [problem.question for problem in problems] == ["1 + 1?", "5?"]
    (line,) = told
    assert line.startswith(
        "config.problems.train: 8 of 10 rows left out: 2 not JSON, 1 not UTF-8, 1 no answer"
    )
    for kind in (
        "no answer",
        "another kind of answer",
        "not of this task",
        "an id that is taken",
        "asked before",
    ):
        assert f"1 {kind}" in line
    for number in (2, 4, 5, 6, 7, 9):
        assert f"own.jsonl:{number}: " in line, number
    path.write_text(json.dumps(BAD[5]))
    with pytest.raises(UserError, match=r"own\.jsonl:1: nothing for this task"):
        load_problems(str(path), **options)
    with pytest.raises(UserError, match=r"no problems in it.* 1 not of this task"):
        load_problems(str(path), **options, bad="drop")


def test_kinds_that_are_named_are_required(tmp_path):
    (tmp_path / "lines").write_text(json.dumps(GOOD))
    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "table")
    assert list(load_problems(f"jsonl:{tmp_path}/lines", seed=0, split="train")) == load(tmp_path / "lines")
    assert list(load_problems(f"parquet:{tmp_path}/table", seed=0, split="train")) == load(tmp_path / "table")
    for spec in ("parquet:{}/lines", "jsonl:{}/table"):
        with pytest.raises(UserError, match="the file is of another kind"):
            load_problems(spec.format(tmp_path), seed=0, split="train")


def test_how_far_reading_is_can_be_watched(monkeypatch):
    monkeypatch.setattr(load_module, "_TOLD_EVERY", 4)
    told = []
    load_problems("10", seed=0, split="train", log=told.append)
    assert told == [f"config.problems.train: {n} problems read." for n in (4, 8)]


def test_memory_does_not_grow_with_the_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(problem_set, "_SMALL", 100_000)
    path, text = tmp_path / "own.jsonl", "how many? " * 200
    with path.open("w") as file:
        for n in range(5000):
            file.write(json.dumps({"id": str(n), "question": f"{n} {text}", "answer": str(n)}) + "\n")
    tracemalloc.start()
    problems = load_problems(str(path), seed=0, split="train")
    assert sum(len(problem.question) for problem in problems[::2]) > 5_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_empty_specification_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "some.jsonl").write_text(json.dumps(GOOD))
    monkeypatch.chdir(tmp_path)
    for spec in ("", "   ", "+suite:3", "x" * 5000):
        with pytest.raises(UserError, match=r"config\.problems\.train: '.*' given"):
            load(spec)


def test_a_cut_needs_no_column(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**GOOD, "answer": r"so \boxed{5}, or 6"}))
    (problem,) = load_problems(str(path), seed=0, split="train", columns=Columns(cut="boxed"))
    assert problem.answer == "5"


def test_a_misspelt_column_is_named(tmp_path):
    path, met = tmp_path / "own.jsonl", set[str]()
    path.write_text(json.dumps({**GOOD, "grade": 3}), encoding="utf-8")
    columns = Columns(level="grad")
    load_problems(str(path), seed=0, split="train", columns=columns, met=met)
    with pytest.raises(
        UserError, match=r"^o.level: 'grad' given, .* they have 'answer, grade, id, question'"
    ):
        load_module.require_columns(columns, met, "o")
    load_module.require_columns(Columns(level="grade", id="none", cut="whole"), met, "o")


def test_no_option_is_named_that_a_job_does_not_have_or_that_does_not_help(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"id": "suite/train/shop/0", "question": "1 + 1?", "answer": "2"}))
    of_files = rf"jsonl:{path}+jsonl:{path}"
    for spec in (of_files, "suite:1+suite:1"):
        with pytest.raises(UserError, match="is already that of") as raised:
            load_problems(spec, seed=0, split="train", columns=Columns())
        assert "columns.id" not in str(raised.value)
    path.write_text('{"prompt": "1 + 1?"}')
    with pytest.raises(
        UserError, match=r"it has 'prompt' \(--config\.columns\.question=COLUMN names another\)"
    ):
        load_problems(str(path), seed=0, split="train", option="config.sources", columns=Columns())
    with pytest.raises(UserError, match=r"it has 'prompt'\.$"):  # a synthesis has none for columns
        load_problems(str(path), seed=0, split="train", option="config.seeds")


def test_what_stands_beside_rows_in_a_folder_is_no_row(tmp_path):
    (tmp_path / "1.json").write_text(json.dumps(GOOD))
    for name in ("dataset_infos.json", "dataset_info.json", "state.json"):
        (tmp_path / name).write_text('{"default": {}}')
    assert len(load_problems(str(tmp_path), seed=0, split="train")) == 1
    with pytest.raises(UserError, match="a folder, which is named without its kind"):
        load_problems(f"suite:1+jsonl:{tmp_path}", seed=0, split="train")
    assert len(load_problems(f"{tmp_path}+suite:1", seed=0, split="train")) == 2


def test_rows_of_a_prepared_set_and_others_may_share_a_file(tmp_path):
    problem, path = Problem("a", "1 + 1?", "2"), tmp_path / "own.jsonl"
    row = {**vars(problem), "origin": "x", "origin_row": 1, "fingerprint": digest([problem])}
    own = {**GOOD, "id": "b", "question": "2?"}
    path.write_text(f"{json.dumps(row)}\n{json.dumps(own)}")
    assert load(path) == [problem, Problem("b", "2?", "2")]
