"""Sets of problems by index: what is put in comes out, slices and shares hold no problem twice."""

import hashlib

from rstar_jax.data import problem_set
from rstar_jax.data.problem_set import Mixture, Selected, StoredProblems, digest, share
from rstar_jax.types import Problem

PROBLEMS = [Problem(f"p{i}", f"{i} + 1? \u221a{i}", str(i + 1), i % 4, "s", bool(i % 2)) for i in range(200)]


def test_what_is_put_in_comes_out_from_memory_and_disk(monkeypatch):
    whole = StoredProblems(PROBLEMS)
    monkeypatch.setattr(problem_set, "_SMALL", 1000)
    for stored in (whole, StoredProblems(PROBLEMS)):
        assert list(stored) == PROBLEMS and len(stored) == 200
        assert [stored[i] for i in (199, 0, -1, 57)] == [PROBLEMS[i] for i in (199, 0, -1, 57)]
        assert list(stored[3:100:7]) == PROBLEMS[3:100:7] and list(stored[::-1]) == PROBLEMS[::-1]
        assert stored[:0][:5].fingerprint == digest([])


def test_a_fingerprint_tells_problems_and_their_order():
    assert (
        StoredProblems(PROBLEMS).fingerprint == Selected(PROBLEMS, range(200)).fingerprint == digest(PROBLEMS)
    )
    as_before = "\n".join(map(repr, PROBLEMS)).encode()  # folders of earlier runs hold such digests
    assert digest(PROBLEMS) == hashlib.sha256(as_before).hexdigest()
    assert len({digest(PROBLEMS), digest(PROBLEMS[::-1]), digest(PROBLEMS[1:])}) == 3


def test_a_share_is_drawn_by_its_seed_and_keeps_the_order():
    places = share(200, 0.5, 3).tolist()
    assert places == sorted(set(places)) and len(places) == 100
    assert places == share(200, 0.5, 3).tolist() != share(200, 0.5, 4).tolist()
    assert share(200, 1.0, 3).tolist() == [*range(200)] and len(share(200, 0.001, 0)) == 1
    assert places[:8] == [1, 3, 4, 5, 6, 8, 11, 13]  # the same for ever: runs go on with it


def test_any_stretch_of_a_mixture_holds_its_parts_by_their_share():
    mixed = Mixture(
        [StoredProblems(PROBLEMS[:150]), StoredProblems(PROBLEMS[150:180]), StoredProblems(PROBLEMS[180:])]
    )
    assert sorted(problem.id for problem in mixed) == sorted(problem.id for problem in PROBLEMS)
    for start in range(0, 180, 20):
        of_first = sum(problem in PROBLEMS[:150] for problem in mixed[start : start + 20])
        assert 14 <= of_first <= 16
