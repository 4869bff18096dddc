"""The four rounds of self-evolution: search, curate, train the policy, train the PPM, evaluate.

Each stage reads the files of earlier ones and writes its own (stages.py); a killed run goes on where it
was. Every round trains again from the base model (section 3.4).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from rstar_jax import distributed, scalars, weights
from rstar_jax.data.corrections import corrections
from rstar_jax.data.load import load_problems, require_columns
from rstar_jax.data.problem_set import ProblemSet, fingerprint
from rstar_jax.engine.memory import free_bytes
from rstar_jax.engine.prefixes import pages_for
from rstar_jax.engine.shape import EngineModel
from rstar_jax.errors import UserError
from rstar_jax.evolve import known_sizes, learnt_sizes, report_page, stage_table, train_stages
from rstar_jax.evolve.announce import announce, by_stage, work
from rstar_jax.evolve.context import Context, policy_hash
from rstar_jax.evolve.kept import by_own_pace, keep_estimates, keep_later, keep_sources
from rstar_jax.evolve.problems import warn_of_seen, with_room
from rstar_jax.evolve.settings import RunSettings, at_round
from rstar_jax.evolve.stages import Workdir
from rstar_jax.evolve.summary import collect
from rstar_jax.inference import StepText, devices
from rstar_jax.models import DecoderConfig
from rstar_jax.models.params import param_specs
from rstar_jax.plan import host
from rstar_jax.plan.cost import Shape
from rstar_jax.plan.needs import Machine
from rstar_jax.report.notes import layers_line
from rstar_jax.report.progress import Progress
from rstar_jax.report.round_scalars import round_scalars
from rstar_jax.report.tables import show
from rstar_jax.report.write import write_report
from rstar_jax.served import Address, is_served, parse
from rstar_jax.served.models import require_model
from rstar_jax.settings import home_expanded, to_dict
from rstar_jax.transforms.lora import check as check_lora


def run(settings: RunSettings, workdir: Path) -> dict[str, Any]:
    """Does `settings.rounds` in `workdir` and returns the report that it also writes and shows; {} on hosts
    other than the first.

    1. read problems and models; refuse what does not go with them or with the devices
    2. claim the folder; read earlier rounds' manifests; try the sandbox
    3. print what the run will need
    4. the base model alone (with round 1); for each round: search -> curate -> policy -> ppm -> evaluate
    5. report, also where a round had to stop

    Raises UserError for bad input, for a sandbox that would not hold, for rounds whose predecessors are not
    there, and where a first round solves no problem at all.
    """
    work = Workdir(workdir, settings)
    scalars.require(settings.wandb)
    with Progress(distributed.here().leader) as progress:
        base, bootstrap = first_policies(settings)
        train, heldout = _problems(settings, progress.log)
        context = Context(  # 1
            settings=settings,
            work=work,
            progress=progress,
            base=base,
            bootstrap=bootstrap,
            train=train,
            heldout=heldout,
            judge=judge_folder(settings),
        )
        asked = {context.first_folder: "config.policy.bootstrap", base: "config.policy.init"}
        require_models(context, asked)
        require_judge(context)
        context = with_room(context)
        warn_of_seen(context)
        with work, contextlib.closing(context.scalars):  # 2
            return _rounds(context)


def _problems(settings: RunSettings, log: Callable[[str], None]) -> tuple[ProblemSet, ProblemSet]:
    """The problems to train on and those held out, each of which the run's task can check."""
    given, met = settings.problems, set[str]()
    read = functools.partial(
        load_problems,
        seed=given.seed,
        columns=given.columns,
        bad=given.bad,
        require=settings.verify.make_task().require,
        log=log,
        met=met,
    )
    mended = functools.partial(corrections, given.corrections, "config.problems.corrections")
    train = read(given.train, split="train", mended=mended())
    heldout = read(given.heldout, split="heldout", mended=mended())
    require_columns(given.columns, met, "config.problems.columns")
    return train, heldout


