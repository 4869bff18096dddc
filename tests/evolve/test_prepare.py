"""A prepared set holds the cleaned problems as they are, and is there whole or not at all."""

import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from rstar_jax import records
from rstar_jax.data.clean import clean
from rstar_jax.data.corrections import KNOWN
from rstar_jax.data.form import form_of
from rstar_jax.data.known import Columns
from rstar_jax.data.load import load_problems
from rstar_jax.data.order import Epochs
from rstar_jax.data.prepared import folder_of
from rstar_jax.data.problem_set import StoredProblems, digest
from rstar_jax.data.tables import Place
from rstar_jax.errors import Unfit, UserError
from rstar_jax.evolve import prepare
from rstar_jax.evolve.prepare import PrepareSettings
from rstar_jax.problems.suite import generate
from rstar_jax.types import Problem

ODD = [
    {"id": " a ", "question": "  How much is\t$\\frac{1}{2}$\u2009of 4?\n", "answer": " 2 ", "level": 3},
    {"id": "b", "question": "What is the sum of the roots? #### 3", "answer": "\u221a2", "source": "mine"},
    {"id": "c", "question": "How many \U0001f35e are 3 loaves and 4?", "answer": 7, "synthetic": True},
    {"question": "Which number is one more than sixteen?", "answer": "It is 17.\n#### 17"},
]


