"""One question: a policy, optionally a PPM, and a search that can be watched and left at any moment.

There is no reference answer: nothing is graded, answers are valued by the PPM and by how many trajectories
reach them.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rstar_jax import weights
from rstar_jax.errors import UserError
from rstar_jax.inference import Reasoner, StepText, devices
from rstar_jax.plan.texts import Prompts, demand
from rstar_jax.queues import Batched
from rstar_jax.report.status import Status
from rstar_jax.report.transcript import Transcript
from rstar_jax.search import Queues, SearchConfig, SearchEvent, votes, watch_trees
from rstar_jax.search.contract import SearchStats
from rstar_jax.search.strategies import strategy_of
from rstar_jax.solve.chosen import ModelFolders, chosen
from rstar_jax.solve.settings import SolveSettings
from rstar_jax.solve.stop import Stop, Stopped
from rstar_jax.tasks import Checker, Role, Task
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Grade, GradeRequest, Problem, Tree

_WHY = {
    "rollouts": "ended",
    "exhausted": "had nothing left to expand",
    "tokens": "had spent its tokens",
    "seconds": "had spent its time",
    "vote": "was settled",
}


def run(settings: SolveSettings, workdir: Path) -> int:
    """Searches for an answer, prints each accepted step as it comes and then the answer with its support.

    1. find the models, open the sandbox
    2. search, until it ends or somebody asks it to stop
    3. say what was found

    workdir: keeps what programs did, for a question that is asked again.

    Returns 0, or 1 if no trajectory ended in an answer. Raises UserError for bad input; the KeyboardInterrupt
    of a signal that came during the search, after the best answer so far.
    """
    began = time.monotonic()
    problem = Problem("question", settings.question.strip(), "")
    if not problem.question:
        raise UserError(
            f"config.question: {settings.question!r} given, a question expected. "
            "For example --config.question='What is 2 plus 3?'"
        )
    found = chosen(settings)  # 1
    try:
        strategy = strategy_of(settings.search, ppm=found.ppm is not None)
    except UserError as error:  # before the models are loaded
        raise UserError(f"config.{error}") from None
    devices.require(settings.decode)
    # A slot that no leaf may ever sit in is decoded like the others.
    leaves = max(min(settings.decode.leaves, strategy.leaves(settings.search)), settings.decode.halves)
    status = Status(sys.stderr, interval=None if settings.show == "answer" else 10.0)
    with settings.verify.make_sandbox(workdir) as sandbox, status:
        task = _task(settings, problem)
        prompt = _require_fit(found, task, settings.prompt, problem.question, settings.decode.context)
        asked = (settings.search, 1, Prompts(prompt, prompt, prompt))
        script = Transcript(
            sys.stdout,
            settings.show,
            task.grammar,
            lambda: time.monotonic() - began,
            status.clear,
        )
        if settings.show != "answer":
            script.say(f"policy: {found.policy}\nppm: {found.ppm or 'none'}")
            script.say(f"search: {settings.search.strategy}\nquestion: {problem.question}\n")
        status.doing = "loading the models"
        reasoner = Reasoner(
            found.policy,
            found.ppm,
            Checker(task, sandbox),
            role=settings.prompt,
            decode=dataclasses.replace(settings.decode, leaves=leaves),
            dtype=settings.dtype,
            seed=settings.seed,
            ppm_scale=1.0 if found.ppm_value == "tanh" else 5.0,  # as it was trained
            demand=demand([asked], settings.decode.context),
        )
        # There is no reference to look at.
        queues = dataclasses.replace(reasoner.queues(0), grade=Batched(_ungraded))
        status.doing, status.tokens = "reading the question", lambda: reasoner.tokens
        reasoner.on_compile(status.compiles)
        equal = functools.partial(reasoner.same, problem)
        return watched(problem, queues, settings.search, script, equal, status)


def watched(
    problem: Problem,
    queues: Queues,
    search: SearchConfig,
    script: Transcript,
    equal: votes.Equal,
    status: Status | None = None,
) -> int:
    """A search that a transcript is told of, and that a signal ends with the best answer so far; as `run`.

    status: is told how far it is.
    """
    latest: SearchEvent | Tree | None = None
    quiet_until = 0.0

    def so_far(told: SearchEvent | Tree) -> Tree:
        return told if isinstance(told, Tree) else told.tree()

    def election(tree: Tree) -> list[votes.Class]:
        return votes.election(tree, search.vote, top_k=search.top_k, equal=equal, scores=search.scores)

    with Stop() as stop:

        def progress(stats: SearchStats) -> None:
            stop.heed()
            if status is not None and stats.expansions:
                status.note = f"rollout {stats.rollouts + 1}, {stats.nodes} steps"

        try:
            for _, latest in watch_trees([problem], queues, search, round=0, on_progress=progress):  # 2
                if isinstance(latest, Tree):
                    continue
                script.expanded(latest.leaf, latest.children)
                if (began := time.monotonic()) >= quiet_until:
                    script.leads(election(latest.tree()))
                    now = time.monotonic()
                    quiet_until = now + 20 * (now - began)  # in a large tree a vote takes its time
        except Stopped:
            pass
        found = None if latest is None else so_far(latest)  # 3
        classes = [] if found is None else election(found)
        if found is None:
            script.say("no answer: stopped before the first step.")
        else:
            script.concludes(found, classes, "was stopped" if stop.signal else _WHY[found.ended])
    stop.go_on()
    return 0 if classes else 1


def _ungraded(requests: Sequence[GradeRequest]) -> list[Grade]:
    return ["ungraded"] * len(requests)


def _task(settings: SolveSettings, problem: Problem) -> Task:
    task = settings.verify.make_task()
    try:
        task.require(problem)
    except UserError as error:
        raise UserError(
            f"config.verify.task: '{settings.verify.task}' given, whose problems say how they are checked, "
            "which a question alone does not. Take math."
        ) from error
    return task


def _require_fit(found: ModelFolders, task: Task, role: Role, question: str, room: int) -> int:
    """Tokens of the policy's prompt. Refuses a question that leaves no step any room, for either model, and a
    PPM that cannot read steps."""
    tokenizer = Tokenizer.load(weights.tokenizer_folder(found.policy), task.grammar)
    lengths = {"its prompt": len(tokenizer.encode_prompt(task.prompt(question, role)))}
    if found.ppm is not None:
        try:
            prompt = functools.partial(task.prompt, role="ppm")
            reader = StepText.checked(found.ppm, tokenizer, prompt)
        except UserError as error:
            raise UserError(f"config.ppm: {error}") from error
        lengths["the PPM's prompt"] = len(reader.prefix(question, ()))
    for what, length in lengths.items():
        if length >= room:
            raise UserError(
                f"config.decode.context: {room} tokens given, but the question with {what} has "
                f"{length}. Raise it to that and a solution's, or ask a shorter one."
            )
    return lengths["its prompt"]
