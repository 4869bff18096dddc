"""Specifications are divided into their parts; what has no such form is named."""

import pytest

from rstar_jax.data.specification import SourcePart, parse
from rstar_jax.errors import UserError


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("240", [("suite", "240", 1.0)]),
        ("suite:240", [("suite", "240", 1.0)]),
        ("own.jsonl", [("file", "own.jsonl", 1.0)]),
        ("a+b*2.jsonl", [("file", "a+b*2.jsonl", 1.0)]),
        ("jsonl:a+b.jsonl", [("jsonl", "a+b.jsonl", 1.0)]),
        ("suite:100+jsonl:F*0.5", [("suite", "100", 1.0), ("jsonl", "F", 0.5)]),
        ("9*.5+parquet:a b.parquet", [("suite", "9", 0.5), ("parquet", "a b.parquet", 1.0)]),
        ("C:/x.jsonl", [("file", "C:/x.jsonl", 1.0)]),
    ],
)
def test_parts(spec, parts):
    assert [(part.kind, part.name, part.share) for part in parse(spec, "o")] == parts


def test_sets_have_configs_and_splits():
    assert parse("hf:openai/gsm8k:train", "o") == (
        SourcePart("hf", "openai/gsm8k", split="train", text="hf:openai/gsm8k:train"),
    )
    (part,) = parse("hf:/data/x:main:test[:10]", "o")
    assert (part.name, part.config, part.split) == ("/data/x", "main", "test[:10]")
    (part,) = parse("tfds:/data/x/1.0.0/train", "o")
    assert (part.name, part.split) == ("/data/x/1.0.0", "train")


def test_a_suite_may_be_of_some_levels():
    found = [parse(spec, "o")[0] for spec in ("9", "suite:9", "suite:9:3", "suite:9:2-3*.5")]
    assert [part.levels for part in found] == [(1, 2, 3), (1, 2, 3), (3,), (2, 3)]
    assert {part.name for part in found} == {"9"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("suite:many", "suite:NUMBER or"),
        ("suite:9:", "suite:NUMBER:LEVELS expected"),
        ("suite:9:4", "suite:NUMBER:LEVELS expected"),
        ("suite:9:3-2", "suite:NUMBER:LEVELS expected"),
        ("suite:9:1,3", "its levels are 1 to 3"),
        ("jsonl:F*2", "a share of its rows above 0 and up to 1"),
        ("jsonl:F*0", "a share"),
        ("hf:openai/gsm8k", "hf:NAME:SPLIT"),
        ("hf:a:b:c:d", "hf:NAME:SPLIT"),
        ("suite:1+tfds:x", "'tfds:x' given, tfds:NAME/SPLIT"),
    ],
)
def test_other_forms_are_named(spec, message):
    with pytest.raises(UserError, match=rf"^o: .*{message}"):
        parse(spec, "o")


def test_a_file_is_itself_whatever_its_name_looks_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("suite:1+jsonl:x", "half*0.5", "7"):
        (tmp_path / name).write_text("")
    assert [part.kind for part in parse("suite:1+jsonl:x", "o")] == ["file"]
    assert [part.name for part in parse("half*0.5", "o")] == ["half*0.5"]
    assert [part.name for part in parse("jsonl:half*0.5", "o")] == ["half*0.5"]
    assert [part.kind for part in parse("7", "o")] == ["suite"]
