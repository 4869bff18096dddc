"""Rows of ProcessBench and PRMBench, as they are published and as problem sets have them."""

import json
import os
from collections import Counter

import pytest

from rstar_jax.data.specification import parse
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.readers import CLASSES, SUBSETS, read_samples, source_of

ROW = {"id": "math-7", "problem": "What is 1+1?", "steps": ["One.", "So 3."], "label": 1, "generator": "x"}
PUBLISHED = {
    "idx": "prm_test_p1_0",
    "original_question": "Q?",
    "modified_question": "Q now?",
    "original_process": ["1. a"],
    "modified_process": ["1. a", "Step 2. b", "c"],
    "error_steps": [2, 9],
    "classification": "circular",
}
COLUMNS = {
    "id": "prmbench/prm800k_test_p1_4o_circular/prm_test_p1_0/0",
    "problem": "Q now?",
    "steps": ["1. a", "Step 2. b", "c"],
    "error_steps": [2, 9],
    "subject": "circular",
}


def written(folder, name, *rows):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_row_of_processbench(tmp_path):
    source = written(tmp_path, "processbench", ROW, ROW | {"id": "processbench/gsm8k-0", "label": -1})
    wrong, right = read_samples("processbench", source)
    assert (wrong.id, wrong.part, wrong.errors) == ("math-7", "math", (1,))
    assert (right.id, right.part, right.errors) == ("gsm8k-0", "gsm8k", ())
    assert wrong.steps == ("One.", "So 3.") and wrong.problem == right.problem
    assert source_of("processbench", str(tmp_path)) == source


def test_both_forms_of_prmbench_are_one_sample_without_numbers_of_steps(tmp_path):
    (one,) = read_samples("prmbench", written(tmp_path, "a", PUBLISHED))
    (other,) = read_samples("prmbench", written(tmp_path, "b", COLUMNS))
    (hub,) = read_samples("prmbench", written(tmp_path, "c", PUBLISHED | {"idx": "circular_prm_test_p1_0"}))
    assert one == other == hub
    assert one.id == "circular_prm_test_p1_0" and one.steps == ("a", "b", "c")
    assert one.errors == (1,)  # there is no ninth step


def test_of_samples_that_occur_twice_the_first_counts_in_prmbench_and_none_in_processbench(tmp_path):
    twice = written(tmp_path, "prmbench", PUBLISHED, PUBLISHED | {"modified_process": ["z", "z"]})
    assert [sample.steps for sample in read_samples("prmbench", twice)] == [("a", "b", "c")]
    with pytest.raises(UserError, match=r":2: id 'math-7' stands in an earlier row"):
        list(read_samples("processbench", written(tmp_path, "processbench", ROW, ROW)))


def test_a_limit_takes_so_many_of_both_kinds_of_each_subset(tmp_path):
    rows = [
        ROW | {"id": f"{subset}-{i}", "label": i % 2 - 1} for subset in ("gsm8k", "math") for i in range(10)
    ]
    found = list(read_samples("processbench", written(tmp_path, "processbench", *rows), limit=2))
    assert Counter((s.part, s.errors) for s in found) == {
        (p, e): 2 for p in ("gsm8k", "math") for e in ((), (0,))
    }


@pytest.mark.parametrize(
    ("name", "row", "change", "told"),
    [
        ("processbench", ROW, {"label": None}, "label is None, a whole number"),
        ("processbench", ROW, {"label": 2}, "label is 2; the first wrong of 2 steps"),
        ("processbench", ROW, {"label": True}, "label is True"),
        ("processbench", ROW, {"id": "aime-3"}, "one such as 'gsm8k-0'"),
        ("processbench", ROW, {"steps": "One. So 3."}, "steps is 'One. So 3.', a list of step texts"),
        ("processbench", ROW, {"steps": []}, "steps is [], a list of step texts"),
        ("processbench", {"question": "Q", "answer": "1"}, {}, "id is None, text expected. The row has"),
        ("prmbench", PUBLISHED, {"classification": "circle"}, "classification is 'circle', one of redund"),
        ("prmbench", PUBLISHED, {"error_steps": [0]}, "error_steps is [0], a list of steps from 1 on"),
        ("prmbench", COLUMNS, {"subject": None}, "subject is None, text expected"),
    ],
)
def test_a_row_of_another_schema_is_named_by_file_line_and_field(tmp_path, name, row, change, told):
    source = written(tmp_path, name, row | change)
    with pytest.raises(UserError) as error:
        list(read_samples(name, source))
    assert str(error.value).startswith(f"{source}:1: ") and told in str(error.value)


def test_a_folder_without_the_file_names_what_is_expected(tmp_path):
    for data in ("", str(tmp_path)):
        with pytest.raises(UserError, match=r"config.data: .*processbench.jsonl.*label.*hf:"):
            source_of("processbench", data)
    parts = [parse(source_of(name, "hf:"), "config.data") for name in ("processbench", "prmbench")]
    assert [[(part.name, part.split) for part in each] for each in parts] == [
        [("Qwen/ProcessBench", subset) for subset in SUBSETS],
        [("hitsmy/PRMBench_Preview", "train")],
    ]
    (tmp_path / "prmbench.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no rows in it"):
        list(read_samples("prmbench", source_of("prmbench", str(tmp_path))))


FOLDER = os.environ.get("RSTAR_DATA_DIR", "")


@pytest.mark.external
@pytest.mark.skipif(not FOLDER, reason="RSTAR_DATA_DIR is unset")
def test_the_real_benchmarks_are_read_whole():
    found = Counter(
        (s.part, bool(s.errors)) for s in read_samples("processbench", source_of("processbench", FOLDER))
    )
    right = {"gsm8k": 193, "math": 406, "olympiadbench": 339, "omnimath": 241}
    assert {part: found[part, False] for part in SUBSETS} == right and sum(found.values()) == 3400
    steps = Counter(s.part for s in read_samples("prmbench", source_of("prmbench", FOLDER)))
    assert set(steps) == set(CLASSES) and sum(steps.values()) == 6211  # five of 6,216 occur twice
