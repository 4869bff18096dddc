"""Data out: what a run's searches found, as a data set that others load.

    OUT/README.md                 the card: configs, columns, counts, provenance
    OUT/trees/round2-0-00000.parquet      a row a node (`data/flat_trees.py`)
    OUT/trajectories/..., OUT/solutions/..., OUT/pairs/...
    OUT/authors_sft/..., OUT/trl_preference/..., ...    the further formats asked for
    OUT/*/DONE.json               SHA-256 of each file, as of a run's stages

A file is whole or absent, and one that is there is not written again; what is read is never in memory whole.
Held-out trees stay where they are: a data set with the answers of benchmarks in it spoils them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

import rstar_jax
from rstar_jax import columns, manifests, parquet, records, weights
from rstar_jax.data import authors, flat_trees, formats
from rstar_jax.data.authors import Frame
from rstar_jax.data.dataset_card import CardPart, dataset_card
from rstar_jax.errors import UserError
from rstar_jax.evolve.context import run_settings
from rstar_jax.evolve.reward_models import PAIRS, SFT
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.shards import in_order
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report.progress import Progress
from rstar_jax.settings import home_expanded, nearest, require
from rstar_jax.types import PreferencePair, SftRow, Tree
from rstar_jax.weights import card

CARD = "README.md"
_TREES, _ROWS = 16, 1024  # in memory at a time
_PER_FILE = 1 << 16  # solutions or pairs
Kind = Literal["trees", "solutions", "pairs"]


@dataclasses.dataclass(frozen=True)
class _Form:
    """A part of the data set. of: what of a run it is made of. schema: None for JSON lines. make: the tables
    or objects of what is read, in order."""

    of: Kind
    schema: pa.Schema | None
    make: Callable[[Iterator[pa.Table], Callable[[], Frame]], Iterable[Any]]


def _rows(kind: type, tables: Iterable[pa.Table]) -> Iterator[Any]:
    return (columns.build(kind, row) for table in tables for row in table.to_pylist())


def _same(tables: Iterator[pa.Table], _: Any) -> Iterator[pa.Table]:
    return tables


_PARTS: dict[str, _Form] = {
    "trees": _Form("trees", flat_trees.SCHEMA, lambda found, _: map(flat_trees.flattened, found)),
    "trajectories": _Form(
        "trees", flat_trees.TRAJECTORIES, lambda found, _: map(flat_trees.trajectories, found)
    ),
    "solutions": _Form("solutions", columns.schema(SftRow), _same),
    "pairs": _Form("pairs", columns.schema(PreferencePair), _same),
}
# By what is asked for in `formats`: further parts.
FORMATS: dict[str, dict[str, _Form]] = {
    "authors": {
        "authors_sft": _Form("solutions", None, lambda found, _: map(authors.solution, _rows(SftRow, found))),
        "authors_ppm": _Form(
            "pairs", None, lambda found, frame: authors.pairs(_rows(PreferencePair, found), frame())
        ),
        "authors_trees": _Form("trees", None, lambda found, _: map(authors.tree, _rows(Tree, found))),
    },
    "trl_preference": {
        "trl_preference": _Form(
            "pairs",
            formats.PREFERENCE,
            lambda found, frame: (
                formats.preference(_rows(PreferencePair, [table]), frame()) for table in found
            ),
        )
    },
    "trl_stepwise": {
        "trl_stepwise": _Form(
            "trees",
            formats.STEPWISE,
            lambda found, frame: (
                formats.stepwise(flat_trees.trajectories(table).to_pylist(), frame()) for table in found
            ),
        )
    },
    "chat": {
        "chat": _Form(
            "solutions",
            formats.CHAT,
            lambda found, _: (formats.chat(_rows(SftRow, [table])) for table in found),
        )
    },
}
_KINDS: dict[Kind, type] = {"trees": Tree, "solutions": SftRow, "pairs": PreferencePair}


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """An export.

    source: the folder of a run of rounds, its --workdir. rounds: whose data are exported; empty: those of
        every round that has searched.
    formats: formats besides trees, trajectories, solutions and pairs as Parquet: "authors" (JSON lines of the
        authors' code: solutions, pairs, trees), "trl_preference", "trl_stepwise", "chat".
    """

    job: str = "export"
    source: str = ""
    rounds: tuple[int, ...] = ()
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A single word on the command line may hold several: --config.formats=authors,chat.
        names = tuple(dict.fromkeys(name for word in self.formats for name in word.split(",") if name))
        object.__setattr__(self, "formats", names)
        for name in names:
            hint = f"names of formats. {nearest(name, FORMATS)} Each"
            require(name in FORMATS, "formats", self.formats, hint)
        require(all(r >= 1 for r in self.rounds), "rounds", self.rounds, "rounds from 1 on")


def run(settings: ExportSettings, workdir: Path) -> dict[str, Any]:
    """Export into `workdir`; returns {"parts": {name: {"rows", "files", "bytes"}}}.

    1. find the run's options and what its rounds made; refuse a folder made of something else
    2. write each part, file by file
    3. write the card

    Raises UserError where there is no such run or round, where a file of it is damaged, and for a full disk.
    """
    source = home_expanded(Path(settings.source), "config.source")
    if not settings.source:
        raise UserError("config.source: '' given, the folder of a run (its --workdir) expected.")
    options = run_settings(source, "config.source")  # 1
    rounds = _rounds(source, settings.rounds)
    try:
        with Progress() as progress, Workdir(workdir, settings) as work:
            work.claim_inputs({"source": _fingerprint(source, rounds), "rounds": str(rounds)})
            written = _parts(settings, source, options, rounds, work, progress)
            provenance = _provenance(source, options, rounds, workdir)  # 3
            with records.replacing(workdir / CARD) as temporary:
                text = dataset_card([part for part, _ in written], provenance, _licence(options))
                temporary.write_text(text, encoding="utf-8")
            for part, _ in written:
                progress.log(f"{part.name}: {part.rows:,} rows, {part.bytes / 1e6:,.1f} MB.")
            progress.log(
                f'datasets.load_dataset("{workdir}", "trees") loads it. {workdir / CARD} says what is left '
                "to decide before it is published: the licence."
            )
    except records.Damaged as error:  # whose own words are a run's
        raise UserError(
            f"{error.path}: damaged ({error.why}). It stays as it is: put the file back as it was, or "
            f"let the command of the run in {source} make it anew."
        ) from error
    return {"parts": {part.name: counted for part, counted in written}}


def _parts(
    settings: ExportSettings,
    source: Path,
    options: RunSettings,
    rounds: list[int],
    work: Workdir,
    progress: Progress,
) -> list[tuple[CardPart, dict[str, int]]]:
    """Point 2 of `run`."""
    asked = [FORMATS[name] for name in settings.formats]
    task, written = options.verify.make_task(), []
    for name, form in {**_PARTS, **{n: form for parts in asked for n, form in parts.items()}}.items():
        files = [(file, target) for r in rounds for file, target in _files(source, r, form)]
        export = _Export(progress, name, form, lambda: Frame.of(task))
        manifest = work.stage(name, lambda folder, e=export, f=files: e.write(folder, f))
        counted = manifest["result"]
        written.append((CardPart(name, form.schema, counted["rows"], counted["bytes"]), counted))
    return written


@dataclasses.dataclass(frozen=True)
class _Export:
    """One part on its way to disk."""

    progress: Progress
    name: str
    form: _Form
    frame: Callable[[], Frame]

    def write(self, folder: Path, files: list[tuple[Path, str]]) -> dict[str, int]:
        """Write FOLDER/TARGET-00000... of each file. Returns counts of rows, files and bytes."""
        for file, _ in files:
            _require_made(file)
        count = [parquet.count_rows(file) for file, _ in files]
        rows = done = 0
        with self.progress.stage(f"export {self.name}", sum(count), "rows read"):
            for (file, target), of_file in zip(files, count, strict=True):
                rows += self._write(folder, file, target, done)
                done += of_file
                self.progress.update(done, note=f"{rows:,} written")
        made = [path for path in folder.iterdir() if path.suffix == _suffix(self.form)]
        return {"rows": rows, "files": len(made), "bytes": sum(path.stat().st_size for path in made)}

    def _read(self, file: Path, before: int) -> Iterator[pa.Table]:
        for table in parquet.read_tables(
            file, _KINDS[self.form.of], _TREES if self.form.of == "trees" else _ROWS
        ):
            yield table
            before += len(table)
            self.progress.update(before)

    def _write(self, folder: Path, file: Path, target: str, before: int) -> int:
        of_trees = self.form.of == "trees"
        made = iter(self.form.make(self._read(file, before), self.frame))
        if of_trees:  # a shard is a file's worth
            path = folder / f"{target}{_suffix(self.form)}"
            return self._count(path) if path.exists() else self._save(path, made)
        rows, size = 0, _PER_FILE // _ROWS if self.form.schema is not None else _PER_FILE
        for number in itertools.count():
            piece = list(itertools.islice(made, 1))
            if not piece:
                return rows
            some = itertools.chain(piece, itertools.islice(made, size - 1))
            path = folder / f"{target}-{number:05d}{_suffix(self.form)}"
            if path.exists():
                for _ in some:  # passed over: what follows is not there yet
                    pass
                rows += self._count(path)
            else:
                rows += self._save(path, some)
        raise AssertionError

    def _save(self, path: Path, made: Iterable[Any]) -> int:
        if self.form.schema is None:
            return records.write_lines(path, made)
        return parquet.write_tables(path, self.form.schema, made)

    def _count(self, path: Path) -> int:
        if self.form.schema is not None:
            return parquet.count_rows(path)
        with path.open("rb") as lines:
            return sum(1 for _ in lines)


def _suffix(form: _Form) -> str:
    return ".parquet" if form.schema is not None else ".jsonl"


def _files(source: Path, round: int, form: _Form) -> list[tuple[Path, str]]:
    """The files of a round that a part is made of, each with what its own files are called."""
    folder = source / f"round{round}"
    if form.of == "trees":
        made = sorted(map(Path, _outputs(folder / "search")), key=in_order)
        shards = [name for name in made if name.match("trees-*.parquet")]
        return [
            (folder / "search" / name, f"round{round}-{name.stem.removeprefix('trees-')}") for name in shards
        ]
    name = SFT if form.of == "solutions" else PAIRS
    return [(folder / "curate" / name, f"round{round}")] if name in _outputs(folder / "curate") else []


def _outputs(folder: Path) -> dict[str, Any]:
    """The files that a stage says it wrote; none where it is not done."""
    path = folder / manifests.MANIFEST
    return manifests.read(path)["outputs"] if path.exists() else {}


def _require_made(file: Path) -> None:
    """Refuse a file that is not as its stage made it."""
    if not file.exists():
        raise records.Damaged(file, f"missing, though {manifests.MANIFEST} beside it names it")
    if not manifests.agrees(file, _outputs(file.parent)[file.name]):
        raise records.Damaged(file, f"not the file that {manifests.MANIFEST} beside it names")


def _rounds(source: Path, asked: tuple[int, ...]) -> list[int]:
    """The rounds to export: those asked for, or all whose search is done."""
    names = [path.parent.parent.name[5:] for path in source.glob(f"round*/search/{manifests.MANIFEST}")]
    there = sorted(int(name) for name in names if name.isdecimal())
    if missing := [r for r in asked if r not in there]:
        raise UserError(
            f"config.rounds: round {missing[0]} asked for, but {source} has searched "
            f"{', '.join(map(str, there)) or 'none'}. Leave it out, or let the run do it first."
        )
    if not there:
        raise UserError(f"config.source: {source}: no round there has searched. Let the run do one first.")
    return sorted(asked) or there


def _fingerprint(source: Path, rounds: list[int]) -> str:
    """One digest of what is exported, by the manifests of the stages that made it."""
    folders = [source / f"round{r}" / stage for r in rounds for stage in ("search", "curate")]
    found = [records.digest(p) if (p := folder / manifests.MANIFEST).exists() else "" for folder in folders]
    return " ".join(digest[:16] for digest in found)


def _provenance(source: Path, options: RunSettings, rounds: list[int], workdir: Path) -> dict[str, Any]:
    searched = {flat_trees.models_of(path) for path in (workdir / "trees").glob("*.parquet")}
    return {
        "rounds": rounds,
        "base model": options.policy.init,
        "first policy": options.policy.bootstrap or "the base model",
        "hashes of the policies that searched": sorted({policy for policy, _ in searched}),
        "hashes of the PPMs that searched": sorted({ppm for _, ppm in searched if ppm}),
        "training problems": options.problems.train,
        "task": options.verify.task,
        "seed": options.seed,
        "options of the run, SHA-256": records.digest(source / "config.json"),
        "made with": f"rstar_jax {rstar_jax.__version__}",
    }


def _licence(options: RunSettings) -> str | None:
    folder = weights.TINY_BASE if options.policy.init == "tiny" else Path(options.policy.init)
    return card.licence(folder) if folder.is_dir() else None
