"""Options of a sweep (`job.py`)."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.errors import UserError
from rstar_jax.settings import require


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """A job at several points.

    of: the job's config, by name or path, which --config.job=NAME says on the command line.
    over: what is swept, each as OPTION=VALUES, where --config.over.OPTION=VALUES says it on the command line.
        VALUES are joined by commas; one that has commas of its own stands in brackets or quotes, as in
        '(8,16),(4,8)' or '"curate,policy",search'.
    options: what is the same at all points, each as OPTION=VALUE; on the command line the job's own flags.
    zip: whether the first values of all options make the first point, the second ones the second, and so on;
        else every value meets every other.
    seeds: how many seeds each setting is run with: the job's own `seed` and those after it.
    at_once: how many points run at a time, each in a process of its own.
    do: "run" all points here; write their "commands", or "manifests" that start each as a job of its own (as
        --config=launch writes them); or make the "table" of what is done.
    launch: of manifests, options of --config=launch, each as OPTION=VALUE, which --config.launch.OPTION=VALUE
        says on the command line; `name` and `workdir` are those that the points' begin with.
    metrics: which figures the table has, joined by commas, such as pass@8,search; "all": all that were
        measured; empty: those that count.
    """

    job: str = "sweep"
    of: str = "quickstart"
    over: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    zip: bool = False
    seeds: int = 1
    at_once: int = 1
    do: Literal["run", "commands", "manifests", "table"] = "run"
    launch: tuple[str, ...] = ()
    metrics: str = ""

    def __post_init__(self) -> None:
        for name in ("seeds", "at_once"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.of, "of", self.of, "a config's name")
        for group in ("over", "options", "launch"):
            for text in getattr(self, group):
                name, equals, _ = text.partition("=")
                require(name and equals, group, text, "OPTION=VALUE")
        if self.launch and self.do != "manifests":
            raise UserError(
                f"config.launch: {self.launch[0]} given, which only manifests have a use for. Add "
                "--config.do=manifests, or leave it out."
            )
