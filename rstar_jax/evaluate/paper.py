"""Figures of the paper (arXiv 2501.04519), and a run's own beside them, by round and benchmark.

What may be compared is said row by row: the same benchmark, a policy from the same base, and a protocol near
enough. Everything else stands beside the paper's figure for orientation, with why it is no comparison.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Way = Literal["solved", "policy", "search", "searches"]
# What is measured, as a heading: problems that training searches solved, the policy's one greedy solution,
# one search guided by the PPM, and 64 of them.
WAYS: dict[Way, str] = {
    "solved": "share of the training problems solved",
    "policy": "the policy alone, pass@1",
    "search": "with search",
    "searches": "64 searches",
}
BASE = "Qwen2.5-Math-7B"
# By its key in `benchmarks.BENCHMARKS`. The paper's MATH are the 500 problems of Lightman et al. (its 4.1).
BENCHMARKS = {
    "train": "747k training problems",
    "math500": "MATH-500",
    "aime24": "AIME 2024",
    "olympiadbench": "OlympiadBench",
    "collegemath": "College Math",
    "omnimath": "Omni-MATH",
}
# Bases of the tables, by how folders and hubs call them: takes Qwen/Qwen2.5-Math-7B, not ...-Math-72B.
_BASES = {
    BASE: r"qwen2\.5-math-7b(?![a-z0-9])",
    "Qwen2.5-Math-1.5B": r"qwen2\.5-math-1\.5b(?![a-z0-9])",
    "Phi3-mini": r"phi-?3-mini",
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure of the paper: a share, 0 to 1. round: 0 is the base, before any."""

    benchmark: str
    way: Way
    round: int
    share: float
    base: str = BASE


def _by_round(benchmark: str, way: Way, *percents: float) -> list[Published]:
    return [Published(benchmark, way, round, p / 100) for round, p in enumerate(percents, start=1)]


def _by_base(benchmark: str, *percents: float) -> list[Published]:
    by_base = zip(_BASES, percents, strict=True)
    return [Published(benchmark, "searches", 4, p / 100, base) for base, p in by_base]


