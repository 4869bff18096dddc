"""Options of a synthesis, and what its stages are given: policies at work, and their room."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from rstar_jax import distributed, weights
from rstar_jax.data.clean import CleanConfig
from rstar_jax.data.problem_set import ProblemSet
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve import joint_search
from rstar_jax.evolve.joint_results import together
from rstar_jax.evolve.shards import TREE
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference import Reasoner, devices
from rstar_jax.plan.texts import Prompts, demand
from rstar_jax.report.progress import Progress
from rstar_jax.search import SearchConfig
from rstar_jax.served import Address, ServedConfig
from rstar_jax.served.models import require_model
from rstar_jax.settings import require
from rstar_jax.tasks import Checker, Task, VerifySettings
from rstar_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SynthesiseSettings:
    """A synthesis of problems.

    seeds: where the seed problems come from, as a run's problems (`data/specification.py`). count: how many
        problems are to be written; fewer are kept. shown: seed problems in the prompt of each.
    against: benchmarks that no new problem may be in, as `seeds`; empty: none but the seeds.
    policy: what solves the problems, a folder or http://HOST:PORT/v1#MODEL. writer: what writes them, in the
        same way; empty: that which solves them.
    prompt: how the solver is asked: "bootstrap" for one that was never trained on steps, "finetuned" for one
        that was.
    samples: solutions of each problem. agree: how many of them must come to one answer, which more come to
        than to any other.
    temperature, writer_temperature: at which solutions and problems are sampled. most_tokens: of a problem.
    max_depth: most steps of a solution. batch: problems solved at a time. seed: names all randomness.
    dtype: the type of numbers that models compute with.
    """

    job: str = "synthesise"
    seeds: str = ""
    count: int = 1000
    shown: int = 3
    against: str = ""
    policy: str = "tiny"
    writer: str = ""
    prompt: Literal["bootstrap", "finetuned"] = "bootstrap"
    samples: int = 10
    agree: int = 3
    temperature: float = 0.7
    writer_temperature: float = 1.0
    most_tokens: int = 512
    max_depth: int = 16
    batch: int = 256
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    clean: CleanConfig = CleanConfig()
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = DecodeConfig()
    served: ServedConfig = ServedConfig()
    distributed: DistributedConfig = DistributedConfig()

    def __post_init__(self) -> None:
        for name in ("count", "shown", "samples", "agree", "most_tokens", "max_depth", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.agree <= self.samples, "agree", self.agree, f"at most samples ({self.samples})")
        require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to below 2**31")
        require(
            self.seeds.strip(), "seeds", self.seeds, "problems to write new ones after, such as FILE.jsonl,"
        )
        require(self.writer_temperature >= 0, "writer_temperature", self.writer_temperature, "0 or more")
        task = self.verify.make_task()
        require(task.writing, "verify.task", self.verify.task, "a task that new problems can be written of")
        self.search()

    @property
    def writer_option(self) -> str:
        """The option that names what writes."""
        return "config.writer" if self.writer else "config.policy"

    def search(self) -> SearchConfig:
        """The sampling of solutions."""
        return SearchConfig(
            strategy="sample",
            rollouts=self.samples,
            temperature=self.temperature,
            max_depth=self.max_depth,
            batch=self.batch,
        )


@dataclasses.dataclass(frozen=True)
class Written:
    """A problem as the writer left it. seeds: ids of those that it was shown. fault: why it is none."""

    id: str
    question: str
    seeds: tuple[str, ...]
    fault: str


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """The work of one folder. solver, writer: folders, or addresses of servers. BLOCK: problems of a file."""

    BLOCK: ClassVar[int] = 256

    settings: SynthesiseSettings
    work: Workdir
    progress: Progress
    solver: Path | Address
    writer: Path | Address
    seeds: ProblemSet
    against: ProblemSet | None

    @functools.cached_property
    def task(self) -> Task:
        return self.settings.verify.make_task()

    def folder(self, stage: str) -> Path:
        return self.work.root / stage


@contextlib.contextmanager
def asked(
    synthesis: Synthesis, policy: Path | Address, task: Task, folder: Path, option: str, longest: int
) -> Iterator[Any]:
    """A policy at work on a task. longest: tokens of a step."""
    s = synthesis.settings
    with s.verify.make_sandbox(synthesis.work.root) as sandbox:
        checker = Checker(task, sandbox)
        if isinstance(policy, Address):
            from rstar_jax.inference.served import served_reasoner  # and with it aiohttp

            require_model(policy, option)
            host = distributed.here()
            served = served_reasoner(
                policy, checker, folder, role=s.prompt, config=s.served, max_tokens=longest, seed=s.seed,
                host=host.name if host.count > 1 else "", where=option,
            )  # fmt: skip
            with served as reasoner:
                yield reasoner
            return
        devices.require(s.decode)
        half = s.decode.context // 2
        size = demand([(s.search(), s.batch, Prompts(half, half, half))], s.decode.context)
        decode = dataclasses.replace(s.decode, max_step_tokens=longest)
        reasoner = Reasoner(
            policy, None, checker, role=s.prompt, decode=decode, dtype=s.dtype, seed=s.seed, demand=size
        )
        for line in reasoner.load():
            synthesis.progress.log(line)
        yield reasoner


def room(synthesis: Synthesis, policy: Path | Address, task: Task) -> Any:
    """A function of a prompt: whether a policy of ours has room for it. Servers say so themselves."""
    if isinstance(policy, Address):
        return lambda prompt: True
    tokenizer = Tokenizer.load(weights.tokenizer_folder(policy), task.grammar)
    return lambda prompt: len(tokenizer.encode_prompt(prompt)) < synthesis.settings.decode.context


def of_all(folder: Path, used: dict[str, Any], suffix: str = TREE) -> dict[str, Any]:
    """Return what all hosts of a stage used together, once all have come to its end. What they leave beside
    its files goes. suffix: of single rows."""
    team = joint_search.team_of(folder)
    found = team.gathered(used)
    joint_search.clear(folder, team, Synthesis.BLOCK, suffix)
    return together(found)
