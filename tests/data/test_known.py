"""Published sets: rows of each one's schema come out as problems, from files and by the library datasets."""

import json

import numpy as np
import pytest

from rstar_jax.data.form import content_id
from rstar_jax.data.known import KNOWN, Columns
from rstar_jax.data.load import load_problems
from rstar_jax.errors import UserError
from rstar_jax.types import Problem

# One row of each set, with its columns as published, and the answer, id, level and source that it has.
CASES = {
    "openai/gsm8k": (
        {"question": "How many clips?", "answer": "48/2 = <<48/2=24>>24 in May.\n#### 1,072"},
        ("1072", content_id("How many clips?"), 0, "openai/gsm8k"),
    ),
    "HuggingFaceH4/MATH-500": (
        {
            "problem": "Convert $(0,3)$.",
            "solution": r"It is $\boxed{(3,\pi/2)}$.",
            "answer": r"\left( 3, \frac{\pi}{2} \right)",
            "subject": "Precalculus",
            "level": 2,
            "unique_id": "test/precalculus/807.json",
        },
        (
            r"\left( 3, \frac{\pi}{2} \right)",
            "MATH-500/test/precalculus/807.json",
            2,
            "HuggingFaceH4/MATH-500/Precalculus",
        ),
    ),
    "EleutherAI/hendrycks_math": (
        {
            "problem": "Find $x$.",
            "level": "Level 5",
            "type": "Algebra",
            "solution": r"First \boxed{1}, no: $x = \boxed{\frac{1}{2}}$.",
        },
        (r"\frac{1}{2}", content_id("find   $X$."), 5, "EleutherAI/hendrycks_math/Algebra"),
    ),
    "AI-MO/NuminaMath-CoT": (
        {
            "source": "aops_forum",
            "problem": "Evaluate.",
            "solution": r"We get \(\boxed{7}\).",
            "messages": [{"content": "Evaluate.", "role": "user"}],
        },
        ("7", content_id("Evaluate."), 0, "AI-MO/NuminaMath-CoT/aops_forum"),
    ),
    "meta-math/MetaMathQA": (
        {
            "type": "GSM_Rephrased",
            "query": "How much?",
            "original_question": "How many?",
            "response": "The answer is near. So 110.\n#### 110\nThe answer is: 110",
        },
        ("110", content_id("How much?"), 0, "meta-math/MetaMathQA/GSM_Rephrased"),
    ),
    "HuggingFaceH4/aime_2024": (
        {"id": 60, "problem": "p", "solution": "s", "answer": "204", "url": "u", "year": "2024"},
        ("204", "aime_2024/60", 0, "HuggingFaceH4/aime_2024"),
    ),
    "math-ai/aime25": (
        {"problem": "p", "answer": "70", "id": "0"},
        ("70", "aime25/0", 0, "math-ai/aime25"),
    ),
    "MathArena/aime_2026": (
        {"problem_idx": 1, "problem": "p", "answer": 277, "problem_type": ["Algebra", "Geometry"]},
        ("277", "aime_2026/1", 0, "MathArena/aime_2026/Algebra"),
    ),
    "MathArena/hmmt_feb_2025": (
        {"problem_idx": 3, "problem": "p", "answer": "\\frac{1}{3}", "problem_type": ["Algebra"]},
        ("\\frac{1}{3}", "hmmt_feb_2025/3", 0, "MathArena/hmmt_feb_2025/Algebra"),
    ),
    "MathArena/hmmt_feb_2026": (
        {"problem_idx": 3, "problem": "p", "answer": "\\frac{1}{3}", "problem_type": []},
        ("\\frac{1}{3}", "hmmt_feb_2026/3", 0, "MathArena/hmmt_feb_2026"),
    ),
    "math-ai/amc23": (
        {"id": 0, "question": "Cities A and B?", "answer": "27.0", "url": "u"},
        ("27.0", "amc23/0", 0, "math-ai/amc23"),
    ),
    "Hothan/OlympiadBench": (
        {
            "id": 1606,
            "question": "Xenia and Sergey?",
            "solution": ["It is 2."],
            "final_answer": ["2", "3"],
            "context": None,
            "modality": "Text-only",
            "difficulty": "Competition",
            "is_multiple_answer": True,
            "unit": None,
            "answer_type": "Numerical",
            "question_type": "Open-ended",
            "subfield": "Combinatorics",
            "subject": "Math",
            "language": "English",
        },
        ("2, 3", "OlympiadBench/1606", 0, "Hothan/OlympiadBench/Combinatorics"),
    ),
    "KbsdJames/Omni-MATH": (
        {
            "domain": ["Mathematics -> Algebra -> Other"],
            "difficulty": 4.6,
            "problem": "p",
            "solution": "s",
            "answer": "9",
            "source": "usamo",
        },
        ("9", content_id("p"), 5, "KbsdJames/Omni-MATH/Mathematics -> Algebra -> Other"),
    ),
    "agentica-org/DeepScaleR-Preview-Dataset": (
        {"problem": "p", "answer": "-\\frac{2}{3}", "solution": "s"},
        ("-\\frac{2}{3}", content_id("p"), 0, "agentica-org/DeepScaleR-Preview-Dataset"),
    ),
    "SynthLabsAI/Big-Math-RL-Verified": (
        {
            "problem": "p",
            "answer": "6",
            "source": "orca_math",
            "domain": ["Mathematics -> Algebra"],
            "llama8b_solve_rate": 0.2,
        },
        ("6", content_id("p"), 0, "SynthLabsAI/Big-Math-RL-Verified/Mathematics -> Algebra"),
    ),
}
# Sets whose files are rows {id, question, answer}, or these without an id, as anybody's may be.
LIKE_ONES_OWN = {
    "openai/gsm8k": "",
    "HuggingFaceH4/aime_2024": "60",
    "math-ai/aime25": "0",
    "math-ai/amc23": "0",
    "agentica-org/DeepScaleR-Preview-Dataset": "",
}


