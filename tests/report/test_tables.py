"""The tables say what the report says, and stand with anything missing."""

import copy
import io

import pytest
from rich.console import Console

from rstar_jax.errors import UserError
from rstar_jax.records import Damaged
from rstar_jax.report import read_report, render, show, write_report
from rstar_jax.report.tables import tables

REPORT = {
    "base": {"policy_pass1": 0.3},
    "layers": {"seccomp": "80 calls allowed", "landlock": "missing: not in this kernel"},
    "rounds": [
        {
            "round": 1,
            "problems": 240,
            "coverage": {"all": 0.5, "level1": 0.75, "level2": 0.5, "level3": 0.25},
            "policy_pass1": 0.4,
            "search_accuracy": None,
            "trajectories": 1920,
            "sft_rows": 230,
            "pairs": 512,
            "difficulty": {"easy": 40, "medium": 80, "hard": 120},
            "failures": {"NameError": 900, "malformed": 30, "timeout": 1},
            "steps": 9310,
            "ppm_pair_accuracy": 0.7,
            "note": "",
        },
        {
            "round": 2,
            "coverage": {"all": 0.625},
            "policy_pass1": 0.55,
            "search_accuracy": 0.65,
            "failures": {f"Error{i}": 20 - i for i in range(12)},
            "note": "nothing [new] solved",
            "ungraded": 17,
            "ungradable": ["p1", "p2"],
            "unknown_steps": 0,
            "heldout_ungraded": 3,
        },
    ],
    "stages": [
        {
            "name": "round1/search",
            "seconds": 30.0,
            "decode": 18.0,
            "execution": 6.0,
            "host": 6.0,
            "peak_mb": 900,
            "compiled": {"programs": 12, "cached": 3, "seconds": 6.0},
            "note": "9,000 tokens were read again",
            "tokens": 70_000,
            "estimate": {"memory_mb": 850, "parts": {"runtime": 400}, "tokens": 90_000, "hours": 0.02},
        },
        {"name": "round1/policy", "seconds": 10.0, "training": 10.0, "peak_mb": 1200},
    ],
    "folder": "runs/a",
    "models": {"policy": "round2/policy/model"},
    "files": {"round2 policy": "runs/a/round2/policy/model", "report": "runs/a/report.json"},
    "seed": 0,
}


def cells(title: str, label: str, report=REPORT) -> tuple[str, ...]:
    table = next(t for t in tables(report) if t.title.startswith(title))
    return next(row[1:] for row in table.rows if row[0] == label)


def test_numbers_stand_under_their_round():
    assert cells("Training problems", "all problems") == ("50.0", "62.5")
    assert cells("Training problems", "level 3") == ("25.0", "-")
    assert cells("Held-out", "policy alone, pass@1") == ("30.0", "40.0", "55.0")
    assert cells("Held-out", "with search") == ("-", "-", "65.0")
    assert cells("What the searches", "hard (unsolved)") == ("120", "-")
    assert cells("Time and memory", "round1/search") == ("30.0", "75.0", "900", "12", "3", "6.0")
    assert cells("Where the time went", "compiling, within these") == ("6.0", "15.0")
    row = ("850", "900", "90,000", "-", "70,000", "72.0 s", "-", "30.0 s")
    assert cells("Estimates", "round1/search") == row
    assert "round1/search: 9,000 tokens were read again." in render(REPORT).splitlines()
    assert cells("Time and memory", "all stages") == ("40.0", "100.0", "1,200", "12", "3", "6.0")
    assert cells("Where the time", "decode") == ("18.0", "45.0")
    assert cells("Where the time", "training") == ("10.0", "25.0")


def test_device_sandbox_and_host_are_each_told_against_the_whole():
    clocks = {"device": 20.0, "device_awaited": 12.0, "sandbox": 9.0, "sandbox_awaited": 3.0, "host": 15.0}
    report = {**REPORT, "stages": [{**REPORT["stages"][0], **clocks}, REPORT["stages"][1]]}
    title = "Where the time went, of 30.0 s in 1 of 2 stages"  # the second was not measured so
    assert cells(title, "device", report) == ("20.0", "66.7", "10.0", "33.3")
    assert cells(title, "sandbox", report) == ("9.0", "30.0", "21.0", "70.0")
    assert cells(title, "host", report) == ("15.0", "50.0", "15.0", "50.0")
    assert cells(title, "host, for the device", report) == ("-", "-", "12.0", "40.0")
    assert cells(title, "host, for the sandbox", report) == ("-", "-", "3.0", "10.0")


