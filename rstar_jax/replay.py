"""Stored steps once more, from what their trees say of where they come from: the same text must come.

A step is named by seed, round, problem, tree, node and candidate (`types.Origin`); the models are held by
their hashes, the options by the run's config.json. Keys and values of a text depend, in their roundings, on
the programs that made them. So the steps above a replayed one are sampled again too: it finds them in the
cache as the search left them there.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evolve.context import Context, Models, run_settings
from rstar_jax.evolve.rounds import first_policies, judge_folder
from rstar_jax.evolve.shards import Source, in_order, joined, tree_files
from rstar_jax.evolve.stages import Workdir
from rstar_jax.queues import call
from rstar_jax.report.progress import Progress
from rstar_jax.search import Leaf, Queues
from rstar_jax.search.grow import leaf_at
from rstar_jax.served import Address
from rstar_jax.types import Tree

_TOGETHER = 16  # trees that are replayed at a time
_SHOWN = 40  # characters of a difference
_STAGE = re.compile(r"(?:base|round([1-9]\d*))/(search|evaluate)")


@dataclasses.dataclass(frozen=True)
class ReplaySettings:
    """Choice of the steps of a run to replay.

    tree: in the run's folder a stage (round2/search), one of its files, or a tree of a file by its row
        (round2/search/trees-0-00000.parquet:7); empty: every stage.
    node: the step of that tree; -1: all of its steps.
    sample: where no tree is named, so many steps of each stage, of as many trees at most; 0 for all.
    """

    job: str = "replay"
    tree: str = ""
    node: int = -1
    sample: int = 100

    def __post_init__(self) -> None:
        if self.node < -1 or self.node == 0:
            raise UserError(
                f"config.node: {self.node} given; a step of the tree expected, from 1 on (nobody wrote the "
                "root, 0), or -1 for all."
            )
        if self.sample < 0:
            raise UserError(f"config.sample: {self.sample} given, 0 (all) or more expected.")
        if self.node > 0 and ":" not in self.tree:
            raise UserError(
                f"config.node: {self.node} given without its tree; --config.tree=FILE:ROW expected beside "
                "it, such as round2/search/trees-0-00000.parquet:7."
            )


@dataclasses.dataclass(frozen=True)
class ReplayItem:
    """A stored tree of which some steps are to be replayed. where: its file and row."""

    where: str
    tree: Tree
    nodes: tuple[int, ...]


def run(settings: ReplaySettings, workdir: Path) -> None:
    """Replays, and prints for each stage how many steps came out the same, and which did not.

    Raises UserError where there is no such run, stage, tree or step, where a file is damaged or a model is
    not the one that searched, and at the end if some step came out otherwise.
    """
    try:
        _run(settings, workdir)
    except records.Damaged as error:  # whose own words are a run's
        raise UserError(
            f"{error.path}: damaged ({error.why}); trees as the search wrote them expected. It stays "
            "as it is: put the file back as it was, let the run's own command search its problems again, or "
            "name other trees by --config.tree."
        ) from error


def _run(settings: ReplaySettings, workdir: Path) -> None:
    with Progress() as progress:
        context = _context(workdir, progress)
        replayed = wrong = 0
        size = context.settings.search.shard
        for name, files, row in _stages(settings.tree, workdir, size):
            differing, count = _replay(context, name, _chosen(workdir, files, row, size, settings))
            progress.log(f"{name}: {count - differing:,} of {count:,} steps came out the same.")
            replayed, wrong = replayed + count, wrong + differing
    if not replayed:
        raise UserError(f"{workdir / settings.tree}: no steps there to replay.")
    if wrong:
        raise UserError(
            f"{wrong:,} of {replayed:,} steps came out otherwise than they are stored (see above). An edited "
            "file, another kind of device or another version of jax would explain it."
        )


def again(queues: Queues, chosen: Sequence[ReplayItem]) -> Iterator[tuple[ReplayItem, int, str, str]]:
    """Chosen steps, sampled and checked again: each with its node, what the policy writes now, and that with
    what the interpreter shows."""
    needed = {(k, i) for k, c in enumerate(chosen) for node in c.nodes for i in c.tree.path(node)}
    deepest = max((chosen[k].tree.nodes[i].depth for k, i in needed), default=0)
    for depth in range(1, deepest + 1):
        steps = [(chosen[k], i) for k, i in sorted(needed) if chosen[k].tree.nodes[i].depth == depth]
        leaves = list(dict.fromkeys(_leaf(c.tree, i) for c, i in steps))
        found = dict(zip(leaves, call(queues.propose, leaves), strict=True))
        wanted = [(c, i) for c, i in steps if i in c.nodes]
        written = [found[_leaf(c.tree, i)][c.tree.nodes[i].candidate] for c, i in wanted]
        run = [candidate.finish != "length" for candidate in written]  # as in a search, others are never run
        requests = [
            (c.tree.problem, (*_leaf(c.tree, i).steps, candidate.text))
            for (c, i), candidate, runs in zip(wanted, written, run, strict=True)
            if runs
        ]
        verdicts = iter(call(queues.check, requests))
        for (c, i), candidate, runs in zip(wanted, written, run, strict=True):
            yield c, i, candidate.text, next(verdicts).text if runs else candidate.text


def _leaf(tree: Tree, i: int) -> Leaf:
    """The leaf that a step was proposed at."""
    node, at = tree.nodes[i], tree.nodes[i].origin
    return leaf_at(tree.problem, tree.nodes, node.parent, at.node, at.tree_index, at.n, at.temperature)


def _context(workdir: Path, progress: Progress) -> Context:
    """The run's, with programs run again instead of remembered. Its folder may be in use."""
    settings = run_settings(workdir)
    verify = dataclasses.replace(settings.verify, memo=False)
    base, bootstrap = first_policies(settings)
    return Context(
        settings=dataclasses.replace(settings, verify=verify),
        work=Workdir(workdir, settings),
        progress=progress,
        base=base,
        bootstrap=bootstrap,
        train=[],
        heldout=[],
        judge=judge_folder(settings),
    )


