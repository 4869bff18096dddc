r"""The rules by which two cleaned answers mean the same. What they leave (algebra) goes to `compare`.

Exact first: numbers as fractions, lists item by item, intervals end by end, matrices cell by cell, words as
they stand. An unordered list may be written bare or in braces; a pair, a closed interval and a set are three
things, and (1, 2) is a pair and an open interval at once. Items and ends are compared by the same rules.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable

from rstar_jax.grading import choices, classes, ratios, statements, words
from rstar_jax.grading.budget import Budget, all_of, any_of
from rstar_jax.grading.layout import (
    List,
    assigned,
    both_signs,
    is_relation,
    latex,
    list_of,
    may_stand_for,
    rounded,
    rows_of,
    split,
    squeezed,
    worked,
)
from rstar_jax.grading.number import number
from rstar_jax.grading.quantity import Quantity
from rstar_jax.grading.units import same_measures, split_unit

_MAX_ITEMS, _MAX_DEPTH = 30, 8
# takes `2^3^4`, not `2^3+4`
_TOWER = re.compile(r"(?:\^|\*\*) ?-?\w+ ?(?:\^|\*\*)")
# takes `\{x \mid x > 1\}`, not `\{1, 2\}`
_BUILDER = re.compile(
    r"\\\{ ?([a-zA-Z])(?: ?\\in ?(?:\\mathbb\{[RC]\}|R))? ?(?:\\mid(?![a-z])|\||:) ?(.+)\\\}"
)
# takes `f(x)` and `y`, not `f(2)`
_FUNCTION = re.compile(r"y|[a-zA-Z]\([a-zA-Z]\)")


def equal(a: str, b: str, budget: Budget, depth: int = 0) -> bool | None:
    """Return whether a prediction means what the reference `b` does; None if nobody knows. Raises Spent."""
    budget.step()
    if squeezed(a) == squeezed(b):
        return True
    # Most answers are numbers, which no other rule has a say in.
    if (x := number(a)) is not None and (y := number(b)) is not None:
        return Quantity(a, x, False, "").same(Quantity(b, y, False, ""))
    if depth > _MAX_DEPTH:
        return None
    rules = _Rules(budget, depth)
    for rule in (rules.text, rules.equations, rules.quantities, rules.matrices, rules.lists):
        decided = rule(a, b)
        if decided is not None:
            return None if isinstance(decided, _Unknown) else decided
    return rules.algebra(a, b)


class _Unknown:
    """A rule applied, and could not tell."""


_UNKNOWN = _Unknown()
_Decision = bool | _Unknown | None  # None: the rule does not apply


@dataclasses.dataclass
class _Rules:
    budget: Budget
    depth: int

    def again(self, a: str, b: str) -> bool | None:
        return equal(a.strip(), b.strip(), self.budget, self.depth + 1)

    def text(self, a: str, b: str) -> _Decision:
        """Words, choices, times of day, ratios, numbers with a base."""
        if len(b) == 1 and b.isalpha() and (letter := choices.labelled_choice(a)):
            return letter == b
        if len(a) == len(b) == 1 and b in "ABCDE" and a.upper() == b:
            return True
        if (content := choices.chosen(a)) and not re.match(r"\(?[A-J](?:[).:]|$)", b):
            return _as_decision(self.again(content, b))
        if letter := choices.labelled_choice(b):
            other = choices.labelled_choice(a) if self.depth == 0 else None
            other = other or (a if len(a) == 1 and a.isalpha() else None)
            if other is not None:
                return other.upper() == letter
            return _as_decision(self.again(a, choices.chosen(b) or b))
        for same in (
            words.same_date,
            words.same_time,
            words.same_ordinal,
            choices.same_letters,
            same_measures,
        ):
            if (decided := same(a, b)) is not None:
                return decided
        meant_a, meant_b = words.phrase(a), words.phrase(b)
        if meant_a and meant_b:
            return meant_a == meant_b
        if r"\mathbb{R}" in (meant_a, meant_b) and "R" in (a, b):
            return True
        if (meant_a or a, meant_b or b) != (a, b) and "nowhere" not in (meant_a, meant_b):
            return _as_decision(self.again(meant_a or a, meant_b or b))
        based_a, based_b = words.based(a), words.based(b)
        if based_b:
            # The digits alone are right where the base was asked for.
            return based_a == based_b if based_a else a.upper() == based_b[0]
        if based_a and number(b) is not None:
            return False
        if (decided := self.ratio(ratios.parts(a), ratios.parts(b), a, b)) is not None:
            return decided
        if (words.is_words(a) or words.is_words(b)) and (decided := self.spoken(a, b)) is not None:
            return decided
        if words.is_words(a) and words.is_words(b):
            if words.are_names(a, b):
                return False
            low_a, low_b = (re.sub(r"^an? (?=[a-z]{3})", "", text.lower()) for text in (a, b))
            if len(b) > 1 and re.sub(r"[ \-]", "", low_a) == re.sub(r"[ \-]", "", low_b):
                return True
            if words.is_prose(a) or words.is_prose(b):
                return False
        if (words.is_prose(a) and number(b) is not None) or (words.is_prose(b) and number(a) is not None):
            return False
        return None

    def ratio(self, some: list[str] | None, others: list[str] | None, a: str, b: str) -> _Decision:
        """`4:6` is `2:3`; 3:4 may be written as a quotient, but 3:1 is no 3."""
        if some and others:
            if len(some) != len(others):
                return False
            return _as_decision(self.ordered(*ratios.products(some, others)))
        if some or others:
            other, ratio = (b, some) if some else (a, others or [])
            if number(other) is not None:
                alike = bool(re.search(r"/|\\frac", other)) and len(ratio) == 2
                return alike and number(other) == number(f"{ratio[0]}/{ratio[1]}")
        return None

    def spoken(self, a: str, b: str) -> _Decision:
        """Numbers in words, with or without a unit: `twenty-one`, `five dollars`."""
        spelt_a, spelt_b = words.in_digits(a), words.in_digits(b)
        if (spelt_a, spelt_b) == (a, b):
            return None
        if not all(
            Quantity.read(text).value is not None or split_unit(text)[1] for text in (spelt_a, spelt_b)
        ):
            return None
        return _as_decision(self.again(spelt_a, spelt_b))

    def equations(self, a: str, b: str) -> _Decision:
        """`x = 5` is 5; names on both sides must be the same; sets are what their conditions say."""
        built_a, built_b = _BUILDER.fullmatch(a), _BUILDER.fullmatch(b)
        if built_a or built_b:
            name = (built_b or built_a or [""])[1]
            if built_a and built_a[1] != name:
                return None
            some, others = (m[2] if m else text for m, text in ((built_a, a), (built_b, b)))
            within = rf"[,;]? ?(?:and )?{name} ?\\in ?(?:\\mathbb\{{R\}}|R) ?"
            return _as_decision(self.again(*(re.sub(within + "$", "", text) for text in (some, others))))
        if (decided := self.clauses(a, b)) is not None:
            return decided
        if (sides := worked(a)) is not None and not is_relation(b):
            return _as_decision(all_of([self.again(*sides), self.again(sides[1], b)]))
        if (sides := rounded(a)) is not None and r"\approx" not in b:
            return _as_decision(self.again(sides, b)) if sides else False
        left_a, right_a = assigned(a)
        left_b, right_b = assigned(b)
        for named, other, flip in ((a, right_b, False), (b, right_a, True)):
            if (at := statements.point(named)) and (listed := list_of(other)) and listed.kind == "()":
                return _as_decision(self.again(other, at) if flip else self.again(at, other))
        if left_a is None and left_b is None:
            asked = statements.value_of_expression(a) if number(b) is not None or ratios.parts(b) else None
            if asked is not None:
                return _as_decision(self.again(asked, b))
            sides = split(a, "=") or []
            if (
                len(sides) == 2
                and not is_relation(b)
                and not re.search(r"[<>]|\\[lg]e|\\ne", a)
                and len(b) > 1
            ):
                # An identity, `x^2-1 = (x-1)(x+1)`, is what it ends with; the second is looked at first.
                return _as_decision(all_of(self.again(*pair) for pair in ((sides[1], b), tuple(sides))))
            return None
        if left_a is not None and left_b is not None:
            respelt = statements.same_variable(left_a, right_a, left_b)
            if respelt == "":
                return False
            if respelt is not None and left_a != left_b:
                return _as_decision(self.again(respelt, right_b))
            functions = _FUNCTION.fullmatch(left_a) and _FUNCTION.fullmatch(left_b)
            if left_a == left_b or functions:
                return _as_decision(self.again(right_a, right_b))
            constant = not re.search(r"(?<!\\)\b[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", right_a + right_b))
            if constant and all(re.fullmatch(r"[a-zA-Z](?:_\w)?", left) for left in (left_a, left_b)):
                return False
            if number(right_a) is not None and number(right_b) is not None:
                return False
            return None
        if "=" in (right_a if left_a is None else right_b):
            return None
        if (
            right := statements.in_its_variable(left_a or left_b or "", right_a if left_b else right_b)
        ) is not None:
            right_a, right_b = (right, right_b) if left_b else (right_a, right)
        return _as_decision(self.again(right_a, right_b))

    def clauses(self, a: str, b: str) -> _Decision:
        """Values by name against a point, solutions for every integer, residues, values left out."""
        if (some := statements.excluded(a)) != a or statements.excluded(b) != b:
            return _as_decision(self.again(some, statements.excluded(b)))
        if (decided := classes.same_residues(a, b)) is not None:
            return decided
        if (pair := classes.same_constant(a, b)) is not None:
            return _as_decision(self.again(*pair))
        named_a, named_b = statements.assignments(a), statements.assignments(b)
        if named_a and named_b and named_a.keys() == named_b.keys():
            return _as_decision(self.ordered([named_a[name] for name in named_b], named_b.values()))
        if bool(named_a) != bool(named_b):
            pair = statements.coordinates(named_a or named_b or {}, b if named_a else a)
            if pair is not None:
                return _as_decision(self.ordered(*(pair if named_a else pair[::-1])))
        if (family := classes.families(a, b)) is None:
            return None
        family_a, family_b, letter = family
        found = self.again(family_a, family_b)
        if found is False and max(len(family_a), len(family_b)) < 80:
            found = any_of(self.again(shifted, family_b) for shifted in classes.shifted(family_a, letter))
        return _as_decision(found)

    def quantities(self, a: str, b: str) -> _Decision:
        """Numbers with their units."""
        x, y = Quantity.read(a), Quantity.read(b)
        if x.value is not None and y.value is not None:
            return x.same(y)
        # An expression with a unit: the units first, the rest by the other rules.
        if (x.unit or y.unit) and (x.body, y.body) != (a, b):
            return _as_decision(self.again(x.body, y.body)) if x.fits(y) else False
        if (x.value is not None and words.is_prose(b)) or (y.value is not None and words.is_prose(a)):
            return False
        return None

    def matrices(self, a: str, b: str) -> _Decision:
        rows_a, rows_b = rows_of(a), rows_of(b)
        if rows_a is None or rows_b is None:
            rows, other = (rows_a or rows_b), (b if rows_a else a)
            if rows and [len(row) for row in rows] == [1]:
                return _as_decision(self.again(*((rows[0][0], b) if rows_a else (a, rows[0][0]))))
            if not rows or (listed := list_of(other)) is None or len(listed.items) < 2:
                return None
            cells = [cell for row in rows for cell in row]
            if listed.kind not in ("()", "[]") or min(len(rows), len(rows[0])) != 1:
                return None
            pair = (cells, listed.items) if rows_a else (listed.items, cells)
            return _as_decision(self.ordered(*pair))
        if [len(row) for row in rows_a] != [len(row) for row in rows_b]:
            return False
        return _as_decision(self.ordered(itertools.chain(*rows_a), itertools.chain(*rows_b)))

    def lists(self, a: str, b: str) -> _Decision:
        """Sets, pairs, intervals, and unions of those."""
        if (pair := statements.components(a, b)) or (pair := statements.components(b, a)):
            return _as_decision(self.ordered(*pair))
        if r"\cup" in a or r"\cup" in b:
            a, b = statements.united(a), statements.united(b)
            parts_a, parts_b = split(a, r"\cup"), split(b, r"\cup")
            if parts_a and parts_b and len(parts_a) == len(parts_b) and self.unordered(parts_a, parts_b):
                return True
            return None
        list_a, list_b = (both_signs(text, list_of(text)) for text in (a, b))
        if list_a is None and list_b is None:
            return None
        conditions = [
            bool(x and x.kind == "" and statements.are_inequalities(x.items)) for x in (list_a, list_b)
        ]
        if conditions[0] != conditions[1]:
            return None
        if list_a is None or list_b is None:
            lone, other = (b, list_a) if list_b is None else (a, list_b)
            if other is None or is_relation(lone) or r"\mathbb" in lone or r"\emptyset" in lone:
                return None
            if other.kind in ("()", "[]", "(]", "[)"):
                # A list in brackets against something else; only a matrix could be the same.
                return None if "matrix" in lone or "array" in lone else False
            list_a, list_b = list_a or List("", [a]), list_b or List("", [b])
        if words.joined_otherwise(a, b) or not (list_a.may_name(list_b) and list_b.may_name(list_a)):
            return False
        kinds = {list_a.kind, list_b.kind}
        if len(kinds) > 1 and not may_stand_for(list_a, list_b):
            return None if any(map(is_relation, list_a.items + list_b.items)) else False
        if kinds <= {"", "{}"} or (list_b.kind == "" and list_a.kind == "[]"):
            return _as_decision(self.unordered(list_a.expanded(), list_b.expanded()))
        if len(list_a.items) != len(list_b.items):
            return False
        return _as_decision(self.ordered(list_a.items, list_b.items))

    def algebra(self, a: str, b: str) -> bool | None:
        for text in (a, b):
            # Nests that only a program writes, and powers of powers without brackets, which LaTeX refuses.
            if "__" in text or sum(map(text.count, "({[")) > 60 or _TOWER.search(text):
                return False if text is a else None
        if words.unreadable(b):
            return None
        if words.unreadable(a):
            return False
        a, b = statements.joined(a), statements.joined(b)
        found = self.budget.compare(latex(words.cut_off(b)), latex(words.cut_off(a)))
        return False if found and (words.differ(a, b) or words.are_ordered(a, b)) else found

    def ordered(self, some: Iterable[str], others: Iterable[str]) -> bool | None:
        some, others = list(some), list(others)
        if len(some) != len(others):
            return False
        return all_of(self.again(x, y) for x, y in zip(some, others, strict=True))

    def unordered(self, some: list[str], others: list[str]) -> bool | None:
        """Return whether each of either side has its like on the other; how often does not count."""
        if max(len(some), len(others)) > _MAX_ITEMS:
            return sorted(map(squeezed, some)) == sorted(map(squeezed, others))
        known: dict[tuple[int, int], bool | None] = {}

        def like(i: int, j: int) -> bool | None:
            if (i, j) not in known:
                known[i, j] = self.again(some[i], others[j])
            return known[i, j]

        texts, other_texts = list(map(squeezed, some)), list(map(squeezed, others))
        rows, columns = range(len(some)), range(len(others))
        # The likeliest first, so that most are never asked for.
        covered = all_of(
            any_of(like(i, j) for j in sorted(columns, key=lambda j: (texts[i] != other_texts[j], i != j)))
            for i in rows
        )
        if covered is False:
            return False
        reached = all_of(
            any_of(like(i, j) for i in sorted(rows, key=lambda i: known.get((i, j)) is not True))
            for j in columns
        )
        return all_of([covered, reached])


def _as_decision(found: bool | None) -> _Decision:
    return _UNKNOWN if found is None else found