def write_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def load(workdir, split="train", **options):
    return load_problems(f"tfds:{workdir}/{split}", seed=0, split="train", **options)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(settings, folder, report) of a mixture with rows that are odd, equal, held out and in a benchmark."""
    folder = tmp_path_factory.mktemp("prepared")
    again = {"id": "d", "question": ODD[1]["question"].upper(), "answer": "3"}
    seen = {"id": "e", "question": "A baker bakes 48 loaves and sells half of them. How many are left?"}
    known = {"id": "f", "question": "A wall of 72 stones loses a third of its stones. How many does it keep?"}
    seen, known = {**seen, "answer": "24"}, {**known, "answer": "48"}
    own = write_lines(folder / "own.jsonl", [*ODD, again, seen, known, {"question": "?"}, "{"])
    heldout = write_lines(folder / "heldout.jsonl", [{**seen, "id": "h"}, {**seen, "id": "i"}])
    benchmark = write_lines(folder / "benchmark.jsonl", [known, {**known, "id": "j", "answer": "a number"}])
    settings = PrepareSettings(
        sources=f"suite:40*0.5+jsonl:{own}",
        heldout=str(heldout),
        against=(f"walls={benchmark}",),
        bad="drop",
        shard=7,
    )
    return settings, folder / "work", prepare.run(settings, folder / "work")


def test_rounds_read_what_cleaning_kept(prepared):
    settings, folder, report = prepared
    mixture = load_problems(settings.sources, seed=0, split="train", bad="drop")
    against = {
        name: load_problems(path, seed=0, split="train")
        for name, path in (("heldout", settings.heldout), ("walls", settings.against[0].partition("=")[2]))
    }
    kept = [mixture[row] for row in clean(mixture, against, settings.clean).kept]
    found = load(folder)
    assert list(found) == kept and len(kept) == 24
    assert found.fingerprint == report["splits"]["train"]["fingerprint"]
    assert list(load(folder, "heldout")) == list(against["heldout"])
    assert list(load(folder, "train[5:9]")) == kept[5:9]
    assert list(load(folder / "rstar_problems" / "1.0.0")) == kept


def test_what_was_dropped_is_told_with_its_reason(prepared):
    _, folder, report = prepared
    assert report["clean"]["dropped"] == {"exact_benchmark": 2, "exact_duplicate": 1}
    assert report["clean"]["overlaps"]["walls"]["exact"] == 2
    examples = {example["id"]: example for example in report["clean"]["examples"]}
    assert examples["e"]["other_id"] == "h" and examples["d"]["other_id"] == "b"
    assert report["left_out"]["sources"]["kinds"] == {"no answer": 1, "not JSON": 1}
    assert "own.jsonl:8" in report["left_out"]["sources"]["examples"]["no answer"][0]
    written = records.read_signed(folder / "report.json")
    assert written["clean"]["dropped"] == report["clean"]["dropped"]


def test_every_row_says_where_it_came_from(prepared):
    import tensorflow_datasets as tfds

    _, folder, _ = prepared
    rows = tfds.data_source("rstar_problems", split="train", data_dir=str(folder))
    lines = (folder.parent / "own.jsonl").read_text().splitlines()
    suite = load_problems("suite:40", seed=0, split="train")
    origins = set()
    for row, problem in zip(rows, load(folder), strict=True):
        origin, number = row["origin"].decode(), int(row["origin_row"]) - 1
        question = suite[number].question if origin == "suite:40" else json.loads(lines[number])["question"]
        assert row["question"].decode() == question == problem.question
        assert row["fingerprint"].decode() == digest([problem]) and row["split"] == b"train"
        origins.add(origin)
    assert origins == {"suite:40", str(folder.parent / "own.jsonl")}
    assert len(list(folder.rglob("*train.array_record*"))) == 4  # 24 rows, 7 a file
    assert "tensorflow" not in sys.modules


@pytest.mark.grain
def test_grain_reads_the_same_order_whatever_the_hosts(prepared):
    """As docs/DATA.md does; started four times, on as many hosts as each time says."""
    import grain
    import tensorflow_datasets as tfds

    source = tfds.data_source("rstar_problems", split="train", data_dir=str(prepared[1]))
    rows, start, learnt = Epochs(source, seed=4, epochs=2), 0, []
    for hosts, steps in ((2, 5), (3, 4), (5, 2), (1, 16)):
        shares = [
            iter(grain.MapDataset.source(rows)[start + host :: hosts].to_iter_dataset())
            for host in range(hosts)
        ]
        learnt += [next(share)["id"] for _ in range(steps) for share in shares]
        start += hosts * steps
    assert learnt == [row["id"] for row in rows] and set(learnt[:24]) == set(learnt[24:])


def test_the_same_command_makes_nothing_again_and_other_input_is_refused(tmp_path):
    own = write_lines(tmp_path / "own.jsonl", ODD)
    settings = PrepareSettings(sources=str(own))
    prepare.run(settings, tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.array_record*")}
    prepare.run(settings, tmp_path / "work")
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())
    with pytest.raises(UserError, match=r"made with other options:\n  config.shard: there 8192, now 5"):
        prepare.run(PrepareSettings(sources=str(own), shard=5), tmp_path / "work")
    write_lines(own, ODD[:2])
    with pytest.raises(UserError, match=r"made from other contents of config\.sources"):
        prepare.run(settings, tmp_path / "work")


@pytest.mark.parametrize("option", ["heldout", "against"])
def test_other_held_out_problems_and_benchmarks_are_refused(tmp_path, option):
    other = write_lines(tmp_path / "other.jsonl", ODD)
    given = str(other) if option == "heldout" else (str(other),)
    settings = PrepareSettings(sources="suite:3", **{option: given})
    prepare.run(settings, tmp_path / "work")
    write_lines(other, ODD[:2])
    with pytest.raises(UserError, match=rf"made from other contents of config\.{option}"):
        prepare.run(settings, tmp_path / "work")


def test_a_damaged_set_is_refused_and_made_again(tmp_path):
    settings, work = PrepareSettings(sources="suite:30"), tmp_path / "work"
    prepare.run(settings, work)
    whole = list(load(work))
    (file,) = work.rglob("*.array_record*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"config\.problems\.train: 'tfds:.*array_record.*damaged or changed"):
        load(work)
    copy = tmp_path / "copy"  # which no manifest names
    shutil.copytree(file.parent, copy)
    with pytest.raises(UserError, match=r"tfds:.*copy/train: row \d+: cannot be read .*mismatch"):
        load(copy)
    prepare.run(settings, work)
    assert list(load(work)) == whole


def test_a_row_that_was_changed_is_none():
    problem = Problem("a", "1 + 1?", "2")
    row = {**vars(problem), "origin": "x", "origin_row": 1, "fingerprint": digest([problem])}
    place = Place("x", "row", 1)
    assert form_of(row, Columns(), None).problem(row, place) == problem
    with pytest.raises(Unfit, match="x: row 1: 'a' is not the problem that its fingerprint names"):
        form_of(row, Columns(), None).problem({**row, "answer": "3"}, place)


def test_half_a_character_is_named(tmp_path):
    from rstar_jax.data import rstar_problems

    problems = StoredProblems()
    problems.add(Problem("a", "1 + 1?", "2", source="\ud800"), Place("x", "row", 1))
    with pytest.raises(UserError, match=r"a: source holds half a character \('\\ud800'\)"):
        rstar_problems.write(tmp_path, {"train": problems}, told=lambda rows: None)
    assert not list(tmp_path.rglob("*.array_record*"))


def test_of_several_sets_in_a_folder_one_is_to_be_named(tmp_path):
    for name in ("a/1.0.0", "a/incomplete.X_1.0.0", ".set.new-7/a/1.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")
    assert folder_of(tmp_path) == tmp_path / "a" / "1.0.0"
    (tmp_path / "a" / "2.0.0").mkdir()
    (tmp_path / "a" / "2.0.0" / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="holds 2 prepared sets"):
        folder_of(tmp_path)


def test_nothing_imports_tensorflow_datasets_before_it_is_needed():
    names = "rstar_jax.evolve.prepare, rstar_jax.launch.jobs, rstar_jax.data.load"
    code = f"import sys, {names}; print('tensorflow_datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"config\.sources: '' given"),
        ({"sources": "suite:3", "heldout": "x.jsonl"}, r"config\.heldout: 'x\.jsonl' given"),
        ({"sources": "suite:3", "against": ("a=y.jsonl",)}, r"config\.against: 'y\.jsonl' given"),
        ({"sources": "bad.jsonl"}, r"bad\.jsonl:2: not JSON"),
        ({"sources": "suite:3", "against": ("suite:2", "suite:2")}, r"config\.against: .*'suite:2' is given"),
        ({"sources": "suite:3", "against": ("heldout=suite:2",)}, "config.against: .* that of the held-out"),
        ({"sources": "vague.jsonl"}, "vague.jsonl:1: problem q.*still holds its"),
        ({"sources": "suite:3", "heldout": "vague.jsonl"}, "vague.jsonl:1: problem q.*still holds its"),
        ({"sources": "suite:3", "task": "sums"}, r"config\.task: 'sums' given"),
        ({"sources": "one.jsonl", "columns": Columns("quest")}, r"config\.columns\.question: 'quest' given"),
        ({"sources": "suite:3", "shard": 0}, r"config\.shard: 0 given"),
        ({"sources": "one.jsonl", "heldout": "one.jsonl"}, "of which no problem is left:\n0 of 1.*"),
        ({"sources": "tfds:nothing/train"}, "'tfds:nothing/train' cannot be loaded"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n{')
    write_lines(tmp_path / "one.jsonl", ODD[:1])
    write_lines(tmp_path / "vague.jsonl", [{"question": "Which?", "answer": "The answer is no."}])
    with pytest.raises(UserError, match=message):
        prepare.run(PrepareSettings(**options), tmp_path / "work")
    assert not list(tmp_path.rglob("*.array_record*"))


def test_a_disk_that_fails_is_named(tmp_path, monkeypatch):
    from array_record.python import array_record_module

    class Full:
        def __init__(self, path, options):
            raise RuntimeError(f"open() failed: No space left on device; writing {path}; at byte 0")

    monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Full)
    with pytest.raises(UserError, match=r"work/rstar_problems/1\.0\.0: the disk is full"):
        prepare.run(PrepareSettings(sources="suite:3"), tmp_path / "work")
    assert [path.name for path in (tmp_path / "work" / "rstar_problems").iterdir()] == []


def test_packing_holds_no_more_than_a_few_rows(tmp_path):
    from rstar_jax.data import rstar_problems

    problems, text = StoredProblems(), "how many? " * 2000
    for number in range(1000):
        problems.add(Problem(str(number), f"{number} {text}", "1"), Place("here", "row", number + 1))
    rstar_problems.write(tmp_path / "warm", {"train": problems[:2]}, shard=50, told=lambda rows: None)
    tracemalloc.start()
    rstar_problems.write(tmp_path / "all", {"train": problems}, shard=50, told=lambda rows: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # of 20 million bytes


def test_killed_at_any_moment_it_is_whole_or_absent(tmp_path):
    """Every moment at which files change: what is read then is whole, and the next run makes it so."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.evolve.killable_prepare", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    killed, absent, whole = map(int, done.stdout.split()[-3:])
    assert killed == absent + whole and absent >= 5 and whole >= 2, done.stdout