def test_stages_that_ask_nothing_do_not_stand_for_a_run_that_was_not_measured():
    """A curate's clocks are all zero in the report of any release."""
    clocks = dict.fromkeys(("device", "device_awaited", "sandbox", "sandbox_awaited"), 0.0)
    curated = {**REPORT["stages"][1], "name": "round1/curate", "seconds": 0.2, "host": 0.2, **clocks}
    report = {**REPORT, "stages": [*REPORT["stages"], curated]}
    assert cells("Where the time went (kinds of work overlap)", "decode", report)[0] == "18.0"


def test_what_was_not_found_out_is_shown_where_it_happened():
    assert cells("What the searches", "answers that could not be graded") == ("-", "17")
    assert cells("What the searches", "problems with such answers alone") == ("-", "2")
    assert cells("What the searches", "held-out answers not graded") == ("-", "3")
    assert "could not tell of" not in render(REPORT)


def test_the_layers_of_the_sandbox_are_one_line():
    line = "Sandbox: seccomp; landlock missing: not in this kernel."
    assert line in render(REPORT).splitlines()


def test_causes_of_death_lose_none():
    table = next(t for t in tables(REPORT) if t.title == "Why steps died")
    assert table.rows[0] == ("NameError", "900", "0")
    assert table.rows[-1] == ("steps dead, % of all", "10.0", "-")
    for i, r in enumerate(REPORT["rounds"], start=1):
        assert sum(int(row[i].replace(",", "")) for row in table.rows[:-1]) == sum(r["failures"].values())


def test_files_are_one_line():
    line = "Files, in runs/a: everything measured report.json, policy round2/policy/model."
    assert render(REPORT).splitlines()[-1] == line
    assert render(REPORT).count("runs/a") == 1


def test_plain_text_is_aligned():
    text = render(REPORT)
    block = text.split("\n\n")[0].splitlines()
    assert block[1].rindex("round 2") + len("round 2") == len(block[3]) == len(block[2])
    assert "Round 2: nothing [new] solved" in text
    assert "\x1b" not in text


def prune(report, path):
    pruned = copy.deepcopy(report)
    inner = pruned
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return pruned


def paths(value, at=()):
    if not isinstance(value, dict | list):
        return
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*at, key)
        yield from paths(child, (*at, key))


@pytest.mark.parametrize("path", list(paths(REPORT)), ids=str)
def test_anything_may_be_missing_or_none(path):
    render(prune(REPORT, path))
    report = copy.deepcopy(REPORT)
    inner = report
    for key in path[:-1]:
        inner = inner[key]
    if not isinstance(path[-1], int):
        inner[path[-1]] = None
        render(report)


def test_empty_report_renders_nothing():
    assert render({}) == ""


def test_show_draws_on_a_terminal_and_is_plain_elsewhere():
    plain, drawn = io.StringIO(), io.StringIO()
    show(REPORT, Console(file=plain, width=40))
    assert plain.getvalue() == render(REPORT)
    show(REPORT, Console(file=drawn, width=100, force_terminal=True))
    assert "62.5" in drawn.getvalue() and "nothing [new] solved" in drawn.getvalue()


def test_report_comes_back_as_written(tmp_path):
    path = tmp_path / "run" / "report.json"
    write_report(path, REPORT)
    assert read_report(path) == REPORT
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_a_changed_figure_is_damage(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, REPORT)
    path.write_text(path.read_text().replace('"policy_pass1": 0.55', '"policy_pass1": 0.65'))
    with pytest.raises(Damaged, match="checksum"):
        read_report(path)


def test_not_a_number_becomes_null(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, {"seconds": float("nan"), "rounds": [{"round": 1, "policy_pass1": float("inf")}]})
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert read_report(path) == {"seconds": None, "rounds": [{"round": 1, "policy_pass1": None}]}


@pytest.mark.parametrize("text", ['{"rounds": [', "[]", '{"rounds": {"1": {}}}', '{"stages": [3]}', ""])
def test_damaged_report_is_named(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(Damaged, match=r"report\.json"):
        read_report(path)


def test_missing_report_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match="--workdir"):
        read_report(tmp_path / "report.json")
