"""Benchmarks by name: where their problems come from, and how each is measured where nothing else is said.

    math500                one of BENCHMARKS
    mine=jsonl:FILE        problems of one's own, by the name that results are to have
    jsonl:FILE, FILE       the same, named after the file

A folder of files (`--config.data`) is looked into first; of a benchmark that has no file there the set of the
hub is taken. To add one: a row of BENCHMARKS; a set of the hub whose columns keys do not tell is a row of
`data/known.py`, too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rstar_jax.data.corrections import Corrections
from rstar_jax.data.faults import Faults
from rstar_jax.data.known import Columns
from rstar_jax.data.load import load_problems, require_columns
from rstar_jax.data.problem_set import ProblemSet, Selected
from rstar_jax.data.specification import KINDS
from rstar_jax.errors import UserError
from rstar_jax.settings import home_expanded, nearest, require
from rstar_jax.stores import url_of
from rstar_jax.tasks import Role, Task

OPTION = "config.benchmarks"
_ENDINGS = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz", "")  # the last: a folder of files
_OWN_NAME = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)  # takes mine=jsonl:FILE, not =FILE
_SEED = 0  # of suite problems: a benchmark asks the same whatever the run's seed
_PER_LEVEL = 120  # problems of the embedded suite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A set of problems and how it is asked.

    source: its specification (`data/specification.py`); empty: only files have it. files: names that its file
        may have besides its own, without their endings. problems: how many there are; 0: not known.
    level: of its source only problems of this level are taken; 0: all. task: which it is of (`tasks.TASKS`);
        empty: of any. prompt: how a policy is asked, where nothing else is said.
    k: solutions of each problem that a policy alone is measured by, 1: its greedy one. metric: the figure
        that counts then, without its k (`metrics.METRICS`).
    """

    title: str
    source: str = ""
    files: tuple[str, ...] = ()
    problems: int = 0
    level: int = 0
    task: str = "math"
    prompt: Role = "finetuned"
    k: int = 1
    metric: Literal["pass", "avg", "maj"] = "pass"


def _contest(title: str, source: str, problems: int, *files: str) -> Benchmark:
    """A contest of few problems, of which one solution each tells little."""
    return Benchmark(title=title, source=source, files=files, problems=problems, k=16, metric="avg")


def _suite(title: str, level: int = 0) -> Benchmark:
    problems = _PER_LEVEL if level else 3 * _PER_LEVEL
    return Benchmark(title=title, source=f"suite:{3 * _PER_LEVEL}", problems=problems, level=level)