PUBLISHED: tuple[Published, ...] = (
    *_by_round("train", "solved", 60.17, 66.60, 77.86, 90.25),
    Published("math500", "policy", 0, 0.588),
    *_by_round("math500", "policy", 69.6, 73.6, 75.8, 78.4),
    *_by_round("math500", "search", 75.2, 86.6, 87.0, 89.4),
    *_by_round("aime24", "search", 10.0, 43.3, 46.7, 50.0),
    *_by_round("olympiadbench", "search", 35.7, 59.4, 61.6, 65.3),
    *_by_base("math500", 90.0, 88.6, 86.4),
    *_by_base("aime24", 53.3, 46.7, 43.3),
    *_by_base("olympiadbench", 65.6, 64.6, 60.3),
    *_by_base("collegemath", 60.5, 59.3, 59.1),
    *_by_base("omnimath", 50.5, 48.5, 46.0),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ours:
    """A figure of a run. benchmark: as in BENCHMARKS, or what else was asked. round: None: not known.

    base: what its policy was trained from, as far as is known. low, high: its interval, where one was made.
    differs: what of its protocol is not the paper's.
    """

    benchmark: str
    way: Way
    round: int | None
    share: float
    low: float | None = None
    high: float | None = None
    base: str = ""
    differs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """A figure of the paper and a run's own. why: what stands against a comparison; empty: nothing does."""

    paper: Published
    ours: Ours
    why: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        return not self.why


def beside_report(report: Mapping[str, Any]) -> list[Beside]:
    """Rows of a run of rounds, from report.json, in the order of `PUBLISHED`: of its base and each round.

    The held-out problems stand beside the paper's MATH where they are none of its benchmarks.
    """
    return _beside(list(_of_report(report)))


def beside_evaluation(evaluation: Mapping[str, Any], round: int | None = None) -> list[Beside]:
    """Rows of evaluation.json, for each of its benchmarks that the paper has.

    round: which of a run's rounds made the models; None: as the policy's folder says (W/round3/policy/model).
        Where nothing says it they stand beside round 4.
    """
    found = [ours for ours in _of_evaluation(evaluation, round) if ours.benchmark in BENCHMARKS]
    return _beside(found)


def _beside(found: list[Ours]) -> list[Beside]:
    rows = list[Beside]()
    for paper in PUBLISHED:
        for ours in found:
            nearest = "train" if ours.way == "solved" else "math500"
            benchmark = ours.benchmark if ours.benchmark in BENCHMARKS else nearest
            round = 4 if ours.round is None else ours.round
            base = _base(ours.base) if ours.way == "searches" else None
            theirs = (benchmark, ours.way, round, base or BASE)
            if theirs == (paper.benchmark, paper.way, paper.round, paper.base):
                rows.append(Beside(paper=paper, ours=ours, why=tuple(_why(paper, ours))))
    return rows


def _base(name: str) -> str | None:
    """The base of the paper that a model's name or folder says it is."""
    return next((base for base, words in _BASES.items() if re.search(words, name, re.IGNORECASE)), None)


def _why(paper: Published, ours: Ours) -> Iterator[str]:
    """Name what stands against comparing two figures."""
    if ours.benchmark != paper.benchmark:
        yield f"other problems ({ours.benchmark})"
    if _base(ours.base) != paper.base:
        yield f"another base ({ours.base or 'not known'}; the paper's is {paper.base})"
    if ours.round is None:
        yield "it is not known which round made the models"
    yield from ours.differs


def _of_report(report: Mapping[str, Any]) -> Iterator[Ours]:
    options = report.get("config") or {}
    base = str((options.get("policy") or {}).get("init") or "")
    problems = options.get("problems") or {}
    benchmark = _benchmark(str(problems.get("heldout", "")))
    search = options.get("evaluate") or {}
    train = f"training problems {problems.get('train', '?')}"
    alone = (report.get("base") or {}).get("policy_pass1")
    rows: list[tuple[int, Way | None, float | None, str, tuple[str, ...]]]
    rows = [(0, "policy", alone, benchmark, ())]
    for one in report.get("rounds") or []:
        number, coverage = one.get("round"), (one.get("coverage") or {}).get("all")
        rows.append((number, "solved", coverage, train, ()))
        rows.append((number, "policy", one.get("policy_pass1"), benchmark, ()))
        rows.append((number, _way(search), one.get("search_accuracy"), benchmark, tuple(_differs(search))))
    for number, way, share, of, differs in rows:
        if share is not None and way is not None:
            yield Ours(benchmark=of, way=way, round=number, share=share, base=base, differs=differs)


def _of_evaluation(evaluation: Mapping[str, Any], round: int | None) -> Iterator[Ours]:
    base = str((evaluation.get("models") or {}).get("policy", {}).get("name", ""))
    if round is None and (made := re.search(r"\bround([1-9][0-9]*)/policy\b", base)):
        round = int(made[1])
    for one in evaluation.get("benchmarks") or []:
        protocol, figures = one.get("protocol") or {}, one.get("figures") or {}
        greedy = figures.get("greedy") or (protocol.get("strategy") == "greedy" and figures.get("pass@1"))
        ways: list[tuple[Way | None, Any, tuple[str, ...]]]
        ways = [("policy", greedy, ()), (_way(protocol), figures.get("search"), tuple(_differs(protocol)))]
        for way, figure, differs in ways:
            if figure and way:
                yield Ours(
                    benchmark=one.get("name", ""),
                    way=way,
                    round=round,
                    share=figure["value"],
                    low=figure["low"],
                    high=figure["high"],
                    base=base,
                    differs=differs,
                )


def _way(protocol: Mapping[str, Any]) -> Way | None:
    """Which of the paper's ways a search is; None for what it has not."""
    return {"mcts": "search", "mcts_repeated": "searches"}.get(protocol.get("strategy", ""))  # type: ignore[return-value]


def _differs(protocol: Mapping[str, Any]) -> Iterator[str]:
    """Name what of a search is too far from the paper's test time to compare."""
    searches = protocol.get("k", protocol.get("searches", 64))
    if protocol.get("strategy") == "mcts_repeated" and searches != 64:
        yield f"{searches} searches, 64 in the paper"
    if protocol.get("candidates", 32) < 16:
        yield f"{protocol['candidates']} candidates, 32 in the paper"


def _benchmark(specification: str) -> str:
    """The paper's benchmark that held-out problems are by the name of their source, else that name."""
    name = re.sub(r"[^a-z0-9]", "", specification.lower())
    known = {
        "math500": ("math500",),
        "aime24": ("aime2024", "aime24"),
        "olympiadbench": ("olympiadbench",),
        "collegemath": ("collegemath",),
        "omnimath": ("omnimath",),
    }
    if "+" not in specification and "*" not in specification:
        for benchmark, words in known.items():
            if any(word in name for word in words):
                return benchmark
    return f"suite:{specification}" if specification.isdecimal() else specification
