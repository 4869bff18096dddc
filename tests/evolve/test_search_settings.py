"""What a run's options make of its searches, and what is refused before any work."""

import pytest

from rstar_jax import launch
from rstar_jax.errors import UserError
from rstar_jax.evolve.settings import EvaluateSettings, RunSettings, SearchSettings, TrainSettings
from rstar_jax.search import STRATEGIES
from rstar_jax.settings import from_config
from rstar_jax.train import TrainConfig


def test_a_round_has_its_own_totals_and_candidates():
    settings = SearchSettings(
        rollouts=(8, 16), escalation=((), (16, 64, 128)), escalation_candidates=((), (8, 16, 32))
    )
    first, second = settings.config(1), settings.config(2)
    assert (first.rollouts, first.escalation, first.escalation_candidates) == (8, (), ())
    # 16 is reached by the rollouts; its candidates go with it.
    assert (second.escalation, second.escalation_candidates) == ((64, 128), (16, 32))


def test_budgets_by_difficulty_take_the_place_of_escalation():
    config = SearchSettings(rollouts=(8,), by_difficulty=((8, 16, 64),)).config(4)
    assert (config.escalation, config.by_difficulty) == ((), (8, 16, 64))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_evaluation_may_use_any_strategy(strategy):
    search = SearchSettings(max_depth=7, c=1.5, parallel_leaves=2)
    config = EvaluateSettings(strategy=strategy, rollouts=3).config(search)
    assert (config.strategy, config.rollouts, config.max_depth, config.c) == (strategy, 3, 7, 1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluate": {"early_stop": True}}, r"config.evaluate: early_stop=True and top_k=8 do not"),
        ({"search": {"by_difficulty": ((1, 2, 3),)}}, r"config.search.by_difficulty: \(1, 2, 3\) given"),
        ({"search": {"reference_rules": ("lazy",)}}, r"config.search.reference_rules: .*'lazy_closing'"),
        ({"search": {"reference_code": True, "parallel_leaves": 4}}, "config.search: parallel_leaves=4 and"),
    ],
)
def test_what_does_not_go_together_is_told_at_once_and_of_its_group(options, message):
    groups = {"evaluate": EvaluateSettings, "search": SearchSettings}
    with pytest.raises(UserError, match=message):
        RunSettings(**{name: groups[name](**values) for name, values in options.items()})


def test_a_misspelt_strategy_is_named():
    with pytest.raises(UserError, match=r"config.evaluate.strategy: 'beem' given, .*Did you mean 'beam'"):
        EvaluateSettings(strategy="beem")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.search.released_code=True", "config.search.released_code is called reference_code now"),
        ("--config.search.released_rules=('lazy_closing',)", "released_rules is called reference_rules now"),
        (
            "--config.curate.pairs=released_code",
            "config.curate.pairs='released_code' is called 'reference_code'",
        ),
    ],
)
def test_options_of_the_last_release_are_taken_and_say_their_new_name(flag, said, caplog):
    config = launch.override(launch.load("round3").get_config(), [flag])
    old = from_config(RunSettings, config.to_dict())
    new = launch.override(launch.load("round3").get_config(), [flag.replace("released", "reference")])
    assert said in caplog.text and old == from_config(RunSettings, new.to_dict())


def test_an_orm_guides_no_search_and_ranks_whole_solutions():
    orm, alone = TrainSettings(reward="orm"), SearchSettings(ppm=(False,))
    ranked = EvaluateSettings(strategy="best_of_n", scores="orm", vote="best", top_k=0)
    RunSettings(train=orm, search=alone, evaluate=ranked)
    with pytest.raises(UserError, match=r"'orm' given.*--config.search.ppm='\(False,\)'"):
        RunSettings(train=orm, evaluate=ranked)
    with pytest.raises(UserError, match=r"evaluate.strategy=mcts.*--config.evaluate.strategy=best_of_n"):
        RunSettings(train=orm, search=alone)


def test_a_pqm_learns_values_between_the_bounds_of_tanh():
    raw = TrainConfig(ppm_value="raw")
    with pytest.raises(UserError, match=r"config.train.ppm.ppm_value: 'raw' given, but a PQM"):
        RunSettings(train=TrainSettings(reward="pqm", ppm=raw))