BENCHMARKS: dict[str, Benchmark] = {
    "math500": Benchmark(
        title="MATH-500",
        source="hf:HuggingFaceH4/MATH-500:test",
        files=("math_500", "math-500"),
        problems=500,
    ),
    "math": Benchmark(
        title="MATH",
        source="hf:EleutherAI/hendrycks_math:test",
        files=("math_test5000", "math_test", "math5000"),
        problems=5000,
    ),
    "gsm8k": Benchmark(
        title="GSM8K", source="hf:openai/gsm8k:test", files=("gsm8k_test", "gsm8k-test"), problems=1319
    ),
    "aime24": _contest("AIME 2024", "hf:HuggingFaceH4/aime_2024:train", 30, "aime2024", "aime_2024"),
    "aime25": _contest("AIME 2025", "hf:math-ai/aime25:test", 30, "aime2025", "aime_2025"),
    "aime26": _contest("AIME 2026", "hf:MathArena/aime_2026:train", 30, "aime2026", "aime_2026"),
    "amc23": _contest("AMC 2023", "hf:math-ai/amc23:test", 40, "amc2023", "amc_2023"),
    "hmmt25": _contest("HMMT February 2025", "hf:MathArena/hmmt_feb_2025:train", 30, "hmmt_feb_2025", "hmmt"),
    "hmmt26": _contest("HMMT February 2026", "hf:MathArena/hmmt_feb_2026:train", 0, "hmmt_feb_2026"),
    "olympiadbench": Benchmark(
        title="OlympiadBench",
        source="hf:Hothan/OlympiadBench:train",
        files=("olympiad_bench", "olympiad"),
        problems=675,
    ),
    "collegemath": Benchmark(
        title="College Math",
        source="hf:di-zhang-fdu/College_Math_Test:test",
        files=("college_math", "college-math", "college-math-test"),
        problems=2818,
    ),
    "gaokao2023en": Benchmark(
        title="GaoKao 2023 En",
        source="hf:MARIO-Math-Reasoning/Gaokao2023-Math-En:train",
        files=("gaokao2023_en", "gaokao_2023_en", "gaokao2023"),
        problems=385,
    ),
    "omnimath": Benchmark(
        title="Omni-MATH",
        source="hf:KbsdJames/Omni-MATH:test",
        files=("omni_math", "omni-math", "omni_test"),
        problems=4428,
    ),
    "suite": _suite("embedded suite, all levels"),
    **{f"suite-level{level}": _suite(f"embedded suite, level {level}", level) for level in (1, 2, 3)},
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A benchmark that was asked for. name: of its results. source: the specification of its problems."""

    name: str
    row: Benchmark
    source: str


def asked(names: str, data: str = "") -> list[Asked]:
    """The benchmarks of a list such as `math500,mine=jsonl:FILE`.

    data: a folder of files named after benchmarks. Raises UserError for an unknown benchmark (naming the
    nearest), one that is asked for twice, and one that has neither file nor set.
    """
    folder = home_expanded(Path(data), "config.data") if data else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"config.data: {data!r} given, a folder of files named after benchmarks expected.")
    found = [_asked(name.strip(), folder) for name in names.split(",") if name.strip()]
    require(found, "benchmarks", names, f"one or several, joined by commas, of {', '.join(BENCHMARKS)},")
    for one in found:
        if [other.name for other in found].count(one.name) > 1:
            raise UserError(
                f"{OPTION}: '{one.name}' given twice. Leave one out, or name it otherwise: OTHER=FILE."
            )
    return found


def _asked(given: str, folder: Path | None) -> Asked:
    if own := _OWN_NAME.fullmatch(given):
        return Asked(own[1], _own(own[1]), own[2])
    if (name := named(given)) is not None:
        return Asked(name, BENCHMARKS[name], _source(name, folder))
    kind, colon, rest = given.partition(":")
    if (colon and kind in KINDS) or given.isdecimal() or _is_there(given):
        name = re.sub(r"[^\w.-]+", "-", Path(rest if colon else given).name.partition(".")[0]).strip("-.")
        return Asked(name or "own", _own(given), given)
    raise UserError(
        f"{OPTION}: '{given}' given, no such benchmark. {nearest(given, BENCHMARKS)} Problems of your own: "
        "NAME=FILE."
    )


def _own(title: str) -> Benchmark:
    return Benchmark(title=title, task="")


def _is_there(path: str) -> bool:
    try:
        return url_of(path) is not None or Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # a name that is too long, nobody's home
        return False


def named(given: str) -> str | None:
    """The row of BENCHMARKS that a name, a title or a file's name stands for, however it is spelt."""
    plain = _plain(given)
    for name, row in BENCHMARKS.items():
        if plain in map(_plain, (name, row.title, *row.files)):
            return name
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _source(name: str, folder: Path | None) -> str:
    row = BENCHMARKS[name]
    if folder is not None and not row.source.startswith("suite:"):
        for stem in (name, *row.files):
            for ending in _ENDINGS:
                path = folder / f"{stem}{ending}"
                if path.is_file() or (not ending and path.is_dir()):
                    return str(path)
    return row.source


def problems_of(
    one: Asked,
    task: Task,
    *,
    columns: Columns,
    bad: Literal["fatal", "drop"],
    mended: Corrections | None = None,
    limit: int,
    log: Callable[[str], None],
) -> ProblemSet:
    """Read a benchmark's problems, the first `limit` of them where that is not 0.

    columns, bad, mended, log: as of `load_problems`. Raises UserError for a file that has another schema, and
    where nothing is left.
    """
    met = set[str]()
    try:
        found = load_problems(
            one.source,
            seed=_SEED,
            split="heldout",
            option=OPTION,
            columns=columns,
            bad=bad,
            require=task.require,
            log=log,
            met=met,
            mended=mended,
        )
    except UserError as error:
        hub = one.source.startswith("hf:")
        hint = f" Or put its file, such as {one.name}.jsonl, into a folder: --config.data=DIR." if hub else ""
        raise UserError(f"benchmark {one.name}: {error}{hint}") from error
    require_columns(columns, met, "config.columns")
    faults = found.faults or Faults(fatal=False)
    if one.row.level:
        levels = [problem.level for problem in found]
        found = Selected(found, [i for i, level in enumerate(levels) if level == one.row.level])
    if one.row.problems and len(found) != one.row.problems:
        log(
            f"warning: benchmark {one.name}: {len(found):,} problems in {one.source}, where it has "
            f"{one.row.problems:,}: figures of others may be of another set."
        )
    if limit and limit < len(found):
        found = Selected(found, range(limit))
    found.faults, found.mended = faults, mended
    return found
