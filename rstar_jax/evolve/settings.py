"""Every option of a run, with the paper's values as defaults (arXiv 2501.04519, section 4 and appendix).

Options that change from round to round are tuples with one value a round, the last repeated; a single
value (`--config.search.rollouts=64`) holds for every round.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from rstar_jax.curate import CurateConfig, Reward
from rstar_jax.data.known import Columns
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.reward_models import require_use
from rstar_jax.search import STRATEGIES, SearchConfig
from rstar_jax.served import ServedConfig, is_served
from rstar_jax.settings import at_least, nearest, require
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings
from rstar_jax.train import Delimiters, TrainConfig

T = TypeVar("T")


def at_round(values: Sequence[T], round: int) -> T:
    """The value for a round (1-based): the last one given holds for all later rounds."""
    return values[min(round, len(values)) - 1]


def _named(group: str, **options: Any) -> SearchConfig:
    """A search's options; what is wrong with them is said of the group that they were given in."""
    try:
        return SearchConfig(**options)
    except UserError as error:
        raise UserError(str(error).replace("search", f"config.{group}", 1)) from None


@dataclasses.dataclass(frozen=True)
class ProblemSettings:
    """train, heldout: where the problems come from (`data/specification.py`): a number of suite problems, a
    file or folder of rows {question, answer}, or suite:, jsonl:, parquet:, hf: and tfds: with what they name,
    joined by "+" and thinned by "*SHARE", as in suite:100+jsonl:FILE*0.5.
    seed: draws suite problems and shares. bad: whether a row that cannot be used is "fatal", or to "drop":
    then it is counted by kind and named by example. columns: which columns hold what, where keys do not tell.
    corrections: answers that are put in the place of wrong ones: "known", of the published sets' answers that
    others have found wrong (`data/corrections.py`), or a file of rows {question, answer}; empty: none, and
    the report says where the known ones matter.
    """

    train: str = "240"
    heldout: str = "120"
    seed: int = 0
    bad: Literal["fatal", "drop"] = "fatal"
    columns: Columns = Columns()
    corrections: str = ""


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """init: folder (Hugging Face format) of the base model that every round trains from; "tiny" is the
    bundled one. bootstrap: folder of the policy that searches in round 1, or the address of its server,
    http://HOST:PORT/v1#MODEL; empty: the base itself.
    ppm: folder of a reward model, also of others, that guides searches where a PPM does, and evaluations, in
    the place of the rounds' own, which are trained all the same; empty: their own.
    cache: a folder in which the converted weights of both are kept, for slow storage, by a
    run of one host; empty: none.
    dtype: the type of numbers that models compute with. delimiters: whether those that the base's vocabulary
    lacks become "tokens" of it, as in the released code, or stay "text", which a model learns from a hundred
    solutions."""

    init: str = "tiny"
    bootstrap: str = ""
    ppm: str = ""
    cache: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    delimiters: Delimiters = "tokens"


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """The search that makes training data, one value a round.

    rollouts: how many each problem's tree has before any escalation. escalation: further totals of rollouts
    for problems that no trajectory has solved; a total that `rollouts` reaches has no effect.
    candidates: steps proposed at an expansion. temperature: at which they are sampled; 0: the likeliest.
    trees: how many differently seeded trees an unsolved problem may have. ppm: whether the last
    round's PPM guides the search. prompt: how the policy is asked: "bootstrap" for one that was never trained
    on steps, "finetuned" for one that was. batch: trees that grow at a time, in every search of the run.
    shard: problems whose trees one file holds.
    max_depth, c, unvisited, first_visit, drop_repeats, parallel_leaves, virtual_loss: as in
    `search.SearchConfig`.
    escalation_candidates, by_difficulty: as in `search.SearchConfig`, one value a round.
    reference_code, reference_rules: as in `search.SearchConfig`, in every search of the run.
    """

    rollouts: tuple[int, ...] = (8, 16, 16, 16)
    escalation: tuple[tuple[int, ...], ...] = ((), (32,), (32,), (64, 128))
    candidates: tuple[int, ...] = (5, 8, 8, 16)
    trees: tuple[int, ...] = (1, 1, 1, 2)
    temperature: tuple[float, ...] = (0.7, 1.0, 1.0, 1.0)
    ppm: tuple[bool, ...] = (False, False, True, True)
    prompt: tuple[Literal["bootstrap", "finetuned"], ...] = ("bootstrap", "finetuned")
    c: float = 2.0
    max_depth: int = 16
    unvisited: Literal["value", "first"] = "value"
    first_visit: bool = True
    drop_repeats: bool = True
    reference_code: bool = False
    reference_rules: tuple[str, ...] = ()
    escalation_candidates: tuple[tuple[int, ...], ...] = ((),)
    by_difficulty: tuple[tuple[int, ...], ...] = ((),)
    parallel_leaves: int = 1
    virtual_loss: float = 1.0
    batch: int = 256
    shard: int = 256

    def __post_init__(self) -> None:
        at_least(
            self,
            "search",
            rollouts=1,
            candidates=1,
            trees=1,
            temperature=0,
            batch=1,
            shard=1,
            max_depth=1,
            c=0,
            parallel_leaves=1,
            virtual_loss=0,
        )
        for name in ("escalation", "ppm", "prompt", "escalation_candidates", "by_difficulty"):
            require(getattr(self, name), f"search.{name}", (), "a value for at least one round")
        for totals in self.escalation:
            rising = all(a < b for a, b in itertools.pairwise((0, *totals)))
            require(
                rising, "search.escalation", totals, "rising totals of rollouts, such as (64, 128), or none"
            )

    def totals(self, round: int) -> tuple[int, ...]:
        """The escalation of a round: those totals that its rollouts have not reached already."""
        return tuple(t for t in at_round(self.escalation, round) if t > at_round(self.rollouts, round))

    def config(self, round: int) -> SearchConfig:
        """The search of a round's training problems."""
        totals, more = self.totals(round), at_round(self.escalation_candidates, round)
        by_difficulty = at_round(self.by_difficulty, round)
        return _named(
            "search",
            strategy="mcts",
            rollouts=at_round(self.rollouts, round),
            escalation=() if by_difficulty else totals,
            # Those of totals that `rollouts` has reached already go with them.
            escalation_candidates=more[-len(totals) :] if totals and not by_difficulty else (),
            by_difficulty=by_difficulty,
            candidates=at_round(self.candidates, round),
            temperature=at_round(self.temperature, round),
            **self.shared(),
        )

    def shared(self) -> dict[str, Any]:
        """Options that every search of a run shares, by `SearchConfig`'s names."""
        names = (
            *("max_depth", "c", "unvisited", "first_visit", "drop_repeats", "reference_code"),
            *("reference_rules", "parallel_leaves", "virtual_loss", "batch"),
        )
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """Held-out evaluation of each round: the policy alone, and a search guided by the PPM, then a vote.

    strategy, rollouts, candidates, temperature, beam_width, subtrees, searches, scores, max_tokens,
    max_seconds, early_stop: as in `search.SearchConfig`.
    vote: how trajectories choose the answer: that of the one the PPM likes "best", the "majority", or the
    majority "weighted" by the PPM's values. top_k: only so many trajectories that the PPM likes best vote; 0,
    or without PPM values: all.
    """

    strategy: str = "mcts"
    rollouts: int = 16
    candidates: int = 8
    temperature: float = 1.0
    beam_width: int = 8
    subtrees: int = 8
    searches: int = 64
    scores: Literal["last", "mean", "min", "product", "strength", "orm"] = "last"
    vote: Literal["best", "majority", "weighted"] = "weighted"
    top_k: int = 8
    max_tokens: int = 0
    max_seconds: float = 0.0
    early_stop: bool = False

    def __post_init__(self) -> None:
        at_least(self, "evaluate", rollouts=1, candidates=1, temperature=0, top_k=0)
        at_least(self, "evaluate", beam_width=1, subtrees=1, searches=1, max_tokens=0, max_seconds=0)
        hint = f"one of {', '.join(STRATEGIES)} ({nearest(self.strategy, STRATEGIES)})"
        require(self.strategy in STRATEGIES, "evaluate.strategy", self.strategy, hint)

    @property
    def paths(self) -> int:
        """Trajectories of a problem that share no step; 0 where they grow a tree."""
        return STRATEGIES[self.strategy].paths(self)

    def config(self, search: SearchSettings) -> SearchConfig:
        """The search of held-out problems; what is not said here is as where training data are made."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shared = search.shared()
        if self.strategy not in ("mcts", "mcts_repeated"):
            del shared["parallel_leaves"]
        return _named("evaluate", **given, **shared)


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The two trainings of a round (section 4.1: policy 2 epochs, batch 128; PPM 1 epoch, batch 512).

    reward: the reward model that a round trains: a "ppm", or one of the paper's ablation (section 5.3): a
    "pqm", which learns the Q of steps, or an "orm", which learns preferences of whole solutions and guides no
    search. The options of its training are those of `ppm`.
    mesh: over which devices both are split, and how.
    """

    policy: TrainConfig = TrainConfig(epochs=2, batch=128, seq_len=4096, learning_rate=7e-6)
    ppm: TrainConfig = TrainConfig(epochs=1, batch=512, seq_len=4096, learning_rate=7e-6)
    reward: Reward = "ppm"
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


