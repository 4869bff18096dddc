"""A run's figures beside the paper's, and what stands against comparing them."""

from rstar_jax.evaluate import paper


def evaluation(name="math500", policy="Qwen/Qwen2.5-Math-7B", **protocol):
    figure = {"value": 0.9, "low": 0.87, "high": 0.92, "problems": 500}
    return {
        "models": {"policy": {"name": policy}},
        "benchmarks": [
            {"name": name, "protocol": protocol, "figures": {"search": figure, "greedy": figure}},
            {"name": "gsm8k", "protocol": protocol, "figures": {"search": figure}},
        ],
    }


def only(rows, way):
    (row,) = [row for row in rows if row.paper.way == way]
    return row


def test_the_same_benchmark_base_and_protocol_can_be_compared():
    rows = paper.beside_evaluation(evaluation(strategy="mcts_repeated", k=64, candidates=32), round=4)
    row = only(rows, "searches")
    assert row.comparable and row.paper.share == 0.9 and (row.ours.low, row.ours.high) == (0.87, 0.92)
    assert only(rows, "policy").paper.share == 0.784
    assert {row.paper.benchmark for row in rows} == {"math500"}  # the paper's tables here have no GSM8K


def test_another_protocol_another_round_and_another_base_are_said():
    few = paper.beside_evaluation(evaluation(strategy="mcts_repeated", k=8, candidates=8), round=4)
    assert only(few, "searches").why == ("8 searches, 64 in the paper", "8 candidates, 32 in the paper")
    unknown = only(paper.beside_evaluation(evaluation(strategy="mcts", candidates=32)), "search")
    assert unknown.paper.round == 4 and unknown.why == ("it is not known which round made the models",)
    third = only(paper.beside_evaluation(evaluation(strategy="mcts", candidates=32), round=3), "search")
    assert third.comparable and third.paper.share == 0.87
    folder = evaluation(policy="/runs/w/round2/policy/model", strategy="mcts", candidates=32)
    assert only(paper.beside_evaluation(folder), "search").paper.share == 0.866
    other = paper.beside_evaluation(
        evaluation(policy="Qwen/Qwen2.5-Math-72B", strategy="mcts", candidates=32), round=4
    )
    assert "another base (Qwen/Qwen2.5-Math-72B" in only(other, "search").why[0]


def test_a_smaller_base_of_the_paper_stands_beside_its_own_figure():
    small = evaluation("aime24", "/models/Phi-3-mini-4k", strategy="mcts_repeated", k=64, candidates=32)
    row = only(paper.beside_evaluation(small, round=4), "searches")
    assert row.comparable and (row.paper.base, row.paper.share) == ("Phi3-mini", 0.433)


def test_rounds_on_other_problems_stand_beside_math_for_orientation():
    report = {
        "config": {
            "policy": {"init": "tiny"},
            "problems": {"train": "240", "heldout": "200"},
            "evaluate": {"strategy": "mcts", "candidates": 6},
        },
        "base": {"policy_pass1": 0.3},
        "rounds": [
            {"round": 1, "coverage": {"all": 0.6}, "policy_pass1": 0.5, "search_accuracy": None},
            {"round": 2, "coverage": {"all": 0.7}, "policy_pass1": 0.6, "search_accuracy": 0.8},
            {"round": 5, "coverage": {"all": 0.9}},
        ],
    }
    rows = paper.beside_report(report)
    assert [(row.paper.way, row.paper.round, row.ours.share) for row in rows] == [
        ("solved", 1, 0.6),
        ("solved", 2, 0.7),
        ("policy", 0, 0.3),
        ("policy", 1, 0.5),
        ("policy", 2, 0.6),
        ("search", 2, 0.8),
    ]
    assert not any(row.comparable for row in rows)
    assert rows[-1].why == (
        "other problems (suite:200)",
        "another base (tiny; the paper's is Qwen2.5-Math-7B)",
        "6 candidates, 32 in the paper",
    )


def test_heldout_problems_are_known_by_the_name_of_their_source():
    known = {
        "hf:HuggingFaceH4/MATH-500:test": "math500",
        "benchmarks/aime2024.jsonl": "aime24",
        "jsonl:olympiad_bench.jsonl": "olympiadbench",
        "200": "suite:200",
        "math500.jsonl*0.5": "math500.jsonl*0.5",
        "hf:EleutherAI/hendrycks_math:test": "hf:EleutherAI/hendrycks_math:test",
    }
    for specification, benchmark in known.items():
        report = {
            "config": {"problems": {"heldout": specification}, "evaluate": {"strategy": "mcts"}},
            "rounds": [{"round": 1, "search_accuracy": 0.5}],
        }
        (row,) = paper.beside_report(report)
        assert row.ours.benchmark == benchmark


def test_every_figure_of_the_paper_has_a_name():
    assert {one.benchmark for one in paper.PUBLISHED} == set(paper.BENCHMARKS)
    assert {one.way for one in paper.PUBLISHED} == set(paper.WAYS)
    assert all(0 < one.share < 1 for one in paper.PUBLISHED)