def test_rows_of_a_benchmark_that_nothing_was_compared_with_are_told_of(tmp_path, capsys):
    benchmark = write_lines(tmp_path / "benchmark.jsonl", [{"question": "1 + 1?"}, {"question": " "}, {}])
    settings = PrepareSettings(sources="suite:5", against=(f"b={benchmark}",), bad="drop")
    prepare.run(settings, tmp_path / "work")
    told = "config.against b: rows left out, with which no problem was compared: 2 no question"
    assert told in capsys.readouterr().out


def test_of_a_benchmark_the_questions_do(tmp_path):
    """It may have no answers, or ones that nobody can grade, and its ids may be anybody's."""
    asked = [problem.question for problem in generate(3, seed=0, split="train")]
    rows = [
        {"id": 0, "question": asked[0]},
        {"id": 0, "question": asked[1], "answer": None},
        {"id": 1, "question": asked[2], "answer": "see above #### "},
    ]
    benchmark = write_lines(tmp_path / "benchmark.jsonl", rows)
    settings = PrepareSettings(sources="suite:5", against=(f"b={benchmark}",))
    report = prepare.run(settings, tmp_path / "work")
    assert report["splits"]["train"]["rows"] == 2
    assert report["left_out"] == {}
    assert [example["other_id"] for example in report["clean"]["examples"]] == ["0", "0", "1"]