STAGE_NAMES = ("base", "search", "curate", "policy", "ppm", "evaluate")  # rows of stage_table.STAGES


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """A run of self-evolution. rounds: which of the rounds this command does, in order. stages: which stages
    of them, by name (base, search, curate, policy, ppm, evaluate), where others are done by another command,
    also on another machine; empty: all. seed: names all randomness of the run: the same seed gives the same
    trees and models. wandb: a project of Weights & Biases that gets the scalars that TensorBoard gets; empty:
    none."""

    job: str = "evolve"
    rounds: tuple[int, ...] = (1, 2, 3, 4)
    stages: tuple[str, ...] = ()
    seed: int = 0
    wandb: str = ""
    problems: ProblemSettings = ProblemSettings()
    policy: PolicySettings = PolicySettings()
    search: SearchSettings = SearchSettings()
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = DecodeConfig()
    curate: CurateConfig = CurateConfig()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    served: ServedConfig = ServedConfig()
    distributed: DistributedConfig = DistributedConfig()

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to below 2**31")
        rising = self.rounds == tuple(sorted({r for r in self.rounds if r >= 1}))
        require(
            self.rounds and rising, "rounds", self.rounds, "rounds from 1 on, in order, such as (1, 2, 3, 4)"
        )
        # A single word on the command line may hold several: --config.stages=curate,policy.
        names = tuple(name for word in self.stages for name in word.split(","))
        object.__setattr__(self, "stages", names)
        for name in self.stages:
            hint = f"names of stages. {nearest(name, STAGE_NAMES)} Each"
            require(name in STAGE_NAMES, "stages", self.stages, hint)
        for round in self.rounds:  # what does not go together is told before hours of work, not after
            self.search.config(round)
        self.evaluate.config(self.search)
        require_use(
            self.train.reward,
            guided=not self.policy.ppm and any(at_round(self.search.ppm, round) for round in self.rounds),
            strategy=self.evaluate.strategy,
            scores=self.evaluate.scores,
            compared=self.train.ppm.ppm_value,
        )
        guided = self.search.ppm[0] and 1 in self.rounds and self.policy.ppm
        if guided and is_served(self.policy.bootstrap):
            raise UserError(
                f"config.search.ppm: {self.search.ppm} given, but a served policy (config.policy.bootstrap) "
                "is searched with without a PPM. Begin with False, as in '(False,True)'."
            )


def paper_training() -> TrainSettings:
    """The paper's trainings of models of its size: each layer's activations are computed again in the
    backward pass."""
    train = TrainSettings()
    return dataclasses.replace(
        train,
        policy=dataclasses.replace(train.policy, remat="full"),
        ppm=dataclasses.replace(train.ppm, remat="full"),
    )


def paper_round(round: int) -> RunSettings:
    """One round with the paper's values, computed in bfloat16."""
    return RunSettings(rounds=(round,), policy=PolicySettings(dtype="bfloat16"), train=paper_training())
