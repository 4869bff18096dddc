r"""Published sets of problems: which columns hold what, and how the answer is cut out of its own.

A set of the hub is known by its name, a file by the keys of its first row. To add one: a row of KNOWN, and
a small file of its schema in `tests/data/test_known.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Literal

from rstar_jax.data import gsm8k
from rstar_jax.text.boxed import boxed

NO_ID = "none"  # in the place of a column: ids are made of questions
NO_ANSWER = "nothing"  # as a cut: answers are not looked at

Cut = Literal["", "whole", "hashes", "boxed", "stated", "auto", "nothing"]

_STATED = re.compile(r"[Tt]he answer is:?\s*(.+?)\s*$", re.DOTALL)
_PROSE = 3  # words beside a box: then the text is a working, not an answer in a box


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns that hold a problem's parts; empty: as the set's keys tell.

    question, answer, id, level, subject: the column of each. A row without an id gets one made of its
    question, and so does every row where id is "none": for files that count from the same number. cut: how
    the answer is taken from its column: "whole", the number behind "hashes" (####), what the last "boxed"
    holds, what is "stated" by "The answer is", "nothing" (of a benchmark that is compared with alone), or
    "auto": behind #### where it stands there, in a box among prose, else whole.
    """

    question: str = ""
    answer: str = ""
    id: str = ""
    level: str = ""
    subject: str = ""
    cut: Cut = ""


@dataclasses.dataclass(frozen=True)
class KnownSet:
    """A published set. columns: of its rows. keys: by which a file of it is known, where `columns` are not
    enough to tell. configs: what the hub calls its parts, all of which are read, in this order."""

    columns: Columns
    keys: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()


_SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra"),
    *("number_theory", "prealgebra", "precalculus"),
)
_ARENA = KnownSet(Columns("problem", "answer", "problem_idx", subject="problem_type", cut="whole"))

KNOWN: dict[str, KnownSet] = {
    "openai/gsm8k": KnownSet(Columns("question", "answer", cut="hashes"), configs=("main",)),
    "HuggingFaceH4/MATH-500": KnownSet(
        Columns("problem", "answer", "unique_id", "level", "subject", cut="whole"), ("unique_id", "subject")
    ),
    "EleutherAI/hendrycks_math": KnownSet(
        Columns("problem", "solution", level="level", subject="type", cut="boxed"),
        ("level", "type", "solution"),
        _SUBJECTS,
    ),
    "AI-MO/NuminaMath-CoT": KnownSet(
        Columns("problem", "solution", subject="source", cut="boxed"), ("solution", "messages")
    ),
    "meta-math/MetaMathQA": KnownSet(
        Columns("query", "response", subject="type", cut="stated"), ("query", "response")
    ),
    "HuggingFaceH4/aime_2024": KnownSet(Columns("problem", "answer", "id", cut="whole"), ("url", "year")),
    "math-ai/aime25": KnownSet(Columns("problem", "answer", "id", cut="whole")),
    "MathArena/aime_2026": _ARENA,
    "MathArena/hmmt_feb_2025": _ARENA,
    "MathArena/hmmt_feb_2026": _ARENA,
    "math-ai/amc23": KnownSet(Columns("question", "answer", "id", cut="whole")),
    "Hothan/OlympiadBench": KnownSet(
        Columns("question", "final_answer", "id", subject="subfield", cut="whole"),
        ("final_answer",),
        ("OE_TO_maths_en_COMP",),
    ),
    "KbsdJames/Omni-MATH": KnownSet(
        Columns("problem", "answer", level="difficulty", subject="domain", cut="whole"),
        ("domain", "difficulty"),
    ),
    "agentica-org/DeepScaleR-Preview-Dataset": KnownSet(Columns("problem", "answer", cut="whole")),
    "SynthLabsAI/Big-Math-RL-Verified": KnownSet(
        Columns("problem", "answer", subject="domain", cut="whole"), ("domain", "llama8b_solve_rate")
    ),
}

# Files that no row of KNOWN is recognised in: rows of one's own, or of a set that has no more than these.
_QUESTIONS, _ANSWERS = ("question", "problem"), ("answer",)


def named(name: str) -> tuple[str, KnownSet] | None:
    """The set of that name on the hub, whatever its capitals."""
    return next(((key, known) for key, known in KNOWN.items() if key.lower() == name.lower()), None)


def recognised(keys: Iterable[str]) -> tuple[str, KnownSet] | None:
    """The set that a row with these keys is of, and its name; None where it is one's own, as every row with
    an id, a question and an answer is."""
    keys = set(keys)
    if "id" in keys and keys & {*_QUESTIONS} and keys & {*_ANSWERS}:
        return None
    if {"problem_idx", "problem", "answer"} <= keys:
        # Every contest counts from 1, and which one it is the rows do not say: ids are made of questions.
        return "MathArena", dataclasses.replace(_ARENA, columns=dataclasses.replace(_ARENA.columns, id=""))
    for name, known in KNOWN.items():
        columns = known.columns
        if known.keys and {columns.question, columns.answer, *known.keys} <= keys:
            # DeepScaleR, and whoever states the answer beside a solution, mean the answer.
            if columns.answer == "solution" and "answer" in keys:
                continue
            return name, known
    return None


def _auto(text: str) -> str | None:
    if "####" in text:
        return _behind_hashes(text)
    inside = boxed(text) if "\\boxed" in text else None
    if inside and len(re.findall(r"[A-Za-z]{2,}", text.partition("\\boxed")[0])) >= _PROSE:
        return inside
    return text


def _behind_hashes(text: str) -> str | None:
    return gsm8k.reference(text)[1] or None


def _stated(text: str) -> str | None:
    found = _STATED.search(text.rpartition("\n")[2]) or _STATED.search(text)
    return found[1] if found else None


# A text -> the answer in it, None where there is none; and what then is said to be missing.
CUTS: dict[str, tuple[Callable[[str], str | None], str]] = {
    "whole": (lambda text: text.strip(), "text"),
    NO_ANSWER: (lambda _: "", "nothing"),
    "hashes": (_behind_hashes, "an answer behind '####'"),
    "boxed": (boxed, r"an answer in \boxed{}"),
    "stated": (_stated, "an answer behind 'The answer is'"),
    "auto": (_auto, "an answer behind '####'"),
}
