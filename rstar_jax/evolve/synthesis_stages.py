"""The stages of a synthesis after the writing: drop what is not new, solve, keep where solutions agree."""

from __future__ import annotations

import dataclasses
import functools
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_jax import parquet, records
from rstar_jax.data.clean import clean
from rstar_jax.data.form import content_id
from rstar_jax.data.problem_set import StoredProblems
from rstar_jax.errors import UserError
from rstar_jax.evolve import joint_search
from rstar_jax.evolve.context import policy_hash
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.evolve.synthesis import Synthesis, Written, asked, of_all, room
from rstar_jax.evolve.writing_stage import NEW
from rstar_jax.queues import Batched
from rstar_jax.report import results
from rstar_jax.report.progress import TimeLeft
from rstar_jax.search import votes
from rstar_jax.tasks import Checker
from rstar_jax.types import Grade, Problem, Tree

_EXAMPLES = 5
_SOLUTIONS = "trees-0"  # what their files begin with
_UNGRADED = "?"  # stands for the answer that a problem does not have yet


def clean_new(synthesis: Synthesis, folder: Path) -> dict[str, Any]:
    """Drop what a seed, a benchmark or an earlier problem asks. Answers are not known yet: questions alone
    are compared."""
    asked, places = StoredProblems(), array("q")  # of all rows, those that are problems
    for place, row in enumerate(_rows(synthesis.folder("written"), NEW)):
        if not row.fault:
            asked.add(Problem(row.id, row.question, _UNGRADED))
            places.append(place)
    if not len(asked):
        raise UserError(
            f"{synthesis.settings.writer_option}: none of {synthesis.settings.count:,} texts ended as a "
            "problem. Let a model write that follows instructions, or raise --config.most_tokens."
        )
    known: dict[str, Sequence[Problem]] = {"seeds": synthesis.seeds}
    if synthesis.against:
        known["against"] = synthesis.against
    with synthesis.progress.stage("clean", None, "problems"):
        cleaned = clean(asked, known, synthesis.settings.clean)
    for line in cleaned.report.lines():
        synthesis.progress.log(line)
    kept = {places[int(i)] for i in cleaned.kept}
    first = 0
    for path in sorted(synthesis.folder("written").glob(f"{NEW}-*.parquet")):
        rows = parquet.read_rows(path, Written)
        new = [row for place, row in enumerate(rows, first) if place in kept]
        parquet.write_rows(folder / path.name.replace(NEW, "kept"), Written, new)
        first += len(rows)
    return results.to_json(cleaned.report)


def _rows(folder: Path, name: str) -> Iterator[Written]:
    for path in sorted(folder.glob(f"{name}-*.parquet")):
        yield from parquet.read_rows(path, Written)


def _kept(synthesis: Synthesis) -> Iterator[Written]:
    """The new problems that the solver has room for."""
    fits = room(synthesis, synthesis.solver, synthesis.task)
    role = synthesis.settings.prompt
    for row in _rows(synthesis.folder("cleaned"), "kept"):
        if fits(synthesis.task.prompt(row.question, role)):
            yield row


def _shards(synthesis: Synthesis, folder: Path, index: int = 0, count: int = 1) -> tuple[Shards, int]:
    """The files of the solutions, and of how many problems. index, count: as of `Shards`."""
    problems = StoredProblems(Problem(row.id, row.question, "") for row in _kept(synthesis))
    source = Source(0, seed=synthesis.settings.seed, policy=policy_hash(synthesis.solver))
    shards = Shards(folder, _SOLUTIONS, problems, source, size=synthesis.BLOCK, index=index, count=count)
    return shards, len(problems)