def _stages(named: str, workdir: Path, size: int) -> list[tuple[str, list[Path], int | None]]:
    """(stage, files of trees, row or None for all) of what was named; without a name every stage.

    size: of the run's shards.
    """
    path, colon, row = named.partition(":")
    if colon and not row.isdecimal():
        raise UserError(f"config.tree: {named!r} given, FILE:ROW expected, the row counted from 0.")
    parts = Path(path).parts
    stages = ["/".join(parts[:2])]
    if not named:
        folders = [*workdir.glob("base/evaluate"), *workdir.glob("round*/*")]
        names = [f.relative_to(workdir).as_posix() for f in sorted(folders, key=in_order)]
        stages = [name for name in names if _STAGE.fullmatch(name)]
    elif not _STAGE.fullmatch(stages[0]) or len(parts) > 3 or (colon and len(parts) < 3):
        raise UserError(
            f"config.tree: {named!r} given; a stage in {workdir} such as round2/search, one of its files, or "
            "a tree of a file such as round2/search/trees-0-00000.parquet:7 expected."
        )
    if len(parts) == 3:
        file = workdir / path
        later = joined(file, size)
        if not file.is_file() and not (later and later[0].is_file()):
            raise UserError(f"config.tree: {file}: no such file.")
        return [(stages[0], [file], int(row) if colon else None)]
    return [(stage, tree_files(workdir / stage, size), None) for stage in stages]


def _chosen(
    workdir: Path, files: Sequence[Path], row: int | None, size: int, settings: ReplaySettings
) -> Iterator[list[ReplayItem]]:
    """The steps to replay, by tree: a sample at once, else those of one file after the other."""
    rows = {file: range(1 if joined(file, size) else parquet.count_rows(file)) for file in files}
    if row is not None:
        (file,) = files
        if row not in rows[file]:
            raise UserError(f"config.tree: row {row} given, but {file} has {len(rows[file])}, from 0 on.")
        rows[file] = range(row, row + 1)
    if row is None and settings.sample:
        yield _sample(workdir, [(file, i) for file in files for i in rows[file]], size, settings.sample)
        return
    for file in files:
        trees = _read(file, size)
        some = [_all_of(workdir, *trees[i]) for i in rows[file]]
        if settings.node > 0:
            (one,) = some
            if settings.node not in one.nodes:
                raise UserError(
                    f"config.node: {settings.node} given, but {one.where} has steps 1 to {len(one.nodes)}."
                )
            some = [dataclasses.replace(one, nodes=(settings.node,))]
        yield some


