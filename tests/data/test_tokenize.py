"""Rows become token arrays in mapped files: the same ones however they are made, whole or made again."""

import dataclasses
import functools
import threading

import numpy as np
import pytest

from rstar_jax import parquet, records
from rstar_jax.data import row_tokens, tokenize
from rstar_jax.data.row_file import RowFile
from rstar_jax.data.row_tokens import encoded
from rstar_jax.data.solution_tokens import SolutionEncoder
from rstar_jax.data.token_store import TokenStore, batch_of
from rstar_jax.data.tokenize import Share
from rstar_jax.errors import UserError
from rstar_jax.tasks import TASKS
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import SftRow

STEPS = (
    "<code>\n# Step 1: add\nx = {} + 9\n<end_of_step>",
    "\n# Now print the final answer\nprint(x)\n<end_of_code>\n<output>17<end_of_output>",
    "\n<answer>The answer is \\boxed{{17}}<end_of_answer>",
)


def row(i):
    return SftRow(
        f"p{i}", f"What is {i} plus 9?", tuple(step.format(i) for step in STEPS[: 1 + i % 3]), 1, 1, 1
    )


@pytest.fixture(scope="module")
def encoder():
    tokenizer = Tokenizer.train(["add 8 and 9", *STEPS], 300, CODE_STEPS)
    prompt = functools.partial(TASKS["math"]().prompt, role="finetuned")
    return SolutionEncoder(tokenizer, prompt)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A file of 20 rows, of which 6 make a piece."""
    monkeypatch.setattr(row_tokens, "CHUNK", 6)
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, [row(i) for i in range(20)])
    return RowFile(tmp_path / "sft.parquet", SftRow)


def same(store, others):
    assert len(store) == len(others)
    for one, other in zip(store, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]), name
    return True


def test_a_store_holds_what_was_encoded(encoder, rows, tmp_path):
    counts = tokenize.Counter()
    expected = [encoder.arrays(row(i), counts) for i in range(20)]
    done = []
    store = encoded(rows, encoder, dict, folder=tmp_path / "tokens", on_done=done.append)
    assert same(store, expected) and same(encoded([*rows], encoder, dict), expected)
    assert store.lengths.tolist() == [len(one["tokens"]) for one in expected]
    assert store.lengths.dtype == np.int32 and done == [6, 12, 18, 20]
    assert not store[7]["tokens"].flags.owndata and len(store[3:5]) == 2
    with pytest.raises(IndexError):
        store[20]


def test_tokens_that_were_kept_in_another_form_are_not_found(encoder, rows, monkeypatch):
    now = encoder.key(rows)
    monkeypatch.setattr(SolutionEncoder, "form", 1)  # which did not name the question
    assert encoder.key(rows) != now


def test_rows_of_a_question_have_its_number(encoder):
    one, again, other = (encoder.arrays(r, tokenize.Counter()) for r in (row(1), row(1), row(2)))
    assert one["question"] == again["question"] != other["question"] and one["question"].shape == (1,)


def test_what_is_there_is_not_encoded_again(encoder, rows, tmp_path, monkeypatch):
    folder = tmp_path / "tokens"
    first = encoded(rows, encoder, dict, folder=folder)
    calls = []
    arrays = SolutionEncoder.arrays
    monkeypatch.setattr(SolutionEncoder, "arrays", lambda *args: calls.append(args[1]) or arrays(*args))
    assert same(encoded(rows, encoder, dict, folder=folder), first) and not calls
    pieces = sorted(folder.glob("*.arrow"))
    pieces[1].write_bytes(pieces[1].read_bytes()[:-40])  # cut
    next(folder.glob("*.json")).unlink()
    assert same(encoded(rows, encoder, dict, folder=folder), first)
    assert [one.problem_id for one in calls] == [f"p{i}" for i in range(6, 12)]


@pytest.mark.parametrize("changed", ["rows", "tokenizer", "prompt", "room"])
def test_other_rows_or_options_are_encoded_anew(encoder, rows, tmp_path, changed):
    encoded(rows, encoder, dict, folder=tmp_path / "tokens")
    if changed == "rows":
        parquet.write_rows(rows.path, SftRow, [row(i + 1) for i in range(20)])
        rows = RowFile(rows.path, SftRow)
    other = {
        "rows": encoder,
        "tokenizer": dataclasses.replace(encoder, tokenizer=Tokenizer.train([*STEPS], 280, CODE_STEPS)),
        "prompt": dataclasses.replace(encoder, prompt=str.upper),
        "room": dataclasses.replace(encoder, room=40),
    }[changed]
    again = encoded(rows, other, dict, folder=tmp_path / "tokens")
    assert same(again, encoded([*rows], other, dict))
    assert len([*(tmp_path / "tokens").iterdir()]) == 5  # the others are gone


def test_a_changed_byte_is_told_where_it_is_read(encoder, rows, tmp_path):
    store = encoded(rows, encoder, dict, folder=tmp_path / "tokens")
    path = sorted((tmp_path / "tokens").glob("*.arrow"))[2]
    tokens, whole = store[14]["tokens"].tobytes(), bytearray(path.read_bytes())
    whole[whole.index(tokens) + 4] ^= 1
    path.write_bytes(whole)
    store = encoded(rows, encoder, dict, folder=tmp_path / "tokens")
    assert same(store[:14], [encoder.arrays(row(i), tokenize.Counter()) for i in range(14)])
    with pytest.raises(records.Damaged, match=rf"{path.name}.*example 3 differs.*Move it away"):
        store[14]


def test_pieces_of_other_places_and_damaged_headers_are_made_again(encoder, rows, tmp_path):
    folder = tmp_path / "tokens"
    first = encoded([*rows], encoder, dict)
    encoded(rows, encoder, dict, folder=folder)
    one, other = sorted(folder.glob("*.arrow"))[:2]
    whole = one.read_bytes()
    other.write_bytes(whole)
    assert same(encoded(rows, encoder, dict, folder=folder), first)
    for name in (b"crc", b"counts", b"dtype", b"tokens"):  # in the schema, at the beginning and at the end
        one.write_bytes(whole.replace(name, name[::-1]))
        assert same(encoded(rows, encoder, dict, folder=folder), first), name
    index = next(folder.glob("*.json"))
    index.write_text(index.read_text().replace('"pieces": 4', '"pieces": 3'))
    assert same(encoded(rows, encoder, dict, folder=folder), first)


def test_hosts_make_their_shares_and_all_see_all(encoder, rows, tmp_path):
    """Two hosts, as threads: each writes its pieces, and neither goes on before both have."""
    folder, meeting, stores, heard = tmp_path / "tokens", threading.Barrier(2), {}, {0: [], 1: []}
    told = {}

    def led(part):
        def call(work):
            if part == 0:
                told["value"] = work()
            meeting.wait(10)
            value = told["value"]
            meeting.wait(10)
            return value

        return call

    def host(part):
        def encode(chunk, counts):
            heard[part] += chunk["problem_id"].to_pylist()
            yield from encoder(chunk, counts)

        stores[part] = tokenize.tokenized(
            lambda: rows.tables(6),
            encode,
            dict,
            rows=20,
            folder=folder,
            key="k",
            share=Share(part, 2, led(part), lambda: meeting.wait(10)),
        )

    threads = [threading.Thread(target=host, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(stores[0], stores[1]) and same(stores[0], encoded([*rows], encoder, dict))
    assert len(heard[0]) == 12 and len(heard[1]) == 8 and not {*heard[0]} & {*heard[1]}


def test_several_processes_make_the_same_files(encoder, rows, tmp_path, monkeypatch):
    alone = encoded(rows, encoder, dict, folder=tmp_path / "alone")
    monkeypatch.setattr(tokenize, "_ROWS_A_WORKER", 6)
    monkeypatch.setattr(tokenize.os, "sched_getaffinity", lambda _: {0, 1})
    several = encoded(rows, encoder, dict, folder=tmp_path / "several")
    assert same(several, alone)
    for one in (tmp_path / "alone").iterdir():
        assert one.read_bytes() == (tmp_path / "several" / one.name).read_bytes()


def test_what_a_killed_process_had_is_encoded_here(encoder, rows, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tokenize, "_ROWS_A_WORKER", 6)
    monkeypatch.setattr(tokenize.os, "sched_getaffinity", lambda _: {0, 1})
    start = tokenize._Workers.__init__

    def and_kill(self, *args):
        start(self, *args)
        for child in self._all:
            child.kill()
            child.wait()

    monkeypatch.setattr(tokenize._Workers, "__init__", and_kill)
    assert same(encoded(rows, encoder, dict, folder=tmp_path / "t"), encoded([*rows], encoder, dict))
    assert "was killed" in caplog.text


def test_a_row_that_teaches_nothing_is_named(encoder, rows, tmp_path, monkeypatch, caplog):
    nothing = dataclasses.replace(row(2), steps=())
    parquet.write_rows(rows.path, SftRow, [row(1), nothing, *[row(i % 20) for i in range(3000)]])
    monkeypatch.setattr(row_tokens, "CHUNK", 600)
    rows = RowFile(rows.path, SftRow)
    with pytest.raises(UserError, match="'p2': none of its 0 steps"):
        encoded(rows, encoder, dict)
    monkeypatch.setattr(tokenize, "_ROWS_A_WORKER", 1)
    monkeypatch.setattr(tokenize.os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(UserError, match="'p2': none of its 0 steps"):
        encoded(rows, encoder, dict, folder=tmp_path / "tokens")
    assert "was killed" not in caplog.text


def test_cut_solutions_keep_whole_steps_and_no_end(encoder):
    whole = encoder.arrays(row(2), tokenize.Counter())
    stops = {encoder.tokenizer.encode(stop)[-1] for stop in CODE_STEPS.stops}
    for room in range(1, len(whole["tokens"]) + 1):
        counts = tokenize.Counter()
        cut = dataclasses.replace(encoder, room=room).arrays(row(2), counts)
        n = len(cut["tokens"])
        assert all(np.array_equal(cut[name], whole[name][:n]) for name in whole)
        assert counts["truncated"] == (n < len(whole["tokens"]))
        trained = cut["tokens"][cut["trained"]]
        assert trained[-1] in stops and (n <= room or counts["truncated"])


def test_an_encoded_step_whose_ids_are_anothers_is_counted(encoder):
    one = row(0)
    counts = tokenize.Counter()
    encoder.arrays(dataclasses.replace(one, token_ids=((10**6, 5),)), counts)
    encoder.arrays(dataclasses.replace(one, token_ids=((-1,),)), counts)
    assert counts == {"ids_refused": 2}


def test_an_empty_store_and_empty_pieces():
    assert len(TokenStore([], dict)) == 0
    some = [{"tokens": np.arange(3, dtype=np.int32)}]
    store = TokenStore([batch_of([], {}), batch_of(some, {"a": 1}), batch_of([], {"a": 2})], dict)
    assert [len(store), store[0]["tokens"].tolist(), store.counts["a"]] == [1, [0, 1, 2], 3]


def test_a_row_file_is_read_piece_by_piece(rows):
    assert len(rows) == 20 and [*rows] == [row(i) for i in range(20)] and row(3) in rows
    assert rows.sample(5) == [row(i) for i in range(0, 20, 4)] and len(rows.sample(100)) == 20
    assert [*rows.texts("problem_id")] == [f"p{i}" for i in range(20)]