def load(spec, **options):
    return list(load_problems(str(spec), seed=0, split="train", **options))


def facts(problem):
    return problem.answer, problem.id, problem.level, problem.source


def test_every_known_set_has_a_case():
    assert CASES.keys() == KNOWN.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_file_as_downloaded_loads_without_conversion(tmp_path, name):
    row, expected = CASES[name]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (problem,) = load(tmp_path / "rows.jsonl")
    answer, id_, level, source = expected
    if name in LIKE_ONES_OWN:
        id_, source = LIKE_ONES_OWN[name] or id_, ""
    elif name.startswith("MathArena"):
        # Each of these counts from 1, and their rows do not say which one they are of.
        id_ = content_id(row["problem"])
        source = source.replace(name, "MathArena")
    assert facts(problem) == (answer, id_, level, source)


def test_mathematics_as_its_folders_hold_it(tmp_path):
    for number, level in ((10, "Level ?"), (9, "Level 3")):
        row = {**CASES["EleutherAI/hendrycks_math"][0], "problem": f"{number}?", "level": level}
        path = tmp_path / "train" / "algebra" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row, indent=4))
    assert [(p.question, p.level, p.answer) for p in load(tmp_path)] == [
        ("9?", 3, r"\frac{1}{2}"),
        ("10?", 0, r"\frac{1}{2}"),
    ]
    (tmp_path / "train" / "algebra" / "11.json").write_text('{\n "problem": "?"\n}')
    with pytest.raises(UserError, match=r"11\.json: item 1: no 'solution'"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="a folder without"):
        load(tmp_path / "empty")


def test_columns_of_unknown_files(tmp_path):
    working = r"We add one and one to get \boxed{2}."
    row = {"Q": "1 + 1?", "working": working, "n": 4, "grade": "Level 2", "of": "sums"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    columns = Columns(question="Q", answer="working", id="n", level="grade", subject="of")
    assert load(tmp_path / "rows.jsonl", columns=columns) == [Problem("4", "1 + 1?", "2", 2, "sums")]
    with pytest.raises(UserError, match=r"rows.jsonl:1: no 'Q', which is to hold the answer.*it has 'X, ans"):
        (tmp_path / "rows.jsonl").write_text(json.dumps({"X": "1 + 1?", "ans": 2, "question": "1?"}))
        load(tmp_path / "rows.jsonl", columns=Columns(answer="Q"))


def test_columns_are_not_asked_of_a_set_that_has_none_of_them(tmp_path):
    columns = Columns(question="Q", answer="working")
    for name in ("openai/gsm8k", "EleutherAI/hendrycks_math"):
        row, expected = CASES[name]
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))
        assert load(tmp_path / "rows.jsonl", columns=columns)[0].answer == expected[0]


