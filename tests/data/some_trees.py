"""Trees of any shape for properties: texts of all of Unicode, floats of every kind, fields that are None."""

from typing import get_args

from hypothesis import strategies as st

from rstar_jax.types import Ended, Grade, Node, Origin, Problem, Status, Tree

texts = st.text(st.characters(codec="utf-8"), max_size=12)
floats = st.floats(allow_nan=False) | st.sampled_from([-0.0, 5e-324, float("inf"), -1.0, 1.0])
numbers = st.integers(-(2**63), 2**63 - 1)
ids = st.lists(st.integers(0, 2**31), max_size=4).map(tuple)


@st.composite
def problems(draw):
    return Problem(
        draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)),
        *(draw(texts), draw(texts), draw(st.integers(0, 9)), draw(texts), draw(st.booleans())),
    )


@st.composite
def nodes(draw, before: list[Node]):
    parent = draw(st.integers(0, len(before) - 1)) if before else -1
    return Node(
        parent=parent,
        text=draw(texts) if before else "",
        status=draw(st.sampled_from(get_args(Status))) if before else "ok",
        depth=before[parent].depth + 1 if before else 0,
        visits=draw(st.integers(0, 5)),
        value_sum=draw(floats),
        ppm=draw(st.none() | floats),
        answer=draw(st.none() | texts),
        grade=draw(st.none() | st.sampled_from(get_args(Grade))),
        logprob=draw(floats),
        tokens=draw(st.integers(0, 9)),
        detail=draw(texts),
        cpu_s=draw(floats),
        origin=Origin(draw(st.integers(-1, 9)), draw(st.integers(-1, 9)), 8, draw(st.floats(0, 2))),
        candidate=draw(st.integers(-1, 7)),
        observation=draw(texts),
        token_ids=draw(ids),
    )


@st.composite
def trees(draw):
    made: list[Node] = []
    for _ in range(draw(st.integers(1, 7))):
        made.append(draw(nodes(made)))
    finals = st.lists(st.integers(1, len(made) - 1), max_size=2) if len(made) > 1 else st.just([])
    return Tree(
        problem=draw(problems()),
        round=draw(st.integers(0, 4)),
        tree_index=draw(st.integers(0, 3)),
        rollouts=draw(st.integers(0, 64)),
        nodes=tuple(made),
        ended=draw(st.sampled_from(get_args(Ended))),
        tokens=draw(numbers),
        finals=tuple(draw(finals)),
        seed=draw(numbers),
        policy=draw(texts),
        ppm=draw(texts),
    )