def _rounds(context: Context) -> dict[str, Any]:
    """Points 2 to 5 of `run`."""
    settings, work, progress = context.settings, context.work, context.progress
    stage_table.require_inputs(context)
    work.claim_inputs(_inputs(context))
    _require_server(context)
    with context.sandbox() as sandbox:  # refuses to start where it would not hold
        progress.log(f"sandbox: {layers_line(sandbox.layers)}.")
    distributed.led(lambda: _keep_notes(context))  # 3
    leads = distributed.here().leader
    report = work.root / "report.json"
    try:
        for name, round in stage_table.chosen(context):  # 4
            stage_table.run(context, name, round)
            if name == "curate":
                distributed.led(lambda round=round: _estimate_again(context, round))
            if leads:
                found = collect(work.root, to_dict(settings))
                write_report(report, found)
                context.scalars.rounds(round_scalars(found))
    except UserError:
        if leads:
            with contextlib.suppress(UserError):  # a disk that is full is full for the report too
                _report(context, report)  # what was found until then, and why it stopped
        raise
    return _report(context, report) if leads else {}  # 5


def _keep_notes(context: Context) -> None:
    keep_sources(context.work.root, {"train": context.train, "heldout": context.heldout})
    keep_estimates(context.work.root, _estimate(context))


def _estimate_again(context: Context, round: int) -> None:
    """Say what the stages after a round's search will need, now that its rows are there and sizes known."""
    if all(context.work.manifest(f"round{round}/{stage}") for stage in ("policy", "ppm")):
        return
    settings = context.settings
    rows, here = learnt_sizes.after_curate(context, round), machine(context)
    stages = by_stage(
        settings,
        _shapes(context),
        context.prompts,
        here,
        len(context.train),
        len(context.heldout),
        known_sizes.known(context, round),
        {
            f"round{round}/{stage}": (each.rows, each.tokens)
            for stage, each in zip(("policy", "ppm"), rows, strict=True)
        },
    )
    later = {name: one for name, one in stages.items() if _comes_after(name, round)}
    later = by_own_pace(context.work.root, later, lambda n: n > 1 and at_round(settings.search.ppm, n))
    keep_later(context.work.root, later)
    context.progress.log(f"Still to come, by what round {round} found: {work(later, here.device)}.")


def _comes_after(name: str, round: int) -> bool:
    """Tell if a stage of the estimates comes after a round's curation."""
    folder, _, stage = name.partition("/")
    number = int(folder[5:]) if folder.startswith("round") else 0
    return number > round or (number == round and stage != "search")


def _shapes(context: Context) -> tuple[Shape, Shape | Address]:
    bootstrap = context.bootstrap
    return shape_of(context.base), shape_of(bootstrap) if isinstance(bootstrap, Path) else bootstrap


def _estimate(context: Context) -> dict[str, Any]:
    """Say what the run will need; the estimates, as `announce` returns them."""
    return announce(
        context.settings,
        context.base.name,
        _shapes(context),
        context.prompts,
        machine(context),
        len(context.train),
        len(context.heldout),
        context.progress.log,
        known_sizes.known(context),
    )


def shape_of(folder: Path) -> Shape:
    """The numbers of a folder's model that cost anything."""
    config = weights.check_pretrained(folder)
    return Shape.of_decoder(config, param_specs(config))