def test_how_much_a_program_may_print_is_left_to_the_run(tmp_path):
    answer = json.dumps({"function": "f", "tests": [[[1], "x" * 40_000]]})
    own = write_lines(tmp_path / "own.jsonl", [{"question": "Write f, that makes text.", "answer": answer}])
    report = prepare.run(PrepareSettings(sources=str(own), task="code"), tmp_path / "work")
    assert report["splits"]["train"]["rows"] == 1


@pytest.mark.parametrize("option", ["", "known"])
def test_answers_known_to_be_wrong_are_told_of_or_mended(tmp_path, capsys, option):
    line = json.loads(KNOWN.read_text(encoding="utf-8").splitlines()[0])
    row = {"id": "w", "question": line["question"], "answer": "999"}
    own = write_lines(tmp_path / "own.jsonl", [row, *ODD[:1]])
    heldout = write_lines(tmp_path / "heldout.jsonl", [{**row, "id": "h"}])
    settings = PrepareSettings(sources=str(own), heldout=str(heldout), corrections=option)
    report = prepare.run(settings, tmp_path / "work")
    assert report["known_wrong"] == {"sources": ["w"], "heldout": ["h"]}
    what = "corrected" if option else "--config.corrections=known mends them"
    assert f"config.heldout: 1 with answers known to be wrong (h): {what}." in capsys.readouterr().out
    (problem,) = load(tmp_path / "work", "heldout")
    assert problem.answer == (line["answer"] if option else "999")
