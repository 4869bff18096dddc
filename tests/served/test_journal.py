"""Answers on disk: what earlier processes left, torn ends, and that nothing answered is asked again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from rstar_jax.errors import UserError
from rstar_jax.queues import call
from rstar_jax.served.journal import Journal
from rstar_jax.served.requests import Continuation, key_of
from tests.served.conftest import request


def choices(k: int) -> list[Continuation]:
    return [Continuation(f"text {k}\n\u2028 é", "<end>", -0.25 * k, k, "")] * (1 + k % 2)


def test_answers_come_back(tmp_path):
    path = tmp_path / "answers"
    journal = Journal(path)
    for k in range(50):
        journal.add(k * 2**58, k, k % 3, choices(k))
    journal.close()
    again = Journal(path)
    assert again.answers == 50
    for k in range(50):
        assert (k % 3, choices(k)) in again.get(k * 2**58)
    assert again.get(5) == []
    again.close()


def test_whatever_is_cut_off_the_answers_before_it_stay(tmp_path):
    folder, draw = tmp_path / "answers", random.Random(0)
    journal, path = Journal(folder), folder / "000000.journal"
    ends = [0]
    for k in range(10):
        journal.add(k, 0, 0, choices(k))
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for size in sorted(draw.sample(range(len(whole)), 40)):
        shutil.rmtree(folder)
        folder.mkdir()
        path.write_bytes(whole[:size])
        cut = Journal(folder)
        kept = sum(end <= size for end in ends) - 1
        assert cut.answers == kept
        cut.add(99, 0, 0, choices(99))
        cut.close()
        again = Journal(folder)
        assert again.answers == kept + 1 and again.get(99) == [(0, choices(99))]
        again.close()


def test_a_damaged_line_is_passed_over(tmp_path, caplog):
    journal = Journal(tmp_path)
    for k in range(3):
        journal.add(k, 0, 0, choices(k))
    journal.close()
    path = tmp_path / "000000.journal"
    held = bytearray(path.read_bytes())
    held[held.index(b"text 1") + 5] ^= 1
    path.write_bytes(held)
    again = Journal(tmp_path)
    assert [bool(again.get(k)) for k in range(3)] == [True, False, True]
    assert "damaged" in caplog.text
    again.close()


def test_segments_go_once_what_they_were_for_is_on_disk(tmp_path, monkeypatch):
    """Whatever the order in which groups end, by this process or an earlier one: what is not settled is
    there, and what is takes no more than the segments that others share with it."""
    monkeypatch.setattr("rstar_jax.served.journal.SEGMENT_BYTES", 400)
    draw, lasting, open_, settled = random.Random(0), 7, dict[int, list[int]](), set[int]()
    journal, key = Journal(tmp_path), 0
    for turn in range(300):
        group = draw.choice([lasting, *{turn // 10 * 10 + 10 + i for i in range(10)} - settled])
        journal.add(key, group, 0, choices(key))
        open_.setdefault(group, []).append(key)
        key += 1
        if draw.random() < 0.5 and (ended := [g for g in open_ if g != lasting]):
            gone = draw.choice(ended)
            journal.settle([gone])
            settled.add(gone)
            del open_[gone]
        if draw.random() < 0.05:
            journal.close()
            journal = Journal(tmp_path)
            found = {k for k in range(key) if journal.get(k)}
            assert found >= {k for keys in open_.values() for k in keys}
            journal.settle(settled)  # as a stage says when it begins
    journal.settle(open_.keys() - {lasting})
    journal.close()
    needed = {path for path in tmp_path.iterdir() if b" %016x " % lasting in path.read_bytes()}
    assert 1 < len(needed) < len(list(tmp_path.iterdir())) <= len(needed) + 1  # and the newest
    again = Journal(tmp_path)
    assert all(again.get(k) == [(0, choices(k))] for k in open_[lasting])
    again.settle({*settled, *open_})
    (newest,) = tmp_path.iterdir()
    assert newest.stat().st_size == 0 and not any(map(again.get, range(key)))
    again.close()


def test_a_journal_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "file" / "answers")
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "file")


def test_a_key_is_of_all_that_an_answer_depends_on():
    one = request(1)
    keys = {
        key_of("m", 0, 1.0, one),
        key_of("other", 0, 1.0, one),
        key_of("m", 1, 1.0, one),
        key_of("m", 0, 0.9, one),
        *(key_of("m", 0, 1.0, request(1, **change)) for change in (
            {"n": 2}, {"temperature": 0.1}, {"max_tokens": 3}, {"stops": ("x",)}, {"name": (2, 1)}
        )),
    }  # fmt: skip
    assert len(keys) == 9 and key_of("m", 0, 1.0, request(1)) == key_of("m", 0, 1.0, one)


def test_the_next_process_asks_what_is_unknown_alone(server, ask, tmp_path):
    journal, requests = tmp_path / "answers", [request(i, n=2) for i in range(6)]
    queue = ask(server.address, journal=journal)
    first = call(queue, requests[:4])
    queue.close()
    again = ask(server.address, journal=journal)
    second = call(again, requests)
    assert second[:4] == first and again.stats()["known"] == 4
    assert sorted(met.body["prompt"] for met in server.met) == [f"prompt {i}" for i in range(6)]
    again.close()
    assert call(ask(server.address, journal=journal, seed=5), requests[:1]) != first[:1]


def test_candidates_of_a_leaf_that_came_one_by_one_are_kept_one_by_one(server, ask, tmp_path):
    journal, told = tmp_path / "answers", 0
    server.most = 1
    queue = ask(server.address, journal=journal, slots=1)
    call(queue, [request(0, n=2)])  # it knows now that n is not taken
    ask_more = request(1, n=4)

    async def behave(body):
        nonlocal told
        if body["prompt"] == "prompt 1":
            told += 1
            if told > 2:
                await asyncio.sleep(60)

    server.behave = behave
    queue.submit([ask_more])
    while told < 3:
        queue.poll()
        time.sleep(0.005)
    queue.close()
    told = -100
    before = len(server.met)
    again = ask(server.address, journal=journal, slots=1)
    ((*found,),) = call(again, [ask_more])
    assert len(found) == 4 and len({choice.text for choice in found}) == 4
    assert len(server.met) - before == 2


def test_a_killed_client_asks_no_answered_request_again(server, tmp_path):
    """Killed again and again, by SIGKILL, while requests are under way; the server counts."""
    count, draw = 60, random.Random(1)

    async def behave(body):
        await asyncio.sleep(0.02)

    server.behave = behave
    code = (
        "import sys\n"
        "from rstar_jax.queues import call\n"
        "from rstar_jax.served import ServedConfig, parse\n"
        "from rstar_jax.served.policy import ServedPolicy\n"
        "from tests.served.conftest import request\n"
        "from pathlib import Path\n"
        "queue = ServedPolicy(parse(sys.argv[1], 'x'), ServedConfig(slots=3), journal=Path(sys.argv[2]))\n"
        f"queue.submit([request(i) for i in range({count})])\n"
        f"left = {count}\n"
        "while left:\n"
        "    for _, choices in queue.poll(block=True):\n"
        "        print(choices[0].text, flush=True)\n"
        "        left -= 1\n"
        "queue.close()\n"
    )
    told, kills = set[str](), 0
    while len(told) < count:
        known = {text.partition(" says ")[2].partition(" by ")[0] for text in told}
        met = len(server.met)
        process = subprocess.Popen(
            [sys.executable, "-c", code, server.address, str(tmp_path / "answers")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        stop_at = len(told) + draw.randrange(8, 20) if kills < 3 else 10**6
        seen: set[str] = set()
        text = ""
        for line in process.stdout:
            text += line
            seen = {part for part in text.split("<end_of_step>\n") if part}
            if len(seen) >= stop_at:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
        status = process.wait(30)
        kills += status == -signal.SIGKILL
        assert not known & {one.body["prompt"] for one in server.met[met:]}
        assert told <= seen  # and what was known is known again, word for word
        told = seen
    assert kills == 3
    answered: dict[str, int] = {}
    for met in server.met:
        answered[met.body["prompt"]] = answered.get(met.body["prompt"], 0) + 1
    assert len(answered) == count
    # At a kill three requests at most are in flight, whose answers nobody heard.
    assert len(server.met) <= count + 3 * kills