def solve(synthesis: Synthesis, folder: Path) -> dict[str, Any]:
    """Grow a tree of `samples` solutions for each problem; it is on disk as it ends. Every host calls this,
    and returns once all trees are there."""
    s, progress, team = synthesis.settings, synthesis.progress, joint_search.team_of(folder)
    shards, count = _shards(synthesis, folder, team.index, team.count)
    joint_search.meet(shards, team)
    if shards.done == count:
        return {"solved": count, **of_all(folder, {})}
    longest = s.decode.max_step_tokens
    at_work = asked(synthesis, synthesis.solver, synthesis.task, folder, "config.policy", longest)
    with at_work as reasoner, progress.stage("solve", count, "problems", done=shards.done):

        def show(done: int, trajectories: int, left: TimeLeft) -> None:
            progress.update(done, trajectories=trajectories, tokens=reasoner.tokens, left=left)

        queues = reasoner.queues(0, _SOLUTIONS)
        queues = dataclasses.replace(queues, grade=Batched(_ungraded))  # there is no reference
        stored = functools.partial(reasoner.settled, _SOLUTIONS)
        told: dict[str, Any] = {"on_progress": show, "on_stored": stored}
        if team.count == 1:
            shards.grow(queues, s.search(), **told)
        else:
            told["on_begun"] = functools.partial(reasoner.begins, _SOLUTIONS)
            told["on_wait"] = lambda what: progress.update(doing=what)
            joint_search.grow(shards, queues, s.search(), team, **told)
            progress.update(shards.done, trajectories=shards.trajectories)
        return {"solved": count, **of_all(folder, reasoner.result())}


def _ungraded(requests: Sequence[Any]) -> list[Grade]:
    return ["ungraded"] * len(requests)


def keep(synthesis: Synthesis, folder: Path) -> dict[str, Any]:
    """Write the problems whose solutions agree, and count why others are lost."""
    s, lost, examples = synthesis.settings, Counter[str](), list[dict[str, Any]]()
    shards, count = _shards(synthesis, synthesis.folder("solved"))
    kept, counts = 0, Counter[int]()
    with s.verify.make_sandbox(synthesis.work.root) as sandbox:
        checker = Checker(synthesis.task, sandbox)
        with records.replacing(folder / "problems.jsonl") as path, open(path, "w", encoding="utf-8") as file:
            for tree, row in zip(shards.trees(), _kept(synthesis), strict=True):
                problem, agreed, why = _agreed(synthesis, checker, tree)
                counts[agreed] += 1
                if not why:
                    kept += 1
                    file.write(
                        json.dumps(_as_row(problem, agreed, row, s.samples), ensure_ascii=False) + "\n"
                    )
                    continue
                lost[why] += 1
                if lost[why] <= _EXAMPLES:
                    examples.append({"reason": why, "id": problem.id, "question": problem.question})
        layers = sandbox.layers
    if without := sum(1 for _ in _rows(synthesis.folder("cleaned"), "kept")) - count:
        lost["no room for its question"] = without
    return {
        "kept": kept,
        "lost": dict(lost.most_common()),
        "votes": {str(agreed): counts[agreed] for agreed in sorted(counts)},
        "examples": examples,
        "layers": layers,
    }


def _as_row(problem: Problem, agreed: int, row: Written, samples: int) -> dict[str, Any]:
    """A line of the output: a problem with its votes (the share of all solutions, and how many) and seeds.
    Its id is made of its question, so that those of several syntheses go together."""
    fields = {name: getattr(problem, name) for name in ("question", "answer", "source", "synthetic")}
    return {
        "id": content_id(problem.question),
        **fields,
        "vote": round(agreed / samples, 4),
        "votes": agreed,
        "seeds": list(row.seeds),
    }


def _agreed(synthesis: Synthesis, checker: Checker, tree: Tree) -> tuple[Problem, int, str]:
    """A problem with the answer that most of its solutions come to, how many do, and why it is dropped."""
    same = functools.partial(checker.same, tree.problem)
    classes = votes.election(tree, "majority", equal=same)
    if not classes:
        return tree.problem, 0, "no solution came to an answer"
    first, least = classes[0], synthesis.settings.agree
    problem = dataclasses.replace(tree.problem, answer=first.answer, source="synthesised", synthetic=True)
    if first.count < least:
        return problem, first.count, f"fewer than {least} solutions agree"
    if len(classes) > 1 and classes[1].count == first.count:
        return problem, first.count, "two answers have as many solutions"
    try:
        synthesis.task.require(problem)
    except UserError:
        return problem, first.count, "an answer that cannot be graded"
    return problem, first.count, ""
