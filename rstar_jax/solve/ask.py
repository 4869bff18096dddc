"""Questions: a policy, optionally a PPM, and a search that can be watched and left at any moment.

There is no reference answer that a search would see: answers are valued by the PPM and by how many
trajectories reach them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rstar_jax import weights
from rstar_jax.data.problem_set import Selected
from rstar_jax.errors import UserError
from rstar_jax.evolve.run_models import ModelFolders
from rstar_jax.inference import Reasoner, StepText, devices
from rstar_jax.plan.texts import Prompts, demand
from rstar_jax.queues import Batched
from rstar_jax.report.answer import Answer
from rstar_jax.report.answer_list import AnswerList
from rstar_jax.report.events import Begin, Events
from rstar_jax.report.progress import clock_text
from rstar_jax.report.status import Status
from rstar_jax.report.transcript import Transcript
from rstar_jax.search import Queues, SearchEvent, watch_trees
from rstar_jax.search.contract import SearchStats
from rstar_jax.search.strategies import strategy_of
from rstar_jax.settings import to_dict
from rstar_jax.solve.chosen import chosen
from rstar_jax.solve.desk import AnswerDesk, Teller
from rstar_jax.solve.many import AnswerFolder
from rstar_jax.solve.questions import Questions, read_questions
from rstar_jax.solve.settings import SolveSettings
from rstar_jax.stopping import Stop, Stopped
from rstar_jax.tasks import Checker, Task
from rstar_jax.text.grammar import Grammar
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Grade, GradeRequest, Problem, Tree


def run(settings: SolveSettings, workdir: Path) -> int:
    """Searches for answers, tells each accepted step as it comes and then the answer with its support.

    1. read the questions, find the models, open the sandbox
    2. of many, find those that are answered
    3. search, until it ends or somebody asks it to stop; tell what was found

    workdir: keeps what programs did, for a question that is asked again, and the answers to many.

    Returns 0, or 1 if a question came to no answer. Raises UserError for bad input; the KeyboardInterrupt
    of a signal that came during the search, after the best answer so far.
    """
    began = time.monotonic()
    if not settings.questions and not settings.question.strip():  # 1
        raise UserError(
            f"config.question: {settings.question!r} given, a question expected. "
            "For example --config.question='What is 2 plus 3?', or --config.questions=FILE.jsonl for many."
        )
    task = settings.verify.make_task()
    questions = _questions(settings, task)
    found = chosen(settings)
    try:
        strategy = strategy_of(settings.search, ppm=found.ppm is not None)
    except UserError as error:  # before the models are loaded
        raise UserError(f"config.{error}") from None
    devices.require(settings.decode)
    interval = None if settings.show == "answer" and not settings.questions else 10.0
    status = Status(sys.stderr, interval=interval)
    with contextlib.ExitStack() as stack:
        many = AnswerFolder(settings, found, questions, workdir) if settings.questions else None
        left: Sequence[Problem] = questions.problems
        if many is not None:
            stack.enter_context(many)  # 2
            left = many.left
        sandbox = stack.enter_context(settings.verify.make_sandbox(workdir))
        stack.enter_context(status)
        status.doing = "reading the questions"
        prompts = _require_fit(found, task, settings, left)
        seconds = lambda: time.monotonic() - began  # noqa: E731
        teller = _teller(settings, task.grammar, seconds, status.clear, len(questions), len(left))
        teller.begins(_begin(settings, found, questions, len(left), many))
        desk = AnswerDesk(
            settings.search,
            task.grammar,
            teller,
            seconds,
            equal=lambda *_: False,
            grade=lambda *_: "ungraded",
            keep=many.answers.add if many else lambda _: None,
            total=len(questions),
            earlier=len(questions) - len(left),
            had_none=many.unanswered if many else 0,
        )
        if not len(left):
            return desk.end(stopped=False)
        # A slot that no leaf may ever sit in is decoded like the others.
        most = strategy.leaves(settings.search) * min(settings.search.batch, len(left))
        leaves = max(min(settings.decode.leaves, most), settings.decode.halves)
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
            demand=demand([(settings.search, len(left), prompts)], settings.decode.context),
        )
        desk.equal = reasoner.same
        desk.grade = lambda problem, answer: reasoner.grade([(problem, answer)])[0]
        # There is no reference to look at.
        queues = dataclasses.replace(reasoner.queues(0), grade=Batched(_ungraded))
        status.doing, status.tokens = "reading the prompts", lambda: reasoner.tokens
        reasoner.on_compile(status.compiles)
        return watched(left, queues, desk, status, one=many is None)  # 3


def watched(
    problems: Sequence[Problem],
    queues: Queues,
    desk: AnswerDesk,
    status: Status | None = None,
    *,
    one: bool = True,
) -> int:
    """A search that a teller is told of, and that a signal ends; as `run`.

    one: whether it is of one question, whose best answer so far is told where a signal ends it; of many those
    under way are asked again by the next command. status: is told how far it is.
    """
    latest: SearchEvent | None = None
    quiet_until = 0.0
    with Stop() as stop:
        progress = functools.partial(_show, stop, status, desk, one)
        try:
            for _, told in watch_trees(problems, queues, desk.search, round=0, on_progress=progress):
                if isinstance(told, Tree):
                    desk.conclude(told)
                    continue
                desk.teller.expanded(told.leaf, told.children)
                if one:
                    latest = told
                    began = time.monotonic()
                    if began >= quiet_until and (leaders := desk.election(told.tree())):
                        desk.teller.leads(told.leaf.problem, leaders)
                        now = time.monotonic()
                        quiet_until = now + 20 * (now - began)  # in a large tree a vote takes its time
        except Stopped:
            if latest is not None:
                desk.conclude(latest.tree(), "stopped")
            elif one:
                asked = problems[0]
                seconds = round(desk.seconds(), 3)
                desk.told(
                    Answer(
                        id=asked.id, question=asked.question, answer=None, ended="stopped", seconds=seconds
                    )
                )
        status_of = desk.end(stopped=stop.number is not None)
    stop.go_on("the answer is the best so far." if one else "the same command asks those that are left.")
    return status_of


def _show(stop: Stop, status: Status | None, desk: AnswerDesk, one: bool, stats: SearchStats) -> None:
    """Heed a signal, and say how far the search is."""
    stop.heed()
    if status is None or not stats.expansions:
        return
    if one:
        status.note = f"rollout {stats.rollouts + 1}, {stats.nodes} steps"
    elif status.is_due():
        left = stats.left()
        done = desk.earlier + stats.problems_done
        remaining = "" if left is None else f"  {clock_text(max(1.0, left))} left"
        status.note = f"{done} of {desk.total} answered{remaining}"


def _ungraded(requests: Sequence[GradeRequest]) -> list[Grade]:
    return ["ungraded"] * len(requests)


def _questions(settings: SolveSettings, task: Task) -> Questions:
    def require(problem: Problem) -> None:
        try:
            task.require(problem)
        except UserError as error:
            if problem.answer:
                raise
            raise UserError(
                f"config.verify.task: '{settings.verify.task}' given, whose problems say how they are "
                "checked, which a question alone does not. Take math."
            ) from error

    if settings.questions:
        return read_questions(settings.questions, require)
    problem = Problem("question", settings.question.strip(), "")
    require(problem)
    return Questions.of([problem])


def _teller(
    settings: SolveSettings,
    grammar: Grammar,
    seconds: Callable[[], float],
    ahead: Callable[[], None],
    total: int,
    left: int,
) -> Teller:
    if settings.json:
        return Events(sys.stdout, settings.show, seconds, ahead)
    script = Transcript(sys.stdout, settings.show, grammar, seconds, ahead)
    return AnswerList(script, settings.show, total, total - left) if settings.questions else script


def _begin(
    settings: SolveSettings, found: ModelFolders, questions: Questions, left: int, many: AnswerFolder | None
) -> Begin:
    return Begin(
        questions=len(questions),
        answered=len(questions) - left,
        question=None if many else questions.problems[0].question,
        answers=str(many.answers.path) if many else None,
        policy=str(found.policy),
        ppm=str(found.ppm) if found.ppm else None,
        search=to_dict(settings.search),
        seed=settings.seed,
    )


def _require_fit(
    found: ModelFolders, task: Task, settings: SolveSettings, problems: Sequence[Problem]
) -> Prompts | None:
    """Tokens of the policy's prompts. Refuses a question that leaves no step any room, for either model, and
    a PPM that cannot read steps."""
    tokenizer = Tokenizer.load(weights.tokenizer_folder(found.policy), task.grammar)
    reader, room = None, settings.decode.context
    if found.ppm is not None:
        try:
            reader = StepText.checked(found.ppm, tokenizer, functools.partial(task.prompt, role="ppm"))
        except UserError as error:
            raise UserError(f"config.ppm: {error}") from error
    for at, problem in enumerate(problems):
        lengths = {"its prompt": len(tokenizer.encode_prompt(task.prompt(problem.question, settings.prompt)))}
        if reader is not None:
            lengths["the PPM's prompt"] = len(reader.prefix(problem.question, ()))
        for what, length in lengths.items():
            if length >= room:
                where = f" ({problems.place(at)})" if isinstance(problems, Selected) else ""
                raise UserError(
                    f"config.decode.context: {room} tokens given, but the question with {what} has "
                    f"{length}{where}. Raise it to that and a solution's, or ask a shorter one."
                )
    prompt = lambda p: len(tokenizer.encode_prompt(task.prompt(p.question, settings.prompt)))  # noqa: E731
    return Prompts.of(problems, prompt)
