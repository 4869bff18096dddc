"""Problems of several sources: ids, repeats and shares."""

from __future__ import annotations

import hashlib
import json

import pytest

from rstar_jax.data.known import Columns
from rstar_jax.data.load import load_problems
from rstar_jax.errors import UserError
from rstar_jax.problems.suite import generate

GOOD = {"id": "a", "question": "1 + 1?", "answer": "2"}


def load(path):
    return list(load_problems(str(path), seed=0, split="train"))


def test_a_mixture_holds_all_its_parts_once(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({**GOOD, "id": str(n)}) for n in range(100)))
    spec = f"suite:20+jsonl:{path}*0.3"
    mixed = load_problems(spec, seed=1, split="heldout")
    assert sorted(p.id for p in mixed if p.source == "suite") == sorted(
        p.id for p in generate(20, seed=1, split="heldout")
    )
    own = [p.id for p in mixed if p.source != "suite"]
    assert len(own) == 30 and own == sorted(own, key=int)
    assert mixed.fingerprint == load_problems(spec, seed=1, split="heldout").fingerprint
    assert mixed.fingerprint != load_problems(spec, seed=2, split="heldout").fingerprint
    with pytest.raises(
        UserError, match=r"jsonl:1: id '0' is already that of .*jsonl:1\. Name each source once\.$"
    ):
        load_problems(f"jsonl:{path}+jsonl:{path}", seed=0, split="train")
    with pytest.raises(UserError, match="problem 1: id 'suite/train/shop/0' is already that of"):
        load_problems("suite:2+suite:3", seed=0, split="train")


@pytest.mark.parametrize("spec", ["suite:6:2+suite:6:2", "suite:6:2+suite:4:1-2", "suite:2:2*0.5+suite:6:2"])
def test_a_suite_given_twice_is_refused_with_option_value_and_way_out(spec):
    option = {"option": "config.problems.heldout", "columns": Columns()}
    with pytest.raises(UserError) as raised:
        load_problems(spec, seed=0, split="train", **option)
    told = str(raised.value)
    assert told.startswith(
        f"config.problems.heldout: {spec!r} given, but {spec.rpartition('+')[2]}: problem "
    )
    assert f"is already that of {spec[:9]}: problem " in told
    assert "give one, of as many" in told and told.endswith("again: --config.problems.bad=drop.")
    found = load_problems(spec, seed=0, split="train", bad="drop", **option)
    assert len({problem.id for problem in found}) == len(found) >= 6


def test_what_a_share_leaves_out_takes_no_others_place(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{i} + 1?", "answer": i + 1}) for i in range(10)))
    assert len(load(f"jsonl:{path}*0.2+jsonl:{path}")) == 10


def test_the_same_question_with_another_answer_is_a_kind_of_its_own(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [("1 + 1?", "2"), ("1 +  1?", "3"), ("1 + 1?", "2"), ("2?", "2")]
    path.write_text("\n".join(json.dumps({"question": q, "answer": a}) for q, a in rows), encoding="utf-8")
    found = load_problems(str(path), seed=0, split="train")
    assert [problem.answer for problem in found] == ["2", "2"]
    assert found.faults.kinds == {"asked before": 1, "asked before, with another answer": 1}
    (example,) = found.faults.examples["asked before, with another answer"]
    assert example.endswith("own.jsonl:2: asks what line 1 does and answers '3', where that has '2'.")


def test_files_that_count_from_the_same_number_get_ids_of_their_questions(tmp_path):
    for name, question in (("a", "1 + 1?"), ("b", "2 + 2?")):
        row = {"id": 0, "question": question, "answer": "2"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    spec = f"jsonl:{tmp_path}/a.jsonl+jsonl:{tmp_path}/b.jsonl"
    with pytest.raises(
        UserError, match=r"id '0' is already that of .*a.jsonl:1.*--config.problems.columns.id=none"
    ):
        load_problems(spec, seed=0, split="train", columns=Columns())
    found = load_problems(spec, seed=0, split="train", columns=Columns(id="none"))
    assert len({problem.id for problem in found}) == 2


def test_contests_that_count_from_one_each_are_told_apart(tmp_path):
    for name in ("aime", "hmmt"):
        row = {"problem_idx": 1, "problem": f"{name}: 1 + 1?", "answer": 2}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    assert len(load(f"jsonl:{tmp_path / 'aime.jsonl'}+jsonl:{tmp_path / 'hmmt.jsonl'}")) == 2


def test_rows_without_an_id_get_one_of_their_question(tmp_path):
    path, told = tmp_path / "own.jsonl", []
    rows = [{"question": q, "answer": "1"} for q in ("One  half?", "one half?", "Two?")]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems = load_problems(str(path), seed=0, split="train", log=told.append)
    second = hashlib.sha256(b"two?").hexdigest()[:20]
    assert [problem.id for problem in problems] == ["q-a410571bf3faaf435950", f"q-{second}"]
    assert (
        "1 of 3 rows left out: 1 asked before" in told[0] and "own.jsonl:2: asks what line 1 does" in told[0]
    )


def test_files_of_a_folder_may_differ_in_form(tmp_path):
    own = [{"problem": "1 + 1?"}, {"problem": "1 + 2?", "answer": "3"}]
    math = {"problem": "3 + 4?", "level": "Level 2", "type": "Algebra", "solution": r"\boxed{7}"}
    (tmp_path / "1.json").write_text(json.dumps(own))
    (tmp_path / "2.json").write_text(json.dumps(math))
    (tmp_path / "3.json").write_text('{"problem": "cut')
    found = load_problems(str(tmp_path), seed=0, split="train", bad="drop")
    assert [problem.answer for problem in found] == ["3", "7"]
