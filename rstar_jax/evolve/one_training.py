"""What a training of one model on given data is beside its stages: inputs that are looked at first, a folder
that is its own, a report whatever happens. `sft.py` trains a policy so, `ppm.py` a PPM."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console

from rstar_jax import distributed, scalars, weights
from rstar_jax.data.corrections import corrections
from rstar_jax.data.known import Columns
from rstar_jax.data.load import load_problems, require_columns
from rstar_jax.errors import UserError
from rstar_jax.evolve import given, report_page, rounds
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.kept import keep_sources
from rstar_jax.evolve.problems import with_room
from rstar_jax.evolve.settings import PolicySettings, RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import show
from rstar_jax.report.write import write_report
from rstar_jax.settings import to_dict
from rstar_jax.tasks import VerifySettings
from rstar_jax.train import TrainConfig
from rstar_jax.types import Problem


class Settings(Protocol):
    """Options that every such training has."""

    @property
    def heldout(self) -> str: ...
    @property
    def columns(self) -> Columns: ...
    @property
    def bad(self) -> Literal["fatal", "drop"]: ...
    @property
    def corrections(self) -> str: ...
    @property
    def policy(self) -> PolicySettings: ...
    @property
    def verify(self) -> VerifySettings: ...
    @property
    def wandb(self) -> str: ...
    def as_run(self) -> RunSettings: ...


def refuse_unused(policy: PolicySettings, bootstrap: str, ppm: str) -> None:
    """Refuse options of `policy` that mean nothing here. bootstrap, ppm: why, and what to do instead."""
    for name, why in (("bootstrap", bootstrap), ("ppm", ppm)):
        if value := getattr(policy, name):
            raise UserError(f"config.policy.{name}: {value!r} given, but {why}")


def told_of_long(option: str, config: TrainConfig, long: int, looked_at: int, what: str, kept: str) -> str:
    """Say what becomes of examples that are longer than a row; empty where there are none.

    option: where `config` stands. kept: what is learnt of them where they are cut. Raises UserError where
    they are refused: now, since a large base may be evaluated for hours before it is trained.
    """
    if not long:
        return ""
    found = f"{long} of {looked_at} {what} looked at have more than {config.seq_len:,} tokens"
    if config.long == "error":
        raise UserError(
            f"{option}.seq_len: {config.seq_len} given, but {found}, and {option}.long is 'error'. Raise it, "
            f"or give --{option}.long=drop or truncate."
        )
    done = kept if config.long == "truncate" else f"Such {what} are left out"
    return f"warning: {option}.seq_len: {found}. {done}; raise it to have them learnt."


def run(
    settings: Settings,
    workdir: Path,
    data: tuple[str, str, str],
    stages: Callable[[Context, list[Path]], None],
    collect: Callable[[Path, dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Train in `workdir`; returns the report that it also writes and shows, and {} on hosts other than the
    first.

    1. read held-out problems and the model's folder; refuse what does not go with them or with the devices
    2. claim the folder
    3. the stages, on the given files
    4. report, also where a stage had to stop

    data: the option that names the given files, its value, and the forms that its rows may have. What is done
    is not done again. Raises UserError for bad input.
    """
    option, spec, forms = data
    work = Workdir(workdir, settings)
    scalars.require(settings.wandb)
    leads = distributed.here().leader
    with Progress(leads) as progress:
        files = given.given_files(spec, f"config.{option}", forms)  # 1
        context = _context(settings, work, progress)
        with work, contextlib.closing(context.scalars):  # 2
            work.claim_inputs(
                {
                    option: given.digest_of(files),
                    "heldout": hashlib.sha256(repr([*context.heldout]).encode(errors="replace")).hexdigest(),
                    "policy.init": weights.model_hash(context.base),
                }
            )
            if not leads:
                stages(context, files)
                return {}
            keep_sources(work.root, {"heldout": context.heldout})
            try:
                stages(context, files)  # 3
            finally:
                report = collect(work.root, to_dict(settings))  # 4
                with contextlib.suppress(UserError):  # a disk that is full is full for the report too
                    write_report(work.root / "report.json", report)
            show(report, Console(highlight=False))
            report_page.at_the_end(work.root, progress.log)
    return report


def _context(settings: Settings, work: Workdir, progress: Progress) -> Context:
    base = rounds.base_folder(settings.policy.init)
    context = Context(
        settings=settings.as_run(),
        work=work,
        progress=progress,
        base=base,
        bootstrap=base,
        train=[],
        heldout=_heldout(settings, progress.log),
    )
    rounds.require_models(context, {base: "config.policy.init"})
    context = with_room(context)
    return dataclasses.replace(context, train=context.heldout)  # nothing else is ever asked


def _heldout(settings: Settings, log: Callable[[str], None]) -> Sequence[Problem]:
    if not settings.heldout:
        return []
    met = set[str]()
    heldout = load_problems(
        settings.heldout,
        seed=0,
        split="heldout",
        option="config.heldout",
        columns=settings.columns,
        bad=settings.bad,
        require=settings.verify.make_task().require,
        log=log,
        met=met,
        mended=corrections(settings.corrections, "config.corrections"),
    )
    require_columns(settings.columns, met, "config.columns")
    return heldout
