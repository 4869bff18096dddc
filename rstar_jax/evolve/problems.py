"""A run's problems, looked at before anything is computed: what cannot be asked, and what is asked twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rstar_jax.data.faults import Faults
from rstar_jax.data.problem_set import Selected
from rstar_jax.errors import Unfit, UserError
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.settings import at_round
from rstar_jax.tasks import Role
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Problem

_NAMED = 5  # ids that a message lists
_FRAMES = 8  # remembered; a task that puts more than the question into a prompt has one for each
_JOINTS = 32  # tokens, more than enough, that a text may take where it is put into another


def with_room(context: Context) -> Context:
    """Leave out problems whose prompt fills the context, and name them once: no search could expand them.

    Every prompt that the run asks its policies with counts. Raises UserError where no problem is left.
    """
    settings, room = context.settings, context.settings.decode.context
    kinds: set[Role] = {*(at_round(settings.search.prompt, round) for round in settings.rounds), "finetuned"}
    prompts = [context.prompt(kind) for kind in sorted(kinds)]
    asked = [
        _Fits(context.tokenizer(folder), prompt, room)
        for folder in sorted({context.base, context.first_folder})
        for prompt in prompts
    ]
    kept: dict[str, Sequence[Problem]] = {}
    for name, problems in (("train", context.train), ("heldout", context.heldout)):
        kept[name] = problems
        room_for = np.fromiter((all(fits(problem) for fits in asked) for problem in problems), bool)
        if not room_for.all():
            kept[name] = fitting = Selected(problems, np.flatnonzero(room_for))
            left_out = Selected(problems, np.flatnonzero(~room_for))
            told = _listed(left_out)
            fitting.faults = faults = getattr(problems, "faults", None) or Faults(fatal=False)
            fitting.mended = getattr(problems, "mended", None)
            for problem in left_out:
                why = f"problem {problem.id}: its prompt fills the {room:,} tokens of config.decode.context."
                faults.count(Unfit("no room in the context", why))
            if not kept[name]:
                shorter = ", or ask without the bootstrap prompt, which holds two worked examples"
                raise UserError(
                    f"config.decode.context: {room} tokens given, but the prompts of all "
                    f"{len(problems):,} {name} problems fill them ({told}). Raise it"
                    f"{shorter if 'bootstrap' in kinds else ''}."
                )
            context.progress.log(
                f"left out: {told} ({name}), whose prompt fills the {room:,} tokens of "
                "config.decode.context. Raise it to have them searched."
            )
    return dataclasses.replace(context, **kept)


def warn_of_seen(context: Context) -> None:
    """Say which held-out questions are trained on, too."""
    if seen := asked_before(context.heldout, (problem.question for problem in context.train)):
        context.progress.log(
            f"warning: config.problems.heldout: {_listed(seen)} asked in config.problems.train, too. On such "
            "questions accuracies measure memory. Take them out of one of the files."
        )


def asked_before(heldout: Sequence[Problem], questions: Iterable[str]) -> list[Problem]:
    """Find the held-out problems among questions, spaces and capitals aside."""
    asked = {_plain(problem.question) for problem in heldout}
    found = {plain for plain in map(_plain, questions) if plain in asked}
    return [problem for problem in heldout if _plain(problem.question) in found] if found else []


class _Fits:
    """Return whether a problem's prompt leaves room in the context.

    Most are told by the question's letters beside the frame that all prompts share: a prompt with worked
    examples takes a millisecond to encode, and there are up to 747,000.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Callable[[str], str], room: int) -> None:
        self._tokenizer, self._prompt, self._room = tokenizer, prompt, room
        self._frames: dict[tuple[str, str], int] = {}

    def __call__(self, problem: Problem) -> bool:
        prompt, question = self._prompt(problem.question), problem.question
        before, inside, after = prompt.partition(question)
        # No vocabulary writes ASCII in more tokens than letters.
        if inside and question.isascii():
            if (before, after) not in self._frames and len(self._frames) < _FRAMES:
                self._frames[before, after] = len(self._tokenizer.encode_prompt(before + after))
            frame = self._frames.get((before, after))
            if frame is not None and frame + len(question) + _JOINTS < self._room:
                return True
        return len(self._tokenizer.encode_prompt(prompt)) < self._room


def _plain(question: str) -> str:
    return " ".join(question.split()).casefold()


def _listed(problems: Sequence[Problem]) -> str:
    """`3 problems (a, b, c)`, the first few by name."""
    names = ", ".join(problem.id for problem in problems[:_NAMED])
    more = ", ..." if len(problems) > _NAMED else ""
    return f"{len(problems):,} problem{'s' if len(problems) > 1 else ''} ({names}{more})"
