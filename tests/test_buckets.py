"""Every option that takes a path takes a bucket's URL, and none makes a folder of that name here."""

import json
from pathlib import Path

import jax
import pytest

from rstar_jax import kept_programs, records, stores
from rstar_jax.data.load import load_problems
from rstar_jax.data.specification import parse
from rstar_jax.errors import UserError
from rstar_jax.evolve import judge, rounds
from rstar_jax.evolve.judge_settings import JudgeSettings
from rstar_jax.launch import main
from rstar_jax.mirror import fetch
from rstar_jax.weights import TINY_BASE, model_hash

NOWHERE = "memory://nowhere/x"
SUITE = "--config.problems.train=4", "--config.problems.heldout=2"
ROW = {"question": "1+1?", "answer": "2", "prompt": "1+1?", "chosen": "2", "rejected": "3"}
# By config: options that take a path, with those that have it read.
PATHS = {
    "quickstart": {
        **{f"problems.{name}": () for name in ("train", "heldout", "corrections")},
        **{f"policy.{name}": SUITE for name in ("init", "bootstrap", "ppm")},
    },
    "sft": {
        "rows": (),
        "heldout": ("--config.rows=rows.jsonl",),
        "policy.init": ("--config.rows=rows.jsonl",),
    },
    "ppm": {
        "rows": (),
        "heldout": ("--config.rows=rows.jsonl",),
        "policy.init": ("--config.rows=rows.jsonl",),
    },
    "prepare_problems": {
        "sources": (),
        "heldout": ("--config.sources=4",),
        "against": ("--config.sources=4",),
    },
    "synthesise": {"seeds": (), "against": (), "policy": (), "writer": ()},
    "evaluate": {"data": (), "benchmarks": (), "policy": (), "ppm": (), "run": (), "corrections": ()},
    "judge": {"ppm": (), "predictions": ()},
    "solve": {
        "policy": ("--config.question=1+1?",),
        "ppm": ("--config.question=1+1?",),
        "questions": (),
        "run": ("--config.question=1+1?",),
    },
    "export": {"source": ()},
    "compare": {"runs": ()},
}
CASES = [(name, option, more) for name, options in PATHS.items() for option, more in options.items()]


@pytest.mark.parametrize(("name", "option", "more"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_nothing_there(name, option, more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("rows.jsonl").write_text(json.dumps(ROW) + "\n")
    given = f"{NOWHERE},{NOWHERE}" if option == "runs" else NOWHERE
    status = main(
        [f"--config={name}", f"--config.{option}={given}", *more, "--compiled=none", "--workdir=run"]
    )
    told = capsys.readouterr().err
    assert status == 2 and f"config.{option}" in told and NOWHERE in told and "nothing there" in told, told
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "cache", "rows.jsonl"}


@pytest.mark.parametrize(("benchmark", "option"), [("processbench", "data"), ("trees", "trees")])
def test_nothing_there_to_judge(benchmark, option, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"config.{option}: {NOWHERE}: nothing there"):
        judge._source(JudgeSettings(**{option: NOWHERE}), benchmark)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A store, and its URL; nothing was fetched of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fetch.cache_clear()
    url = f"memory://bucket/{tmp_path.name}"
    return stores.store(url), url


@pytest.mark.parametrize("spec", ["{}/a.jsonl", "jsonl:{}/a.jsonl", "{}", "jsonl:{}/a.jsonl*0.5+suite:1"])
def test_problems_are_read_from_a_bucket(spec, bucket, tmp_path):
    store, url = bucket
    rows = [{"question": f"{n}+1?", "answer": str(n + 1)} for n in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    store.write("a.jsonl", text.encode())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jsonl").write_text(text)
    read = [load_problems(spec.format(root), split="train", seed=0) for root in (url, tmp_path / "here")]
    assert [p.question for p in read[0]] == [p.question for p in read[1]] and len(read[0])


def test_sets_in_buckets_are_named_like_those_in_folders():
    (hub,) = parse("hf:gs://bucket/set:main:train[:10]", "config.problems.train")
    assert (hub.name, hub.config, hub.split) == ("gs://bucket/set", "main", "train[:10]")
    (prepared,) = parse("tfds:s3://bucket/set/train", "config.problems.train")
    assert (prepared.name, prepared.split) == ("s3://bucket/set", "train")


def test_a_model_is_read_from_a_bucket_and_its_weights_when_somebody_asks(bucket):
    store, url = bucket
    for path in TINY_BASE.iterdir():
        store.write(f"model/{path.name}", path.read_bytes())
    folder = rounds.base_folder(f"{url}/model")
    assert folder.name == "model" and not (folder / "model.safetensors").exists()
    assert model_hash(folder) == model_hash(TINY_BASE)
    assert (folder / "model.safetensors").read_bytes() == (TINY_BASE / "model.safetensors").read_bytes()


def test_what_was_fetched_is_fetched_again_only_where_it_has_changed(bucket, monkeypatch):
    store, url = bucket
    store.write("data/a", b"1")
    store.write("data/b", b"2")
    folder, got = fetch(f"{url}/data"), []
    get = stores.BucketStore.get
    monkeypatch.setattr(
        stores.BucketStore, "get", lambda self, name, file: got.append(name) or get(self, name, file)
    )
    store.write("data/b", b"changed")
    store.remove("data/a")
    fetch.cache_clear()
    assert fetch(f"{url}/data") == folder and got == ["b"]
    assert [path.name for path in folder.iterdir()] == ["b"] and (folder / "b").read_bytes() == b"changed"


def test_no_file_is_written_to_a_path_that_looks_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a bucket's URL"):
        records.write_json(Path("gs://bucket/a.json"), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memory://bucket/compiled", "memory://bucket/compiled: a folder, gs:// or s3:// expected"),
        pytest.param("s3://bucket-none/compiled", "no bucket s3://bucket-none", marks=pytest.mark.buckets),
    ],
)
def test_compiled_programs_are_not_kept_where_nobody_can_read_them(url, told, request, caplog):
    if url.startswith("s3"):
        request.getfixturevalue("s3")
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        kept_programs.keep(url)
        assert "compiled programs are not kept" in caplog.text and told in caplog.text
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
