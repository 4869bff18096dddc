"""What a stage is given: a reasoner that is compiled before it is searched with, if the run says so."""

import dataclasses
import gc
import json
from pathlib import Path

import jax
import pytest

from rstar_jax import compilations, distributed, models, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.rounds import judge_folder, require_models, run
from rstar_jax.evolve.settings import PolicySettings, ProblemSettings, RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference import Reasoner
from rstar_jax.queues import call
from rstar_jax.report.progress import Progress
from rstar_jax.search import Leaf
from rstar_jax.types import Problem
from rstar_jax.weights import TINY_BASE


def test_several_hosts_keep_no_converted_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(RunSettings(), policy=PolicySettings(cache=str(tmp_path)))
    context = Context(
        settings, Workdir(tmp_path, settings), Progress(enabled=False), TINY_BASE, TINY_BASE, [], []
    )
    require_models(context, {TINY_BASE: "config.policy.init"})
    monkeypatch.setattr(distributed, "here", lambda: distributed.Host(1, 2, "other"))
    with pytest.raises(UserError, match=r"config.policy.cache: .* this run has 2"):
        require_models(context, {TINY_BASE: "config.policy.init"})


@pytest.mark.parametrize("precompile", [False, True])
def test_a_reasoner_is_compiled_ahead_where_the_run_says_so(tmp_path: Path, precompile: bool) -> None:
    # A shape of its own, which nothing before has compiled.
    decode = DecodeConfig(leaves=3, rows=1, max_step_tokens=16, context=128, precompile=precompile)
    settings = dataclasses.replace(RunSettings(), decode=decode)
    with Workdir(tmp_path, settings) as work, Progress(enabled=False) as progress:
        context = Context(settings, work, progress, TINY_BASE, TINY_BASE, [], [])
        made = context.reasoner(Models(TINY_BASE, None, "finetuned"), context.sandbox())
    assert isinstance(made, Reasoner)
    before = compiled(made)
    assert (before > 0) == precompile
    leaf = Leaf(Problem("p", "What is 2 plus 3?", "5"), (), tree_index=0, node=0, n=1, temperature=1.0)
    assert len(call(made.queues(1).propose, [leaf])[0]) == 1
    assert (compiled(made) == before) == precompile


def test_what_a_search_had_on_the_device_is_free_for_a_training(tmp_path: Path) -> None:
    def live() -> int:
        return sum(array.nbytes for array in jax.live_arrays())

    gc.collect()
    before, settings = live(), dataclasses.replace(RunSettings(), decode=DecodeConfig(leaves=3, context=128))
    with Workdir(tmp_path, settings) as work, Progress(enabled=False) as progress:
        context = Context(settings, work, progress, TINY_BASE, TINY_BASE, [], [])
        made = context.reasoner(Models(TINY_BASE, None, "finetuned"), context.sandbox())
        assert live() > before
        del made
        compilations.forget()
        assert live() == before


def test_a_reward_model_of_others_stands_in_for_the_rounds_own(tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    weights.save_reward_model(models.from_policy(weights.load_pretrained(TINY_BASE)), judge)
    settings = dataclasses.replace(RunSettings(), policy=PolicySettings(ppm=str(judge)))
    with Workdir(tmp_path / "w", settings) as work, Progress(enabled=False) as progress:
        context = Context(settings, work, progress, TINY_BASE, TINY_BASE, [], [], judge_folder(settings))
        assert [context.models(r, "search").ppm for r in (1, 3)] == [None, judge]  # where a PPM searches
        assert context.models(1, "evaluate").ppm == judge and context.models(0, "evaluate").ppm is None
        own = dataclasses.replace(context, judge=None)
        assert own.models(1, "evaluate").ppm is None


@pytest.mark.parametrize(
    ("folder", "message"),
    [("/no/such", "no such folder"), (str(TINY_BASE), "no reward head"), ("tiny", "no reward head")],
)
def test_one_that_is_none_is_refused_at_the_start(tmp_path: Path, folder: str, message: str) -> None:
    few = ProblemSettings(train="2", heldout="2")
    settings = dataclasses.replace(RunSettings(), policy=PolicySettings(ppm=folder), problems=few)
    with pytest.raises(UserError, match=r"config\.policy\.ppm") as caught:
        run(settings, tmp_path / "w")
    assert message in str(caught.value) and not (tmp_path / "w" / "base").exists()


def test_one_whose_prompts_leave_no_room_is_refused_at_the_start(tmp_path: Path) -> None:
    judge, few = tmp_path / "judge", ProblemSettings(train="2", heldout="2")
    reward = models.from_policy(weights.load_pretrained(TINY_BASE))
    weights.save_reward_model(reward, judge, tokenizer_from=TINY_BASE)
    about = json.loads((judge / "config.json").read_text())
    about["step_scoring"] = {"prompt": "say " * 4000 + "{question}"}
    (judge / "config.json").write_text(json.dumps(about))
    settings = dataclasses.replace(RunSettings(), policy=PolicySettings(ppm=str(judge)), problems=few)
    with pytest.raises(UserError, match=r"4096 tokens given, but the prompts that .*judge reads"):
        run(settings, tmp_path / "w")


def compiled(made: Reasoner) -> float:
    engine = made.result()["engine"]
    assert isinstance(engine, dict)
    return engine["compile_seconds"]


def test_a_runs_trainings_go_to_wandb_where_it_is_asked_and_may_be_asked_later(tmp_path: Path) -> None:
    for project, sinks in (("", 0), ("mine", 1)):
        settings = dataclasses.replace(RunSettings(), wandb=project)
        with Workdir(tmp_path, settings) as work, Progress(enabled=False) as progress:
            context = Context(settings, work, progress, TINY_BASE, TINY_BASE, [], [])
            assert len(context.scalars.training(tmp_path / "round1" / "policy")) == sinks
            context.scalars.close()
            (tmp_path / "round1" / "policy").mkdir(parents=True, exist_ok=True)
            (tmp_path / "round1" / "policy" / "metrics.jsonl").touch()  # the folder has been worked in
