"""The stages that search: a round's training trees, and the held-out evaluation of its models."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstar_jax import distributed
from rstar_jax.data.problem_set import Selected
from rstar_jax.evaluate import benchmark
from rstar_jax.evaluate.reward_order import Order, RewardOrder
from rstar_jax.evolve import joint_search
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.joint_results import together
from rstar_jax.evolve.settings import EvaluateSettings, at_round
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.inference import Reasoner
from rstar_jax.report.progress import TimeLeft
from rstar_jax.report.results import EvaluateResult, SearchResult, of_json, to_json
from rstar_jax.sandbox import Sandbox
from rstar_jax.search import STRATEGIES, SearchConfig
from rstar_jax.served import Address
from rstar_jax.types import Ended, Problem, Tree

if TYPE_CHECKING:
    from rstar_jax.inference.served import ServedReasoner

_BUDGETS: dict[Ended, str] = {"seconds": "max_seconds", "tokens": "max_tokens"}  # the option of each


@dataclasses.dataclass(frozen=True)
class Seeker:
    """A stage's models at work, on each of the hosts that do it. source: of its trees. sandbox: where their
    programs run."""

    context: Context
    folder: Path
    reasoner: Reasoner | ServedReasoner
    source: Source
    sandbox: Sandbox

    def grow(
        self,
        title: str,
        name: str,
        problems: Sequence[Problem],
        config: SearchConfig,
        *,
        tree_index: int = 0,
        training: bool = False,
        unit: str = "problems",
    ) -> Shards:
        """A tree for each problem, in the files NAME-*; those that are there are not searched again. unit:
        what they are called as they are counted. Every host of the stage calls this and returns once all
        trees are there."""
        progress, source = self.context.progress, dataclasses.replace(self.source, tree_index=tree_index)
        said = bool(self.reasoner.rereading())
        team = joint_search.team_of(self.folder)
        size = self.context.settings.search.shard
        shards = Shards(self.folder, name, problems, source, size=size, index=team.index, count=team.count)
        joint_search.meet(shards, team)
        before = self.reasoner.tokens

        def show(done: int, trajectories: int, left: TimeLeft) -> None:
            nonlocal said
            tokens = self.reasoner.tokens - before
            progress.update(done, trajectories=trajectories, tokens=tokens, left=left)
            if not said and (note := self.reasoner.rereading()):
                said = True
                progress.log(f"{title}: {note}.")

        self.reasoner.on_compile(lambda what: progress.update(doing=f"compiling: {what}" if what else ""))
        with progress.stage(title, len(problems), unit, source.round or None, done=shards.done):
            queues = self.reasoner.queues(source.round, name)
            told: dict[str, Any] = {"training": training, "on_progress": show}
            told["on_stored"] = functools.partial(self.reasoner.settled, name)
            if team.count == 1:
                shards.grow(queues, config, **told)
            else:
                told["on_begun"] = functools.partial(self.reasoner.begins, name)
                told["on_wait"] = lambda what: progress.update(doing=what)
                joint_search.grow(shards, queues, config, team, **told)
                progress.update(shards.done, trajectories=shards.trajectories)
        return shards

    def result(self) -> dict[str, Any]:
        """Return the fields of `results.Searching`, of all hosts together, once all have come here."""
        mine = {
            "layers": self.sandbox.layers,
            "rereading": self.reasoner.rereading(),
            **self.reasoner.result(),
        }
        found = distributed.gathered(mine)
        team, size = joint_search.team_of(self.folder), self.context.settings.search.shard
        joint_search.clear(self.folder, team, size)
        return together(found)


@contextlib.contextmanager
def open_seeker(
    context: Context, round: int, models: Models, folder: Path, candidates: Iterable[int] = (1,)
) -> Iterator[Seeker]:
    """A stage's models at work for the time of a block.

    candidates: how many of them the stage's searches will ask for; 1 where the policy is alone."""
    source = context.source(round, models)
    with context.sandbox() as sandbox:
        if isinstance(models.policy, Address):
            with context.served(models, sandbox, folder) as reasoner:
                yield Seeker(context, folder, reasoner, source, sandbox)
        else:
            reasoner = context.reasoner(models, sandbox, candidates)
            yield Seeker(context, folder, reasoner, source, sandbox)


def search(context: Context, round: int, folder: Path) -> SearchResult:
    """Grows trees for every training problem with the policy (and PPM) of the round before.

    Problems that stay unsolved get further trees, with other seeds, where the round allows it.
    """
    s, models = context.settings.search, context.models(round, "search")
    if at_round(s.ppm, round) and models.ppm is None:
        context.progress.log(
            f"round {round}: no {context.reward} of round {round - 1}; the search is terminal-guided."
        )
    config = s.config(round)
    candidates = config.candidates, *config.escalation_candidates
    with open_seeker(context, round, models, folder, candidates) as seeker:
        unsolved, trees = context.train, 0
        for index in range(at_round(s.trees, round)):
            trees += len(unsolved)
            title = "search" if index == 0 else f"search again ({index + 1})"
            shards = seeker.grow(title, f"trees-{index}", unsolved, config, tree_index=index, training=True)
            left = [i for i, problem in enumerate(unsolved) if problem.id not in shards.solved]
            unsolved = Selected(unsolved, left)
            if not left:
                break
        return SearchResult(problems=len(context.train), trees=trees, **seeker.result())


def unknown_steps(trees: Iterable[Tree]) -> int:
    """Count the steps that the sandbox has no result of."""
    return sum(node.status == "unknown" for tree in trees for node in tree.nodes)


