"""Questions of several parts, and those with several answers: no single answer grades them.

Labels alone do not make parts: "(A) Line (B) Circle" are choices, "(i) each row holds every number; (ii) ..."
are conditions, `f(a)` is a formula. So the first part and one more must ask something.
"""

from __future__ import annotations

import re

_VERBS = (
    "find|determine|prove|show|compute|calculate|evaluate|solve|simplify|express|sketch|estimate|explain|"
    "verify|deduce|describe|suppose|write down"
)
# "Find x", "If x > 0, find y", "How many" ask; "When divided by 2, ..." and "x, which is" do not.
_ASKING = re.compile(
    rf"\?|(?:^|[.,;:]\s+|\bthen\s+)(?:{_VERBS})\b|(?:^|[.;:]\s+)(?:what|how|is|are|does|do|for which)\b",
    re.IGNORECASE,
)
_LABELS = (
    tuple(f"({label})" for label in "abcdefgh"),
    tuple(f"({label})" for label in ("i", "ii", "iii", "iv", "v", "vi")),
    tuple(f"({label})" for label in "12345678"),
    tuple(f"{label})" for label in "abcdefgh"),
    tuple(f"{label})" for label in "12345678"),
    tuple(f"\n{label}." for label in "12345678"),
    tuple(f"\n{label}." for label in "abcdefgh"),
    tuple(f"Part {label}" for label in "ABCDEFGH"),
)
_SECOND = re.compile(r"[b2i]\)|\n[b2]\.|Part B")
# What a label stands behind: a line's or a sentence's end, perhaps with markup; not "f", "(x," or "points".
_BEFORE = re.compile(
    r"(?:^|[\n.?!:;$)]|\\\\|\band|\bif)\s*(?:\\item|\*\*|\[b\]|\\text(?:bf)?\{|\[\*\])?\s*\Z"
)
_AFTER = re.compile(r"[\s*}\[\]$\\:.]")  # "(a) Find" and "a)[/b]", not "(a)b" or "1),"
# "Answer each of the following questions yes or no, and add up ...": one answer to all of them.
_AS_ONE = re.compile(r"\b(?:following|these)\s(?:\w+\s)?questions\b", re.IGNORECASE)
_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)
# "(a) Yes, (b) No" is an answer of parts, "(2, 1), (3, 2)" is not.
_ANSWERS = re.compile(r"\W*(?:text\{)?\(?(?:a|1|i)\)\s*[^\s,].*[\s;,]\(?(?:b|2|ii)\)\s*\S", re.DOTALL)
_QUESTION = re.compile(r"\?(?=\s|$)")
_BETWEEN = re.compile(r"\s*(?:;|\band\b|,\s)\s*")
_TOGETHER = re.compile(r"[(\[{]|\\(?:left|text|in\b)")  # pairs, sets and intervals are one answer


def multi_part(question: str, answer: str) -> str | None:
    """Return why a question has no single answer, None if it may have one."""
    for labels in _LABELS if _SECOND.search(question) else ():
        if labels[1] in question and labels[0] in question:
            parts = _parts(_DRAWING.sub("", question), labels)
            asking = [_ASKING.search(part) is not None for part in parts]
            if sum(asking) >= 2 and asking[0] and not _AS_ONE.search(question):
                return f"{len(parts)} labelled parts"
    if ")" in answer and _ANSWERS.match(answer):
        return "an answer of labelled parts"
    if question.count("?") >= 2 and not _TOGETHER.search(answer):
        asked, answers = len(_QUESTION.findall(question)), len(_BETWEEN.split(answer.strip()))
        if asked >= 2 and answers >= 2:
            return f"{asked} questions with {answers} answers"
    return None


def _parts(question: str, labels: tuple[str, ...]) -> list[str]:
    """Split a question at labels that follow each other in order; the text before the first is no part."""
    text, begins, ends, end = "\n" + question, list[int](), list[int](), 0
    for label in labels:
        begin = text.find(label, end)
        while begin >= 0 and not _is_label(text, begin, label):
            begin = text.find(label, begin + 1)
        if begin < 0:
            break
        end = begin + len(label)
        begins.append(begin)
        ends.append(end)
    return [
        text[end:begin].strip(" \n*}]") for end, begin in zip(ends, [*begins[1:], len(text)], strict=False)
    ]


def _is_label(text: str, begin: int, label: str) -> bool:
    behind = text[max(0, begin - 12) : begin]
    return bool(label[0] == "\n" or _BEFORE.search(behind)) and bool(_AFTER.match(text, begin + len(label)))
