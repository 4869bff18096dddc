"""Answers of hosts that search together: who goes on with a block finds what others have left for it."""

from rstar_jax.queues import call
from rstar_jax.served import journal
from rstar_jax.served.journal import Journal
from rstar_jax.served.journals import Journals, left_by_teams
from rstar_jax.served.requests import Continuation, group_of
from tests.served.conftest import request


def said(k):
    return [Continuation(f"text {k}", "<end>", -0.5, k, "")]


def test_who_takes_a_block_over_finds_its_answers_and_changes_none(tmp_path):
    first, second = Journals(tmp_path, "a"), Journals(tmp_path, "b")
    first.begin("trees-0-00001", 7)
    first.begin("trees-0-00002", 8)
    first.add(100, 7, 0, said(1))
    first.add(200, 8, 0, said(2))
    (segment,) = (tmp_path / "trees-0-00001/a").glob("*.journal")
    with open(segment, "ab") as file:
        file.write(b"what a killed process was wri")
    before = segment.read_bytes()
    second.begin("trees-0-00001", 7)
    assert second.get(100) == [(0, said(1))] and second.get(200) == []
    second.add(101, 7, 0, said(3))
    assert segment.read_bytes() == before
    third = Journals(tmp_path, "c")
    third.begin("trees-0-00001", 9)
    assert third.get(101) == [(0, said(3))] and third.get(100) == [(0, said(1))]
    for journals in (first, second, third):
        journals.close()


def test_a_block_s_journal_goes_once_its_trees_are_there(tmp_path):
    journals = Journals(tmp_path, "a")
    journals.begin("x-00000", 1)
    journals.begin("x-00000", 2)
    journals.add(10, 1, 0, said(1))
    journals.settle([1, 99])
    assert (tmp_path / "x-00000/a").exists()
    journals.settle([2])
    assert not (tmp_path / "x-00000/a").exists()
    journals.add(11, 1, 0, said(2))  # what still comes for what is done
    journals.begin("x-00000", 3)
    assert journals.get(11) == [] and (tmp_path / "x-00000/a").exists()
    journals.close()


def test_another_host_s_journal_may_go_while_it_is_read(tmp_path, monkeypatch):
    first, segments = Journals(tmp_path, "a"), journal._segments

    def gone(folder):
        found = segments(folder)
        if folder.name == "a":
            first.settle([7])  # its tree is on disk by now
        return found

    for name, listed in (("b", gone), ("c", segments)):
        first.begin("x-00000", 7)
        first.add(10, 7, 0, said(1))
        monkeypatch.setattr(journal, "_segments", listed)
        other = Journals(tmp_path, name)
        other.begin("x-00000", 8)
        first.settle([7])
        assert other.get(10) == [] and not (tmp_path / "x-00000/a").exists()
        other.close()


def test_one_host_finds_what_several_left_and_the_reverse(tmp_path):
    several = Journals(tmp_path, "a")
    several.begin("x-00000", 1)
    several.add(10, 1, 0, said(1))
    several.close()
    one = Journal(tmp_path, left_by_teams(tmp_path))
    assert one.get(10) == [(0, said(1))]
    one.add(20, 5, 0, said(2))
    one.close()
    again = Journals(tmp_path, "b")
    again.begin("x-00004", 5)
    assert again.get(20) == [(0, said(2))]
    again.close()


def test_a_host_asks_nothing_again_that_a_dead_one_was_answered(server, ask, tmp_path):
    questions = [request(i, n=2, owner=f"t/{i}") for i in range(4)]
    asked = []
    for host in ("dead", "next"):
        policy = ask(server.address, journal=tmp_path, host=host)
        for i, one in enumerate(questions):
            policy.begin(f"t-0000{i % 2}", one.owner)
        found = call(policy, questions[: 3 if host == "dead" else 4])
        policy.close()
        asked.append((policy.stats()["requests"], policy.stats()["known"], [c[0].text for c in found]))
    assert asked[1][1] == 3 and asked[0][2] == asked[1][2][:3]
    assert group_of("t/1") != group_of("t/2")
