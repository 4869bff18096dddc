"""Protocols: all that a benchmark's figures depend on but the models, fixed by benchmark and told with them.

"benchmark": what a row of `benchmarks.BENCHMARKS` says, of the policy alone; with a PPM a tree search guided
by it, as rounds evaluate. "paper": the test time of arXiv 2501.04519, section 4.1: 64 searches of a problem,
each gives its best trajectory by the PPM, and the best of these vote.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.evaluate import metrics
from rstar_jax.evaluate.benchmarks import Asked
from rstar_jax.search import STRATEGIES
from rstar_jax.search.votes import SCORES, VOTES
from rstar_jax.settings import nearest, require
from rstar_jax.tasks import Role

PRESETS = ("benchmark", "paper")
_CHAINS = ("greedy", "sample", "best_of_n")  # of which a sample is one path
_MANY = ("sample", "best_of_n", "mcts_repeated")  # strategies whose k may be above 1
# Options that a strategy has a use for, besides those that all have.
_USES = {
    "greedy": (),
    "sample": ("temperature", "top_p"),
    "best_of_n": ("temperature", "top_p", "scores"),
    "beam": ("temperature", "top_p", "candidates", "beam_width", "scores"),
    "dvts": ("temperature", "top_p", "candidates", "beam_width", "subtrees", "scores"),
    "mcts": ("temperature", "top_p", "candidates", "rollouts", "c", "scores"),
    "mcts_repeated": ("temperature", "top_p", "candidates", "rollouts", "c", "scores"),
}
# Solutions are sampled as DeepSeek-R1's card recommends; searches are as those of rounds.
_SAMPLED = {"temperature": 0.6, "top_p": 0.95, "top_k": 0}
_BY_STRATEGY: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "sample": {**_SAMPLED, "vote": "majority"},
    "best_of_n": {**_SAMPLED, "vote": "best"},
}
_PAPER = {
    "strategy": "mcts_repeated",
    "k": 64,
    "rollouts": 12,  # this and candidates: the evaluation of the authors' released code
    "candidates": 32,
    "vote": "weighted",
    "top_k": 8,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a benchmark is measured.

    strategy: how a sample is found, a row of `search.STRATEGIES`. k: samples of each problem: solutions, or
        searches that each give their best one; 1 where a tree gives several.
    metric: the figure that counts. greedy: whether the policy's greedy solution is measured besides.
    temperature, top_p: at which tokens are sampled. vote, top_k: how a problem's samples choose its answer.
    max_tokens, max_seconds: budgets of each sample. The others as in `search.SearchConfig`.
    """

    task: str
    prompt: Role
    strategy: str
    k: int
    metric: str
    greedy: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    rollouts: int = 16
    candidates: int = 8
    c: float = 2.0
    beam_width: int = 8
    subtrees: int = 8
    scores: str = "last"
    vote: str = "weighted"
    top_k: int = 8
    max_depth: int = 16
    max_tokens: int = 0
    max_seconds: float = 0.0

    @property
    def tree_strategy(self) -> str:
        """The strategy by which a sample's own tree grows."""
        return "mcts" if self.strategy == "mcts_repeated" else self.strategy

    @property
    def of_chains(self) -> bool:
        """Return whether a sample is one path."""
        return self.strategy in _CHAINS

    def told(self) -> dict[str, Any]:
        """Return all that figures depend on, by option: what the strategy has no use for is left out."""
        unused = {name for names in _USES.values() for name in names} - {*_USES[self.strategy]}
        if self.strategy == "greedy":
            unused |= {"vote", "top_k", "greedy"}
        return {name: value for name, value in vars(self).items() if name not in unused}


def protocol_of(
    one: Asked, preset: str, given: Mapping[str, Any], *, ppm: bool, task: str, prompt: Role | None
) -> Protocol:
    """A benchmark's protocol.

    given: options that were asked for, by name. ppm: whether there is one. prompt: None: the benchmark's.
    Raises UserError for what does not go together, naming the option.
    """
    row, chosen = one.row, {**(_PAPER if preset == "paper" else {}), **given}
    if row.task not in ("", task):
        raise UserError(
            f"config.verify.task: '{task}' given, but benchmark {one.name} is of task '{row.task}'."
        )
    k = chosen.get("k", row.k)
    alone = "greedy" if k == 1 else "sample"
    strategy = chosen.get("strategy", ("best_of_n" if "k" in given else "mcts") if ppm else alone)
    hint = f"one of {', '.join(STRATEGIES)} ({nearest(strategy, STRATEGIES)})"
    require(strategy in STRATEGIES, "strategy", strategy, hint)
    if STRATEGIES[strategy].needs_ppm and not ppm:
        option = "strategy" if "strategy" in given else "protocol"
        without = ", ".join(name for name, row in STRATEGIES.items() if not row.needs_ppm)
        raise UserError(
            f"config.{option}: {given.get('strategy', preset)!r} given, which ranks by a PPM's values, but "
            f"there is no PPM. Give one (--config.ppm=DIR), or take a strategy that does without: {without}."
        )
    if strategy not in _MANY:
        if given.get("k", 1) > 1:
            greedy = strategy == "greedy"
            why = "finds the same each time" if greedy else "finds several solutions by itself"
            raise UserError(
                f"config.k: {k} given, but strategy '{strategy}' {why}. Leave it out, or take "
                f"--config.strategy={'sample' if greedy else 'mcts_repeated'}."
            )
        k = 1
    values = {**_BY_STRATEGY.get(strategy, {}), **chosen, "strategy": strategy, "k": k}
    metric = "search"
    if strategy in ("greedy", "sample"):
        metric = "pass@1" if k == 1 else f"{'avg' if row.k == 1 else row.metric}@{k}"
    return Protocol(task=task, prompt=prompt or row.prompt, metric=metric, **values)


def require_options(given: Mapping[str, Any], protocols: Mapping[str, Protocol]) -> None:
    """Refuse options that no benchmark's strategy has a use for, and values that none could have."""
    for name, known in (("vote", VOTES), ("scores", SCORES)):
        if name in given:
            hint = f"one of {', '.join(known)} ({nearest(given[name], known)})"
            require(given[name] in known, name, given[name], hint)
    for name, value in given.items():
        if not any(name in protocol.told() for protocol in protocols.values()):
            strategies = sorted({protocol.strategy for protocol in protocols.values()})
            raise UserError(
                f"config.{name}: {value!r} given, but strategy {' or '.join(map(repr, strategies))} has no "
                "use for it. Leave it out, or name another --config.strategy."
            )


def require_metrics(names: Iterable[str], protocol: Protocol, *, ppm: bool) -> None:
    """Refuse figures that a protocol's samples will not have, before any is taken.

    ppm: whether there is one. Raises UserError as `metrics.parse`, too.
    """
    for name in names:
        kind, k = metrics.parse(name)
        if kind in metrics.SCORED and not (ppm and protocol.strategy not in ("greedy", "sample")):
            why = f"by the PPM's values, which strategy '{protocol.strategy}' does not ask for"
        elif k is not None and protocol.strategy in _MANY and k > protocol.k:
            why = f"of more than its {protocol.k} samples of a problem. Raise config.k or lower it"
        elif k is not None and k > 1 and protocol.strategy not in _MANY:
            one = "gives one solution" if protocol.strategy == "greedy" else "gives as many as it finds"
            why = f"of {k} samples, where strategy '{protocol.strategy}' {one}: {kind}@all is of these"
        else:
            continue
        raise UserError(f"config.metrics: '{name}' given, {why}. Leave it out, or change the protocol.")