@pytest.mark.datasets
@pytest.mark.parametrize("name", CASES)
def test_a_set_of_the_hub_by_the_library(tmp_path, monkeypatch, name):
    """Of its local files: the library is asked for the name, and is given where its files lie."""
    import datasets

    row, expected = CASES[name]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    asked, loaded = [], datasets.load_dataset

    def local(path, config, split):
        asked.append((path, config, split))
        return loaded("json", data_files={split: [str(tmp_path / "rows.jsonl")]}, split=split)

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset", local)
    problems = load(f"hf:{name}:test", bad="drop")
    assert facts(problems[0]) == expected
    assert asked == [(name, config, "test") for config in KNOWN[name].configs or (None,)]


@pytest.mark.datasets
def test_folders_by_the_library(tmp_path, monkeypatch):
    import datasets

    rows = [{"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(3000)]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "dict"))
    for name in ("files", "saved", "dict"):
        problems = load_problems(f"hf:{tmp_path / name}:test", seed=0, split="train")
        assert [p.answer for p in problems] == [str(n + 1) for n in range(3000)]
    assert len(load(f"hf:{tmp_path / 'files'}:test[:10]")) == 10
    with pytest.raises(UserError, match=r"config\.problems\.train: 'hf:.*' cannot be loaded by datasets"):
        load(f"hf:{tmp_path / 'files'}:nosuch")
    first = datasets.Dataset.iter

    def broken(self, batch_size):
        yield next(iter(first(self, batch_size)))
        raise OSError("the share is gone")

    monkeypatch.setattr(datasets.Dataset, "iter", broken)
    with pytest.raises(UserError, match=r"cannot be loaded by datasets \(OSError: the share is gone"):
        load(f"hf:{tmp_path / 'saved'}:test")


def test_a_library_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"'hf:a/b:train' is read by .* not installed: pip install .*hub"):
        load("hf:a/b:train")


def test_prepared_sets_by_their_folder(tmp_path):
    import tensorflow_datasets as tfds

    class Sums(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            text = tfds.features.Text()
            features = {
                "question": text,
                "answer": text,
                "id": text,
                "level": np.int64,
                "synthetic": np.bool_,
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for n in range(20):
                row = {"question": f"\u221a{n}?", "answer": f"{n}", "id": f"s{n}", "level": n % 4}
                yield n, {**row, "synthetic": n % 2 == 1}

    builder = Sums(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    problems = load(f"tfds:{builder.data_path}/train")
    expected = [Problem(f"s{n}", f"\u221a{n}?", f"{n}", n % 4, "", n % 2 == 1) for n in range(20)]
    assert sorted(problems, key=lambda p: int(p.id[1:])) == expected
    assert len(load(f"tfds:{builder.data_path}/train[:5]")) == 5
    with pytest.raises(UserError, match=r"'tfds:.*nosuch' cannot be loaded by tensorflow-datasets"):
        load(f"tfds:{builder.data_path}/nosuch")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_answer": [None]}, r"1: the answers are \[None\], texts or numbers in a list expected"),
        ({"final_answer": ["2", None]}, "1: the answers are"),
        ({"final_answer": [{"x": 1}]}, "1: the answers are"),
        ({"final_answer": []}, "1: the answers are"),
        ({"subfield": "\ud800"}, r"1: subject holds half a character \('\\ud800'\)"),
    ],
)
def test_what_no_problem_can_be_made_of_is_named(tmp_path, change, message):
    path = tmp_path / "olympiad.jsonl"
    path.write_text(json.dumps({**CASES["Hothan/OlympiadBench"][0], **change}))
    with pytest.raises(UserError, match=message):
        load_problems(str(path), seed=0, split="heldout")
