"""The rules of grading, on pairs of our own and on published ones where they are."""

import collections
import json
import os
import random
import re
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.grading.answer import GRADINGS, RULES, Grader, grade, judge
from rstar_jax.grading.budget import MAX_COMPARISONS, MAX_IN_VAIN
from rstar_jax.grading.number import number
from rstar_jax.problems.suite import generate

KINDS = st.sampled_from(["()", "(]", "[)", "[]"])
FRACTIONS = st.fractions(max_denominator=500)
# {category, prediction, reference, verdict}; the verdict "not right" leaves open which of the others.
CASES = collections.defaultdict(list)
for line in Path(__file__).with_name("grading_cases.jsonl").read_text(encoding="utf-8").splitlines():
    case = json.loads(line)
    CASES[case["category"]].append((case["prediction"], case["reference"], case["verdict"]))


@pytest.fixture(scope="module")
def grader():
    """One for all tables: its processes take a second each to start."""
    with Grader(workers=2) as opened:
        yield opened


@given(FRACTIONS)
def test_spellings_of_a_number_are_equal(value):
    n, d = value.numerator, value.denominator
    spellings = [
        f"{n}/{d}",
        rf"\frac{{{n}}}{{{d}}}",
        rf"$\dfrac{{{n}}}{{{d}}}$",
        rf"\boxed{{{n}/{d}}}",
        f"{n}/{d} apples",
        f"x = {n}/{d}",
    ]
    if d == 1:
        spellings += [f"{n:,}", f"{n}.0", f"\\${n}", rf"{n}\text{{ cm}}"]
    for spelling in spellings:
        assert grade(spelling, str(value)) == "right"
        assert grade(str(value + 1), spelling) == "wrong"


@given(FRACTIONS)
def test_numbers_are_read_exactly(value):
    assert number(str(value)) == value
    assert number(f"-{abs(value)}") == -abs(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"2\frac{1}{3}", Fraction(7, 3)),
        ("1 4/5", Fraction(9, 5)),
        ("1,234,567", 1234567),
        ("2.5e3", 2500),
        (r"1.2 \times 10^{-5}", Fraction(12, 10**6)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("0.1666...", Fraction(1, 6)),
        ("0.142857142857...", Fraction(1, 7)),
        ("0.33...", None),
        ("1,23", None),
        ("1e999999", None),
        ("9**9**9", None),
        ("3/0", None),
    ],
)
def test_ways_to_write_numbers(text, value):
    assert number(text) == value


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True), st.randoms())
def test_order_counts_in_brackets_and_nowhere_else(items, shuffler):
    mixed = items[:]
    shuffler.shuffle(mixed)
    some, others = (", ".join(map(str, x)) for x in (items, mixed))
    assert grade(some, others) == "right"
    assert grade(rf"\{{{some}\}}", others) == "right"
    assert grade(f"({some})", f"({others})") == ("right" if items == mixed else "wrong")
    assert grade(rf"\{{{some}\}}", f"({some})") == "wrong"
    assert grade(some, ", ".join(map(str, [*mixed, 100]))) == "wrong"


@given(
    FRACTIONS, FRACTIONS, st.sampled_from(["()", "(]", "[)", "[]"]), st.sampled_from(["()", "(]", "[)", "[]"])
)
def test_an_interval_has_its_own_ends(a, b, kind, other):
    one, two = (f"{k[0]}{a}, {b}{k[1]}" for k in (kind, other))
    # Ends in falling order are no interval's: a point, which a program prints as a list.
    listed = {kind, other} == {"()", "[]"} and a > b
    assert grade(one, two) == ("right" if kind == other or listed else "wrong")
    assert grade(one, f"{kind[0]}{a}, {b + 1}{kind[1]}") == "wrong"


@pytest.mark.parametrize("category", CASES)
def test_table(category, grader):
    cases = CASES[category]
    got = grader.grade([(prediction, reference) for prediction, reference, _ in cases])
    assert not [
        (*case, verdict)
        for case, verdict in zip(cases, got, strict=True)
        if (verdict == "right" if case[2] == "not right" else verdict != case[2])
    ]