def _read(file: Path, size: int) -> list[tuple[Path, int, Tree]]:
    """The trees of a file, each with the file and the row where it lies.

    A run that goes on may have joined a single tree's file into its shard since it was listed.
    """
    later, first = joined(file, size), 0
    try:
        trees = parquet.read_rows(file, Tree)
    except records.Damaged:
        if later is None or file.exists() or not later[0].exists():
            raise
        file, first = later
        trees = parquet.read_rows(file, Tree)[first : first + 1]
    if later and len(trees) != 1:
        raise records.Damaged(file, f"{len(trees)} trees, one expected")
    return [(file, row, tree) for row, tree in enumerate(trees, first)]


def _sample(workdir: Path, rows: list[tuple[Path, int]], size: int, steps: int) -> list[ReplayItem]:
    """Draw some steps, the same at every call, of so many trees at most; whole trees are few in memory."""
    draw = random.Random(0)
    found: list[ReplayItem] = []
    some = [rows[i] for i in sorted(draw.sample(range(len(rows)), min(steps, len(rows))))]
    for file, entries in itertools.groupby(some, key=lambda entry: entry[0]):
        trees = _read(file, size)
        found += [_all_of(workdir, *trees[i]) for _, i in entries]
    nodes = [(k, node) for k, c in enumerate(found) for node in c.nodes]
    kept: dict[int, list[int]] = {}
    for k, node in sorted(draw.sample(nodes, min(steps, len(nodes)))):
        kept.setdefault(k, []).append(node)
    return [dataclasses.replace(found[k], nodes=tuple(some)) for k, some in kept.items()]


def _all_of(workdir: Path, file: Path, row: int, tree: Tree) -> ReplayItem:
    for i, node in enumerate(tree.nodes[1:], 1):
        if not 0 <= node.candidate < node.origin.n:
            raise records.Damaged(file, f"row {row}, node {i} does not say which candidate it was")
    return ReplayItem(f"{file.relative_to(workdir)}:{row}", tree, tuple(range(1, len(tree.nodes))))


def _replay(context: Context, name: str, batches: Iterator[list[ReplayItem]]) -> tuple[int, int]:
    """Replays steps of a stage and says which came out otherwise; returns how many of how many did."""
    match, first = _STAGE.fullmatch(name), next(batches, [])
    if match is None or not first:
        return 0, 0
    round, stage = int(match[1] or 0), match[2]
    models, progress = context.models(round, stage), context.progress
    if isinstance(models.policy, Address):
        progress.log(f"{name}: its policy is behind a server, whose samples cannot be drawn again; left out.")
        return 0, 0
    now = context.source(round, models)
    _require_source(context, models, now, first)  # before the models are loaded
    differing = replayed = 0
    with context.sandbox() as sandbox, progress.stage(f"replay {name}", None, "steps"):
        queues = context.reasoner(models, sandbox).queues(round)
        for chosen in itertools.chain([first], batches):
            _require_source(context, models, now, chosen)
            for at in range(0, len(chosen), _TOGETHER):
                for c, node, written, shown in again(queues, chosen[at : at + _TOGETHER]):
                    replayed += 1
                    progress.update(replayed)
                    stored = c.tree.nodes[node].text
                    if shown != stored:
                        differing += 1
                        who = "the interpreter showed" if stored.startswith(written) else "the policy wrote"
                        progress.log(f"{c.where}, node {node}: {who} otherwise: {_difference(stored, shown)}")
    return differing, replayed


def _require_source(context: Context, models: Models, now: Source, chosen: Sequence[ReplayItem]) -> None:
    """Refuses trees of another seed, round or model than the run has now."""
    for c in chosen:
        for what, theirs, ours, where in (
            ("seed", c.tree.seed, now.seed, context.work.root / "config.json"),
            ("round", c.tree.round, now.round, c.where),
            ("policy", c.tree.policy, now.policy, models.policy),
            ("PPM", c.tree.ppm, now.ppm, models.ppm or "no PPM here"),
        ):
            if theirs != ours:
                raise UserError(
                    f"{c.where}: searched with another {what} than there is now ({theirs or 'none'} then, "
                    f"{ours or 'none'} now: {where}). Put it back as it was to replay its steps."
                )


def _difference(stored: str, now: str) -> str:
    """Show where two texts part, and how each goes on there."""
    ends = min(len(stored), len(now))
    at = next((i for i in range(ends) if stored[i] != now[i]), ends)
    return f"after {at} characters {stored[at : at + _SHOWN]!r} is stored, now {now[at : at + _SHOWN]!r}"
