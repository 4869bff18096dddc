"""Protocols: what is fixed by benchmark, what overrides it, and what does not go together."""

import pytest

from rstar_jax.errors import UserError
from rstar_jax.evaluate.benchmarks import asked
from rstar_jax.evaluate.protocol import protocol_of, require_metrics, require_options
from rstar_jax.search import STRATEGIES


def protocol(name="math500", preset="benchmark", ppm=False, task="math", prompt=None, **given):
    (one,) = asked(name)
    return protocol_of(one, preset, given, ppm=ppm, task=task, prompt=prompt)


@pytest.mark.parametrize(
    ("name", "ppm", "given", "strategy", "k", "metric"),
    [
        ("math500", False, {}, "greedy", 1, "pass@1"),
        ("aime24", False, {}, "sample", 16, "avg@16"),
        ("aime24", False, {"k": 1}, "greedy", 1, "pass@1"),
        ("math500", False, {"k": 8}, "sample", 8, "avg@8"),
        ("math500", True, {}, "mcts", 1, "search"),
        ("aime24", True, {"k": 4}, "best_of_n", 4, "search"),
        ("aime24", True, {"strategy": "sample"}, "sample", 16, "avg@16"),
        ("aime24", True, {"strategy": "beam"}, "beam", 1, "search"),
        ("math500", True, {"strategy": "mcts_repeated", "k": 4}, "mcts_repeated", 4, "search"),
    ],
)
def test_a_benchmark_has_its_own_which_options_override(name, ppm, given, strategy, k, metric):
    found = protocol(name, ppm=ppm, **given)
    assert (found.strategy, found.k, found.metric) == (strategy, k, metric)


def test_the_papers_is_64_searches_of_a_problem_whose_best_ones_vote():
    found = protocol("aime24", "paper", ppm=True)
    assert (found.strategy, found.k, found.candidates, found.temperature) == ("mcts_repeated", 64, 32, 1.0)
    assert found.vote == "weighted" and 4 <= found.top_k <= 8  # METHOD: k = 4 to 8
    assert protocol("aime24", "paper", ppm=True, k=8, vote="best").k == 8
    with pytest.raises(UserError, match=r"config\.protocol: 'paper' given, which ranks .*--config\.ppm"):
        protocol("aime24", "paper")


def test_what_is_told_is_what_counts():
    greedy, sampled = protocol().told(), protocol("aime24").told()
    assert "temperature" not in greedy and "vote" not in greedy and "rollouts" not in greedy
    assert (sampled["temperature"], sampled["top_p"], sampled["prompt"]) == (0.6, 0.95, "finetuned")
    assert protocol(prompt="bootstrap").told()["prompt"] == "bootstrap"
    for name, row in STRATEGIES.items():
        told = protocol(strategy=name, ppm=True).told()
        assert ("scores" in told) == (row.needs_ppm or name == "mcts")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"strategy": "best"}, r"config\.strategy: 'best' given, one of .*Did you mean 'best_of_n'"),
        ({"strategy": "beam"}, r"config\.strategy: 'beam' given, which ranks .*greedy, sample, mcts"),
        ({"strategy": "greedy", "k": 4}, r"config\.k: 4 given, but strategy 'greedy' finds the same"),
        ({"strategy": "mcts", "k": 4}, r"config\.k: 4 given, .*--config\.strategy=mcts_repeated"),
        ({"task": "code"}, r"config\.verify\.task: 'code' given, but benchmark math500 is of task 'math'"),
    ],
)
def test_what_does_not_go_together_is_refused(given, why):
    with pytest.raises(UserError, match=why):
        protocol(**given)


def test_an_option_that_no_benchmark_has_a_use_for_is_refused():
    both = {"math500": protocol(), "aime24": protocol("aime24")}
    require_options({"temperature": 0.5}, both)
    for given in ({"rollouts": 8}, {"beam_width": 2}):
        with pytest.raises(UserError, match=r"strategy 'greedy' or 'sample' has no use for it"):
            require_options(given, both)
    with pytest.raises(UserError, match=r"config\.vote: 'majorty' given.*Did you mean 'majority'"):
        require_options({"vote": "majorty"}, both)


@pytest.mark.parametrize(
    ("name", "given", "ppm", "why"),
    [
        ("maj@32", {"k": 8}, False, r"config\.metrics: 'maj@32' given, of more than its 8 samples"),
        ("best@4", {"k": 8}, False, r"'best@4' given, by the PPM's values"),
        ("maj@4", {}, False, r"'maj@4' given, of 4 samples, where strategy 'greedy' gives one"),
        ("pass@4", {}, True, r"'pass@4' given, .*pass@all"),
        ("pas@4", {}, False, r"no such metric"),
        ("maj@0", {"k": 8}, False, r"'0' samples given"),
    ],
)
def test_figures_that_there_will_not_be_are_refused_before_anything_is_sampled(name, given, ppm, why):
    with pytest.raises(UserError, match=why):
        require_metrics([name], protocol(ppm=ppm, **given), ppm=ppm)
    require_metrics(["maj@8", "search"], protocol(k=8), ppm=False)
    require_metrics(["best@8"], protocol(k=8, ppm=True), ppm=True)