def test_answers_of_the_suite_equal_themselves_at_once():
    problems = generate(300, seed=3, split="train")
    start = time.process_time()
    for problem in problems:
        assert grade(rf"\boxed{{{problem.answer}}}", problem.answer) == "right", problem
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "1" + "a" * 998 + "!",
        " " * 999 + "x",
        "a" + " and" * 249,
        "x" + r" \over " * 140,
        "1" + " 000" * 249 + " 0",
        "0." + "12" * 498 + "...",
        r"\text{" * 166,
        "=" * 999,
        "x=" * 499,
        "{" * 500 + "}" * 499,
        ", " * 499,
        r"\frac" * 199,
        "5" + " a" * 499,
        ":" * 999,
        "-" * 999,
        "(" * 500 + ")" * 499,
        r"\{x|" * 249,
        "^" * 999,
        "a.m" * 333,
        "[" + "]" * 998,
        r"\pm" * 333,
        "1 of" * 249,
        "1^2" * 333,
    ],
)
def test_no_pattern_takes_long_at_the_largest_size(text):
    for pair in ((text[:1000], "5 apples, x = 3"), ("5 apples, x = 3", text[:1000])):
        start = time.process_time()
        judge(*pair, lambda reference, prediction: "unknown")
        assert time.process_time() - start < 0.25


def _list(items, opening="", closing=""):
    return opening + ",".join(items) + closing


NESTED = {
    letter: _list(_list((f"{letter}^{{{i * j}}}" for j in range(5, 12)), r"\{", r"\}") for i in range(7, 13))
    for letter in "xy"
}
COSTLY = {
    "a list": (_list(f"x^{{{i}}}" for i in range(30)), _list(f"y^{{{i}}}" for i in range(30))),
    "nested sets": (NESTED["x"], NESTED["y"]),
    "a matrix": tuple(
        r"\begin{pmatrix}" + "&".join(f"{x}^{{{i}}}" for i in range(99)) + r"\end{pmatrix}" for x in "xy"
    ),
}


@pytest.mark.parametrize("verdict", ["same", "different", "unknown", "lost", "unread"])
@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("rules", RULES)
def test_no_pair_asks_for_many_comparisons(rules, name, verdict):
    asked = []
    found = RULES[rules](*COSTLY[name], lambda *pair: (asked.append(pair), verdict)[1])
    assert len(asked) <= (MAX_COMPARISONS if verdict in ("same", "different") else MAX_IN_VAIN)
    assert found == "ungraded" or verdict in ("same", "different")


def test_a_list_is_compared_item_by_item_once():
    asked = []

    def compare(reference, prediction):
        asked.append((reference, prediction))
        return "same" if reference.upper() == prediction.upper() else "different"

    small, large = ([f"{x}^{{{i}}}" for i in range(9)] for x in "xX")
    assert judge(_list(small), _list(large), compare) == "right"
    assert len(asked) == 9
    asked.clear()
    assert judge(_list(small[::-1]), _list(large), compare) == "right"
    assert len(asked) == len(set(asked)) <= 64


def test_nested_lists_of_numbers_take_no_time():
    def nest(shift):
        return ",".join(
            r"\{" + ",".join(str((i + j) % 9) for j in range(20)) + r"\}" for i in range(shift, 21)
        )

    start = time.process_time()
    judge(nest(0), nest(1), lambda reference, prediction: "unknown")
    assert time.process_time() - start < 2.0


def test_what_is_remembered_of_long_answers_is_short(grader):
    tracemalloc.start()
    assert set(grader.grade([(f"{n} " + "x" * 10**5, "5") for n in range(100)])) == {"wrong"}
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10**6
    # Neither joined texts nor lone surrogates are taken for another pair.
    assert grader.grade([("1", "12"), ("11", "2"), ("\ud800", "5")]) == ["wrong"] * 3


def test_an_ungraded_pair_is_never_remembered_as_wrong():
    assert grade("5", "") == "ungraded"
    assert grade("x+1", r"\frac{") == "ungraded"  # a reference that cannot be read
    assert grade(r"\frac{", "x+1") == "wrong"
    assert set(GRADINGS) == {"strict", "released"}