def failures(trees: Iterable[Tree]) -> dict[str, int]:
    """Count the causes for which candidate steps were no valid nodes (with the exception's type)."""
    causes: Counter[str] = Counter()
    for tree in trees:
        for node in tree.nodes:
            if node.status not in ("ok", "answer", "unknown"):
                causes[f"{node.status} {node.detail}".strip()] += 1
    return dict(causes.most_common())


def evaluate_base(context: Context, round: int, folder: Path) -> EvaluateResult:
    """Held-out pass@1 of the base model alone, before any round."""
    return evaluate_alone(context, context.models(round - 1, "evaluate"), folder)


def evaluate_alone(
    context: Context, models: Models, folder: Path, *, samples: bool = False
) -> EvaluateResult:
    """Held-out pass@1 of a policy that no round made, greedily and alone.

    samples: also by the run's `evaluate`, which here is a strategy that asks no PPM.
    """
    e = context.settings.evaluate
    with open_seeker(context, 0, models, folder, (1, e.rollouts) if samples else (1,)) as seeker:
        result = _policy_alone(seeker)
        if samples:
            result |= _searched(context, seeker, "sample", result["unknown_steps"])
        return EvaluateResult(**result, **seeker.result())


def evaluate(context: Context, round: int, folder: Path) -> EvaluateResult:
    """Held-out pass@1 of a round's policy alone, and accuracy of its search with the round's PPM.

    A strategy that needs a PPM is left out where the round has none: its accuracy is None.
    """
    return evaluate_models(context, round, context.models(round, "evaluate"), folder)


def evaluate_models(context: Context, round: int, models: Models, folder: Path) -> EvaluateResult:
    """The same of any models, also of those that no round made (round 0)."""
    e = context.settings.evaluate
    with open_seeker(context, round, models, folder, (1, e.paths or e.candidates)) as seeker:
        result = _policy_alone(seeker)
        if STRATEGIES[e.strategy].needs_ppm and models.ppm is None:
            context.progress.log(
                f"round {round}: no {context.reward}, by which evaluate.strategy={e.strategy} ranks; the "
                "policy alone is evaluated."
            )
            return EvaluateResult(**result, **seeker.result())
        result |= _searched(context, seeker, "evaluate the search", result["unknown_steps"])
        if result["note"]:
            context.progress.log(f"round {round}: {result['note']}.")
        return EvaluateResult(**result, **seeker.result())


def _searched(context: Context, seeker: Seeker, title: str, unknown: int) -> dict[str, Any]:
    """Held-out accuracy by the run's `evaluate`. unknown: steps that nothing is known of until then."""
    e, heldout = context.settings.evaluate, context.heldout
    shards = seeker.grow(title, "search", heldout, e.config(context.settings.search))
    found = distributed.led(lambda: _judged_search(context, seeker, shards, unknown))
    return found | {"order": found["order"] and of_json(Order, found["order"])}


def _judged_search(context: Context, seeker: Seeker, shards: Shards, unknown: int) -> dict[str, Any]:
    e, heldout = context.settings.evaluate, context.heldout
    answers, solved, cut_off, order = [], 0, Counter[Ended](), RewardOrder(e.scores)
    for tree in shards.trees():
        same = functools.partial(seeker.reasoner.same, tree.problem)
        answers.append(benchmark.final_answer(tree, e.vote, e.top_k, same, e.scores))
        unknown += unknown_steps([tree])
        solved += tree.solved
        cut_off[tree.ended] += answers[-1] is None and tree.ended in _BUDGETS
        order.add(tree)
    grades = benchmark.graded(heldout, answers, seeker.reasoner.grade)
    return {
        "search_accuracy": benchmark.accuracy(heldout, grades),
        "search_solved": solved / len(heldout),
        "search_ungraded": grades.count("ungraded"),
        "search_cut_off": cut_off.total(),
        "unknown_steps": unknown,
        "order": (found := order.order()) and to_json(found),
        "note": _cut_off(cut_off, len(heldout), e),
    }


def _cut_off(counts: Counter[Ended], problems: int, settings: EvaluateSettings) -> str:
    """Say which budgets left how many problems without an answer, and what to do; empty if none did."""
    return "; ".join(
        f"{count} of {problems} held-out problems had no answer yet when config.evaluate.{option}="
        f"{getattr(settings, option)} was spent, and count as not right: raise it"
        for ended, option in _BUDGETS.items()
        if (count := counts[ended])
    )


def _policy_alone(seeker: Seeker) -> dict[str, Any]:
    search, heldout = seeker.context.settings.search, seeker.context.heldout
    config = SearchConfig(strategy="greedy", max_depth=search.max_depth, batch=search.batch)
    shards = seeker.grow("evaluate the policy", "policy", heldout, config)
    return distributed.led(lambda: _judged_alone(seeker, shards))


def _judged_alone(seeker: Seeker, shards: Shards) -> dict[str, Any]:
    heldout, trees = seeker.context.heldout, list(shards.trees())
    answers = [benchmark.only_answer(tree) for tree in trees]
    grades = benchmark.graded(heldout, answers, seeker.reasoner.grade)
    return {
        "policy_pass1": benchmark.accuracy(heldout, grades),
        "policy_ungraded": grades.count("ungraded"),
        "policy_answered": sum(answer is not None for answer in answers) / len(answers),
        "policy_steps": sum(len(tree.nodes) - 1 for tree in trees),
        "policy_failures": failures(trees),
        "unknown_steps": unknown_steps(trees),
    }
