r"""Worked answers in the manner of GSM8K, turned into steps of executed Python.

GSM8K (arXiv 2110.14168) marks the calculations of its answers: `She sold 48/2 = <<48/2=24>>24 clips in May.`
Each sentence with a calculation becomes a step: the sentence without its marks is the thought, each of its
calculations an assignment. A number that is the result of an earlier calculation is written by that one's
name, so that the steps depend on each other as the working does:

    # Step 2: She sold 48+24 = 72 clips altogether in April and May.
    clips_altogether_april = 48 + clips_may

Between marked ones, calculations without marks (`4 x 13 = 52`) count where they hold. What is made here is
text alone: whoever keeps a solution has run it first (`data/executed.py`).
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

from rstar_jax.data.naming import name_of
from rstar_jax.text.grammar import Grammar

_NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
# "<<48/2=24>>24": what is calculated, its result, and the result once more as it is read.
_MARKED = re.compile(rf"<<([^<>]*)>>\s*(?:\$?\s*-?{_NUMBER})?")
# "14 pieces/house * 60 houses = $840", not "2x = 6": numbers with a few words of unit, operators between.
_UNIT = r"(?:\s*%|(?:/[a-z]+)?(?:[ -](?!x\b)[A-Za-z]+(?:/[a-z]+)?){0,3})"
_OPERAND = rf"\(*\$?{_NUMBER}{_UNIT}\)*"
_OPERATOR = r"\s*[-+*/x\u00d7\u00f7\u2212\u2013]\s*"
_WRITTEN = rf"{_OPERAND}(?:(?:{_OPERATOR}|(?=\()){_OPERAND})+"  # 50(2) is a product, too
_GOES_ON = r"(?![\w,]*\s*[-+*/x\u00d7\u00f7\u2212=<(])"
_UNMARKED = re.compile(rf"(?<![\w.,$]){_WRITTEN}\s*=\s*\$?\s*{_NUMBER}{_GOES_ON}")
# What stands before a mark and is calculated there: "48/2 = $".
_BEFORE_MARK = re.compile(rf"(?:{_WRITTEN}|{_OPERAND})?\s*=?\s*\$?\s*$")
_TOKEN = re.compile(rf"\s*({_NUMBER}|\*\*|//|[-+*/()%^])")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")
_SIGNS = {"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-", "$": "", ",": "", "[": "(", "]": ")"}
_SAME = str.maketrans(_SIGNS)
# Numbers that a working may bring in by itself: parts, days, months, hours, minutes, percent.
_COMMON = {Fraction(n) for n in (1, 2, 4, 7, 12, 24, 60, 100, 365, 1000)}
_OPERATORS = ("+", "-", "*", "/", "//", "**")
_PERCENT = "/100"  # of "20%", one token: this 100 is never an earlier result
_MOST, _FINEST, _LONGEST = Fraction(10**15), 10**60, 20  # a number, its denominator, its digits
_PLAIN = re.compile(rf"-?{_NUMBER}(?:/\d+)?")
# Characters (GSM8K has 1,219 and 548 at most): some expressions above take the square of a sentence's length.
_WORKING, _SENTENCE = 10_000, 1_500


class NotConverted(Exception):
    """The working cannot be turned into steps; the message is the kind of reason, for counting."""


@dataclasses.dataclass(frozen=True)
class _Calculation:
    """A marked calculation: its terms as Python's tokens, the stated result, and the sentence's text on both
    sides."""

    tokens: tuple[str, ...]
    result: str
    before: str
    after: str
    marked: bool


@dataclasses.dataclass
class _Result:
    """An assignment made: its name, its value as the working states it, whether a later one has used it."""

    name: str
    value: Fraction
    used: bool = False


@dataclasses.dataclass(frozen=True)
class _Known:
    """of_question: its numbers. remaining: how often each number stands in calculations further on."""

    of_question: set[Fraction]
    remaining: Counter[Fraction]


def convert(question: str, working: str, answer: str, grammar: Grammar) -> list[str]:
    """The bodies of the solution's code steps, as `grammar` renders them; the last one prints.

    Raises NotConverted where the working is too long, holds no marked calculation (prose gives numbers by
    chance), one that cannot be read or does not give its result, or none whose result is the answer.
    """
    if len(working) > _WORKING:
        raise NotConverted("a working too long")
    if any(token in working for token in grammar.delimiters):
        raise NotConverted("a delimiter in its text")
    try:
        wanted = _number(answer)
    except NotConverted:
        raise NotConverted("an answer that is no number") from None
    of_question = {_number(found) for found in re.findall(_NUMBER, question)}
    sentences = [(sentence, _calculations(sentence)) for sentence in _sentences(working)]
    if not any(each.marked for _, found in sentences for each in found):
        raise NotConverted("no marked calculation")
    remaining = Counter(number for _, found in sentences for each in found for number in _numbers(each))
    results: list[_Result] = []
    bodies: list[str] = []
    thoughts: list[str] = []  # sentences without a calculation, told with the next one
    for sentence, calculations in sentences:
        lines = []
        for calculation in calculations:
            remaining.subtract(_numbers(calculation))
            if line := _assignment(calculation, sentence, results, _Known(of_question, remaining)):
                lines.append(line)
        thoughts.append(" ".join(re.sub(r"<<[^<>]*>>", "", sentence).split()))
        if lines:
            imports = ["import math"] if any("math." in line for line in lines) else []
            bodies.append("\n".join([f"# Step {len(bodies) + 1}: {' '.join(thoughts)}", *imports, *lines]))
            thoughts = []
    if not results:
        raise NotConverted("no calculation")
    last = next((result for result in reversed(results) if result.value == wanted), None)
    if last is None:
        raise NotConverted("no result is the answer")
    return [*bodies, f"# Now print the final answer\nprint({last.name})"]


def reference(answer: str) -> tuple[str, str]:
    """(working, answer) of a text that ends in `#### 72`, as in GSM8K's own files; the answer is empty where
    it does not."""
    working, mark, found = answer.rpartition("####")
    return (working.rstrip(), found.strip().replace(",", "")) if mark else (answer, "")


def _sentences(working: str) -> Iterator[str]:
    for line in working.splitlines():
        for sentence in _SENTENCE_END.split(line.strip()):
            if plain := " ".join(sentence.split()):
                if len(plain) > _SENTENCE:
                    raise NotConverted("a sentence too long")
                yield plain


def _calculations(sentence: str) -> list[_Calculation]:
    """Those with marks and those without that can be read, in their order."""
    found, start = [], 0  # nothing before a mark reaches into the one before it
    for mark in _MARKED.finditer(sentence):
        left, equals, result = mark[1].rpartition("=")
        if not equals:
            raise NotConverted("an unreadable calculation")
        before = _BEFORE_MARK.search(sentence, start, mark.start())
        assert before  # it matches the empty text, too
        start = mark.end(1)
        tokens = _tokens(left)
        if len(tokens) == 1:  # "1.5 / .25 = <<6=6>>6"
            with contextlib.suppress(NotConverted):
                tokens = _tokens(_without_units(before[0].rpartition("=")[0])) or tokens
        sides = sentence[: before.start()], sentence[mark.end() :]
        found.append((mark.start(), _Calculation(tuple(tokens), result, *sides, marked=True)))
    bare = re.sub(r"<<[^<>]*>>", lambda mark: "\0" * len(mark[0]), sentence)
    for plain in _UNMARKED.finditer(bare):
        text, _, result = plain[0].rpartition("=")
        sides = sentence[: plain.start()], sentence[plain.end() :]
        with contextlib.suppress(NotConverted):
            tokens = tuple(_tokens(_without_units(text)))
            found.append((plain.start(), _Calculation(tokens, result, *sides, marked=False)))
    return [calculation for _, calculation in sorted(found, key=lambda pair: pair[0])]


def _without_units(text: str) -> str:
    """`14 pieces/house * 60 houses` -> `14 * 60`."""
    return re.sub(r"(?<=[\d)%])(?:/[a-z]+)?(?:[ -](?!x\b)[A-Za-z]+(?:/[a-z]+)?)*", "", text)


def _numbers(calculation: _Calculation) -> list[Fraction]:
    return [Fraction(token) for token in calculation.tokens if _is_number(token)]


def _is_number(token: str) -> bool:
    return token[0] in "0123456789."


def _assignment(
    calculation: _Calculation, sentence: str, results: list[_Result], known: _Known
) -> str | None:
    """The line of Python that does the calculation; None for one without marks that does not hold, and for
    one that calculates nothing (`<<5=5>>`)."""
    try:
        stated, value = _number(calculation.result), _value("".join(calculation.tokens))
        if len(_numbers(calculation)) < 2 and _PERCENT not in calculation.tokens and value == stated:
            return None
        used, source = _by_name(calculation.tokens, results, known)
        source = _rounded(source, value, stated, calculation, sentence)
    except NotConverted:
        if calculation.marked:
            raise
        return None
    for result in used:
        result.used = True
    name = name_of(calculation.before, calculation.after, {result.name for result in results})
    results.append(_Result(name, stated))
    return f"{name} = {source}"


def _tokens(expression: str) -> list[str]:
    """Numbers, operators and brackets as Python writes them; percentages divided, products written out."""
    text = re.sub(r"(?<=[\d)\s])[xX](?=[\d(\s.$])", "*", expression.translate(_SAME)).strip()
    text = re.sub(r"(\d+) (\d+/\d+)", r"(\1+\2)", text)  # 1 1/2
    tokens: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise NotConverted("an unreadable calculation")
        token, position = found[1], found.end()
        if len(token) > _LONGEST:
            raise NotConverted("an unreadable calculation")
        if token == "%":
            tokens[-1:] = ["(", *tokens[-1:], _PERCENT, ")"]
            continue
        if tokens and (token == "(" or _is_number(token)) and tokens[-1][-1] in "0123456789)":
            tokens.append("*")  # 50(2)
        tokens.append("**" if token == "^" else _plain(token) if _is_number(token) else token)
    if not tokens:
        raise NotConverted("an unreadable calculation")
    return tokens[1:] if tokens[0] == "+" else tokens


def _plain(number: str) -> str:
    """As Python's literals are written: no zeros that say nothing."""
    whole, _, part = number.partition(".")
    part = part.rstrip("0")
    return f"{int(whole or '0')}" + (f".{part}" if part else "")