def reformatted(answer: str) -> list[str]:
    """The same answer as somebody else would write it."""
    plain = not re.search(r"[A-Za-z]{4}", answer.replace(r"\frac", "").replace(r"\sqrt", ""))
    written = [rf"\boxed{{{answer}}}", answer.rstrip(".") + "."]
    if "$" not in answer and "\n" not in answer:
        written.append(f"${answer}$")
    if r"\frac" in answer:
        written.append(answer.replace(r"\frac", r"\dfrac"))
        written.append(re.sub(r"\\frac\{(-?\d+)\}\{(\d+)\}", r"(\1/\2)", answer))
    if plain and r"\text" not in answer and "!" not in answer:
        written.append(re.sub(r"([,+=<>()])", r" \1 ", answer))
    if "(" in answer and not re.search(r"\\\(|\\left|\[", answer) and answer.count("(") == answer.count(")"):
        written.append(answer.replace("(", r"\left( ").replace(")", r" \right)"))
    if re.fullmatch(r"[A-Za-z]{2,}(?: [A-Za-z]+)*", answer):
        written.append(rf"\text{{{answer}}}")
    if word := re.fullmatch(r"\\text\{([^{}]*)\}", answer):
        written.append(word[1])
    if re.fullmatch(r"\d{4,}", answer):
        written.append(f"{int(answer):,}")
    if re.fullmatch(r"-?\d+|-?\\frac\{\d+\}\{\d+\}|-?\d*\\sqrt\{\d+\}|-?\d+\.\d+", answer):
        written.append("x = " + answer)
    return written


# Shares of right ones, of what was measured on all rows. The last two hold whole sentences and derivations.
SHARES = {
    **dict.fromkeys(("math500", "math_test5000", "aime2024", "aime2025", "amc2023", "olympiadbench"), 0.999),
    **dict.fromkeys(("gaokao2023en", "gsm8k_test", "math_train7500", "aime_train_1983_2023"), 0.995),
    **dict.fromkeys(("college_math", "omni_math"), 0.98),
}


@pytest.mark.external
@pytest.mark.skipif("RSTAR_DATA_DIR" not in os.environ, reason="RSTAR_DATA_DIR is unset")
@pytest.mark.parametrize("name", SHARES)
def test_references_equal_themselves_reformatted_and_nothing_else(name, grader):
    rows = (Path(os.environ["RSTAR_DATA_DIR"]) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    sampler = random.Random(0)
    answers = [json.loads(row)["answer"] for row in sampler.sample(rows, min(len(rows), 150))]
    same = [(written, answer) for answer in answers if answer.strip() for written in reformatted(answer)]
    numbers = [answer for answer in answers if number(answer.strip("$")) is not None]
    value = {answer: number(answer.strip("$")) for answer in numbers}
    other = [
        (a, b) for a in numbers for b in sampler.sample(numbers, min(len(numbers), 5)) if value[a] != value[b]
    ]
    same_grades, other_grades = grader.grade(same), grader.grade(other)
    missed = [pair for pair, verdict in zip(same, same_grades, strict=True) if verdict != "right"]
    print(f"{name}: {1 - len(missed) / len(same):.2%} of {len(same)}; not: {missed[:5]}")
    assert len(missed) <= (1 - SHARES[name]) * len(same)
    assert set(other_grades) <= {"wrong"}


@pytest.mark.external
@pytest.mark.skipif("RSTAR_GRADING_FILE" not in os.environ, reason="RSTAR_GRADING_FILE is unset")
def test_published_cases(grader):
    with open(os.environ["RSTAR_GRADING_FILE"], encoding="utf-8") as file:
        cases = [case for line in file if not (case := json.loads(line))["policy"]]
    grades = grader.grade([(case["pred"], case["gold"]) for case in cases])
    missed = [c for c, verdict in zip(cases, grades, strict=True) if (verdict == "right") != c["expect"]]
    print(f"{1 - len(missed) / len(cases):.2%} of {len(cases)} as expected; not: {[c['id'] for c in missed]}")
    assert len(missed) <= 0.02 * len(cases)
    assert not [c for c in missed if "hostile" in c["note"]]