def machine(context: Context) -> Machine:
    """Describe this host for estimates, with the groups of devices that decode, and the page pool that
    the run's base gets in each."""
    s = context.settings
    engine = EngineModel(weights.check_pretrained(context.base), jnp.dtype(s.policy.dtype))
    groups = engine.over(devices.mesh(s.decode))
    pages = pages_for(groups[0], s.decode, -(-context.demand // len(groups)))
    pool = pages * s.decode.page_size * engine.token_bytes
    kind = jax.devices()[0].device_kind
    found = Machine(kind, free_bytes(), pool, groups=len(groups), meshed=groups[0].mesh is not None)
    return dataclasses.replace(found, measured=host.cpu(s.policy.dtype)) if found.on_cpu else found


def _report(context: Context, path: Path) -> dict[str, Any]:
    report = collect(context.work.root, to_dict(context.settings))
    write_report(path, report)
    show(report, Console(highlight=False))
    report_page.at_the_end(context.work.root, context.progress.log)
    return report


def first_policies(settings: RunSettings) -> tuple[Path, Path | Address]:
    """The folders of the base and of the policy that searches in round 1, which may be behind a server."""
    base, bootstrap = base_folder(settings.policy.init), settings.policy.bootstrap
    if is_served(bootstrap):
        return base, parse(bootstrap, "config.policy.bootstrap")
    return base, base_folder(bootstrap, "config.policy.bootstrap") if bootstrap else base


def judge_folder(settings: RunSettings) -> Path | None:
    """The folder of the reward model that stands in for the rounds' own, if there is one."""
    given = settings.policy.ppm
    return base_folder(given, "config.policy.ppm") if given else None


def base_folder(spec: str, option: str = "config.policy.init") -> Path:
    """The folder of a model: "tiny" is the bundled one, anything else a folder or a hub id (downloaded).
    Raises UserError that names the option."""
    if spec == "tiny":
        return weights.TINY_BASE
    if not spec:
        raise UserError(f"{option}: '' given; 'tiny', a model's folder or a hub id expected.")
    folder = home_expanded(Path(spec), option)
    try:
        return folder if folder.exists() else weights.local_folder(spec)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error


def require_models(context: Context, asked: Mapping[Path, str]) -> None:
    """Refuses models that cannot be read, asked or trained: better now than when their stages come.

    asked: model folders and the option that names each.
    """
    devices.require(context.settings.decode)
    for folder, option in asked.items():
        try:
            shape = weights.check_pretrained(folder)
            context.tokenizer(folder)
        except UserError as error:
            raise UserError(f"{option}: {error}") from error
        context.cache(folder)
        if folder == context.base:
            _require_trainable(context, shape)


def require_judge(context: Context, option: str = "config.policy.ppm") -> None:
    """Refuses a reward model that cannot be read, or cannot read steps. option: which one names it."""
    if context.judge is None:
        return
    try:
        policy = context.tokenizer(context.first_folder)
        reader = StepText.checked(context.judge, policy, context.prompt("ppm"))
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    room, problems = context.settings.decode.context, (*context.train[:100], *context.heldout[:100])
    shortest = min((len(reader.prefix(problem.question, ())) for problem in problems), default=0)
    if shortest >= room:
        raise UserError(
            f"config.decode.context: {room} tokens given, but the prompts that {context.judge} reads have "
            f"{shortest} or more. Raise it to their length and a solution's."
        )


def _require_server(context: Context) -> None:
    """Refuses a server that is to be asked and cannot be, or not for this model."""
    searched = ("search", 1) in stage_table.chosen(context)
    if isinstance(context.bootstrap, Address) and searched and not context.work.manifest("round1/search"):
        require_model(context.bootstrap, "config.policy.bootstrap")


def _inputs(context: Context) -> dict[str, str]:
    """Checksum what the run reads from outside, by option: problems and models."""

    return {
        "problems.train": fingerprint(context.train),
        "problems.heldout": fingerprint(context.heldout),
        **({"policy.ppm": weights.model_hash(context.judge)} if context.judge else {}),
        "policy.init": weights.model_hash(context.base),
        "policy.bootstrap": policy_hash(context.bootstrap),
    }


def _require_trainable(context: Context, shape: DecoderConfig) -> None:
    """Low-rank training finds its targets, and the mesh its devices."""
    train = context.settings.train
    for config in (train.policy, train.ppm):
        train_stages.training_mesh(context, config, shape)
        check_lora(shape, config.lora)
