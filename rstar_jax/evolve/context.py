"""The context that every stage of a run is given, and the paths of its files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rstar_jax import compilations, distributed, records
from rstar_jax.errors import UserError
from rstar_jax.evolve.reward_models import REWARD_MODELS
from rstar_jax.evolve.settings import RunSettings, at_round
from rstar_jax.evolve.shards import Source
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference import Reasoner
from rstar_jax.plan.texts import Prompts, demand
from rstar_jax.report.progress import Progress
from rstar_jax.sandbox import Sandbox
from rstar_jax.scalars import RunScalars
from rstar_jax.search import SearchConfig
from rstar_jax.served import Address
from rstar_jax.settings import from_config, home_expanded, to_dict
from rstar_jax.stores import url_of
from rstar_jax.tasks import Checker, Role, Task
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Problem
from rstar_jax.weights import Handover, model_hash, tokenizer_folder

if TYPE_CHECKING:
    from rstar_jax.inference.served import ServedReasoner


@dataclasses.dataclass(frozen=True)
class Models:
    """The folders that a stage searches with; a policy may be behind a server. prompt: what it is asked
    with."""

    policy: Path | Address
    ppm: Path | None
    prompt: Role


def run_settings(workdir: Path, option: str = "--workdir") -> RunSettings:
    """The options of the run in a folder. Raises UserError naming the option where there is no such run."""
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{option}={workdir}: no run there ({path.name} is missing). Give a run's folder.")
    try:
        options = records.read_signed(path)
    except records.Damaged as error:
        raise UserError(
            f"{path}: damaged ({error.why}); the options that its trees were searched with expected. Put "
            "them back: report.json beside it, once there is one, holds the same under 'config'."
        ) from error
    if (job := options.get("job", RunSettings().job)) != RunSettings().job:
        raise UserError(f"{path}: made by a job '{job}'; the folder of a run of rounds expected.")
    return from_config(RunSettings, options, where=f"{path}: config")


@dataclasses.dataclass(frozen=True)
class Context:
    """base, bootstrap: model folders; the latter may be behind a server. train, heldout: the problems of
    either kind. judge: the folder of a reward model that searches use in the place of the rounds' own.
    option: that of a served policy. least_demand: tokens of text that caches are made for at least. held:
    weights on the devices, from one stage to the next."""

    settings: RunSettings
    work: Workdir
    progress: Progress
    base: Path
    bootstrap: Path | Address
    train: Sequence[Problem]
    heldout: Sequence[Problem]
    judge: Path | None = None
    option: str = "config.policy.bootstrap"
    least_demand: int = 0
    held: Handover = dataclasses.field(default_factory=Handover)

    def folder(self, round: int, stage: str) -> Path:
        """Folder in which stage `stage` of a round keeps its files; round 0 is the base."""
        return self.work.root / (f"round{round}" if round else "base") / stage

    def policy(self, round: int) -> Path | Address:
        """The folder of the policy that a round made; round 0's is the bootstrap policy."""
        return self.trained(round) if round else self.bootstrap

    def trained(self, round: int) -> Path:
        """The folder of the policy that a round made, from 1 on."""
        return self.folder(round, "policy") / "model"

    @property
    def first_folder(self) -> Path:
        """The folder of the policy that searches first; the base's where that one is behind a server."""
        return self.bootstrap if isinstance(self.bootstrap, Path) else self.base

    def ppm(self, round: int) -> Path | None:
        """The folder of the PPM that a round made, if it made one."""
        folder = self.folder(round, "ppm") / "model"
        return folder if round and folder.exists() else None

    @property
    def reward(self) -> str:
        """The name of the reward model that its rounds train: "PPM", "PQM" or "ORM"."""
        return REWARD_MODELS[self.settings.train.reward].title

    @property
    def ppm_scale(self) -> float:
        """Divisor of a PPM's scores before tanh, as it was trained."""
        return 1.0 if self.settings.train.ppm.ppm_value == "tanh" else 5.0

    def models(self, round: int, stage: str) -> Models:
        """Models that the stage "search" or "evaluate" of a round searches with; round 0: the base."""
        s = self.settings.search
        if stage == "search":
            ppm = (self.judge or self.ppm(round - 1)) if at_round(s.ppm, round) else None
            return Models(self.policy(round - 1), ppm, at_round(s.prompt, round))
        if not round:
            return Models(self.base, None, at_round(s.prompt, 1))
        return Models(self.policy(round), self.judge or self.ppm(round), "finetuned")

    def source(self, round: int, models: Models) -> Source:
        """Origin that the trees of a search with these models are marked with."""
        policy, ppm = policy_hash(models.policy), model_hash(models.ppm) if models.ppm else ""
        return Source(round, seed=self.settings.seed, policy=policy, ppm=ppm)

    def cache(self, folder: Path) -> Path | None:
        """Folder of a model's converted weights, if they are kept: not those of the run's own models. Raises
        UserError where it cannot be used: in a bucket, on several hosts."""
        kept = self.settings.policy.cache
        if not kept or folder not in (self.base, self.bootstrap):
            return None
        if (count := distributed.here().count) > 1:
            raise UserError(
                f"config.policy.cache: '{kept}' given, but one host alone can keep converted weights, and "
                f"this run has {count}. Leave it out: each host reads the parts of the models that it needs."
            )
        if url_of(kept):
            raise UserError(
                f"config.policy.cache: '{kept}' given, a folder of this machine expected: what is fetched of "
                "a bucket's models is kept on this machine anyway."
            )
        return home_expanded(Path(kept), "config.policy.cache")

    @functools.cached_property
    def task(self) -> Task:
        """The run's task."""
        return self.settings.verify.make_task()

    @functools.cached_property
    def scalars(self) -> RunScalars:
        """The place of the run's scalars besides its own files: from the first host alone. Whoever runs the
        stages closes it."""
        options, project = to_dict(self.settings), self.settings.wandb if distributed.here().leader else ""
        return RunScalars(self.work.root, project, options, self.progress.log)

    def tokenizer(self, folder: Path) -> Tokenizer:
        """A model's tokenizer, which knows the task's grammar."""
        return Tokenizer.load(tokenizer_folder(folder), self.task.grammar)

    def prompt(self, role: Role) -> Callable[[str], str]:
        """The task's prompt of a question for one who is asked."""
        return functools.partial(self.task.prompt, role=role)

    def sandbox(self) -> Sandbox:
        """The processes that run what models write, with this run's limits, not yet started.

        What programs did is kept in the working directory: a search that goes on does not run them again.
        """
        return self.settings.verify.make_sandbox(self.work.root)

    @functools.cached_property
    def prompts(self) -> dict[tuple[str, str], Prompts | None]:
        """Lengths of prompts by kind ("bootstrap", "finetuned") and problems ("train", "heldout")."""
        tokenizer, found = self.tokenizer(self.base), {}
        kinds: set[Role] = {*self.settings.search.prompt, "finetuned"}
        for kind in kinds:
            prompt = self.prompt(kind)
            for name, problems in (("train", self.train), ("heldout", self.heldout)):
                found[kind, name] = Prompts.of(
                    problems, lambda p, f=prompt: len(tokenizer.encode_prompt(f(p.question)))
                )
        return found

    @functools.cached_property
    def demand(self) -> int:
        """Tokens of text that the largest of the run's searches goes back to. One number for all stages: the
        size of a cache is a shape of every program that reads it."""
        s, searches = self.settings, list[tuple[SearchConfig, int, Prompts | None]]()
        for round in s.rounds:
            kind = at_round(s.search.prompt, round)
            searches.append((s.search.config(round), len(self.train), self.prompts[kind, "train"]))
        heldout = self.prompts["finetuned", "heldout"]
        searches.append((s.evaluate.config(s.search), len(self.heldout), heldout))
        return max(self.least_demand, demand(searches, s.decode.context))

    def reasoner(self, models: Models, sandbox: Sandbox, candidates: Iterable[int] = ()) -> Reasoner:
        """A policy and optionally a PPM, ready to search; compiled, if the run's options say so.

        candidates: how many of them the searches will ask for, where that is known.
        """
        s = self.settings
        assert isinstance(models.policy, Path)
        made = Reasoner(
            models.policy,
            models.ppm,
            Checker(self.task, sandbox),
            role=models.prompt,
            decode=s.decode,
            dtype=s.policy.dtype,
            seed=s.seed,
            ppm_scale=self.ppm_scale,
            cache=self.cache(models.policy),
            demand=self.demand,
            held=self.held,
        )
        self.held.clear()
        for line in made.load():
            self.progress.log(line)
        if s.decode.precompile:
            of_kind = (self.prompts[models.prompt, name] for name in ("train", "heldout"))
            shortest = min((p.shortest for p in of_kind if p is not None), default=1)
            programs = made.programs(shortest, candidates)
            with self.progress.stage("compile", len(programs), "programs"):
                compilations.together(programs, self.progress.update)
        return made

    def served(
        self, models: Models, sandbox: Sandbox, folder: Path
    ) -> contextlib.AbstractContextManager[ServedReasoner]:
        """A policy behind a server, ready to search; what it answers is kept in a stage's folder."""
        from rstar_jax.inference.served import served_reasoner  # and with it aiohttp

        s = self.settings
        assert isinstance(models.policy, Address)
        return served_reasoner(
            models.policy,
            Checker(self.task, sandbox),
            folder,
            role=models.prompt,
            config=s.served,
            max_tokens=s.decode.max_step_tokens,
            seed=s.seed,
            host=distributed.here().name if distributed.here().count > 1 else "",
            where=self.option,
        )


def policy_hash(policy: Path | Address) -> str:
    """Checksum of a policy's files; of a served one of its name, wherever it is served."""
    if isinstance(policy, Address):
        return hashlib.sha256(f"served {policy.model}".encode()).hexdigest()
    return model_hash(policy)