def _number(text: str) -> Fraction:
    """The value of "1,234.50", "$5", "3/4" or "20%" (20: the sign is looked at elsewhere)."""
    plain = text.translate(_SAME).strip().rstrip("%.").strip()
    if len(plain) > 2 * _LONGEST or not _PLAIN.fullmatch(plain):  # Fraction would write "1e99999999" out
        raise NotConverted("an unreadable calculation")
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        raise NotConverted("an unreadable calculation") from None


def _value(source: str) -> Fraction:
    """Exactly what an expression of numbers and + - * / // ** gives."""

    def of(node: ast.expr) -> Fraction:
        value = plainly(node)
        if abs(value) > _MOST or value.denominator > _FINEST:
            raise ValueError
        return value

    def plainly(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(ast.get_source_segment(source, node) or "")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -of(node.operand)
        if isinstance(node, ast.BinOp):
            left, right = of(node.left), of(node.right)
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Sub):
                return left - right
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
            if isinstance(node.op, ast.FloorDiv):
                return Fraction(left // right)
            if isinstance(node.op, ast.Pow) and right.denominator == 1 and abs(right) <= 20:
                return left**right.numerator
        raise ValueError

    try:
        return of(ast.parse(source, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        raise NotConverted("an unreadable calculation") from None


def _by_name(tokens: Sequence[str], results: Sequence[_Result], known: _Known) -> tuple[list[_Result], str]:
    """The expression with earlier results by name, and which were used.

    A number that the question gives, too, or that anyone knows, may be either. It is taken for a result that
    nothing has used yet, since a working calculates little that it does not need, and for one of the
    question's as long as it stands further on once more, unless all of the expression are such results.
    """
    numbers = Counter(Fraction(token) for token in tokens if _is_number(token))
    unused_values = Counter(result.value for result in results if not result.used)
    all_results = numbers <= unused_values and numbers.total() > 1
    used: list[_Result] = []
    written = []
    for token in tokens:
        if _is_number(token):
            value = Fraction(token)
            matches = [result for result in results if result.value == value]
            unused = [result for result in matches if not result.used and result not in used]
            if value in known.of_question | _COMMON:
                again = value in known.of_question and known.remaining[value] > 0
                matches = unused if all_results or not again else []
            else:
                matches = unused or matches
            if matches:
                # One number for several results is the last one's; of as many numbers each is its own.
                used.append(matches[0] if numbers[value] >= len(matches) else matches[-1])
                token = used[-1].name
            numbers[value] -= 1
        written.append(token)
    return used, _spaced(written)


def _spaced(tokens: Sequence[str]) -> str:
    """`a * (b + 2) - -1`: spaces around operators of two sides."""
    text = ""
    for i, token in enumerate(tokens):
        unary = token == "-" and (i == 0 or tokens[i - 1] in ("(", *_OPERATORS))
        text += f" {token} " if token in _OPERATORS and not unary else token.replace(_PERCENT, " / 100")
    return text


def _rounded(source: str, value: Fraction, stated: Fraction, calculation: _Calculation, sentence: str) -> str:
    """The expression so that it gives what the working states: as it is, rounded, or in percent.

    Raises NotConverted where none of these does.
    """
    if value == stated:
        return source
    operand = source if not re.search(r" [+-] ", source) else f"({source})"
    if (calculation.after.lstrip().startswith("%") or "%" in calculation.result) and value * 100 == stated:
        return f"{operand} * 100"
    if "%" in sentence and value == stated * 100:
        return f"{operand} / 100"
    places = len(calculation.result.translate(_SAME).strip(" %").partition(".")[2])
    # Without a mark, "4 / 3 = 1" may go on as "and 1/3".
    exact = not calculation.marked and not places
    if stated and not exact and abs(value - stated) < Fraction(1, 10**places):
        if Fraction(str(round(float(value), places))) == stated:
            return f"round({source}, {places})" if places else f"round({source})"
        if not places:
            return f"math.ceil({source})" if stated > value else f"math.floor({source})"
    raise NotConverted("a calculation that does not give its result")
