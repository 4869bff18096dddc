"""Which round's models are a run's: chosen by one rule, in the report, by `solve` and by an evaluation."""

import shutil

import pytest

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.evolve.best_round import HeldOutShares, best_round, choose
from rstar_jax.evolve.evaluation import _with_models
from rstar_jax.evolve.evaluation_settings import EvaluationSettings
from rstar_jax.evolve.report_page import gather, write
from rstar_jax.evolve.run_models import of_run
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.summary import collect
from rstar_jax.report import render
from rstar_jax.search import SearchConfig
from rstar_jax.settings import to_dict
from rstar_jax.solve.chosen import chosen
from rstar_jax.solve.settings import SolveSettings
from tests.report import a_run


@pytest.mark.parametrize(
    ("rounds", "best", "figure"),
    [
        ({1: (0.5, 0.6), 2: (0.9, 0.8), 3: (0.7, 0.7)}, 2, "search"),
        ({1: (0.5, 0.8), 2: (0.9, 0.8), 3: (0.7, 0.7)}, 2, "search"),  # of equals the later
        ({1: (0.5, None), 2: (0.6, 0.9), 3: (0.7, 0.7)}, 3, "policy"),  # compared by what all of them have
        ({9: (0.5, None), 10: (0.5, None)}, 10, "policy"),  # numbers, not names
        ({1: (0.5, 0.6), 2: None}, 1, "search"),  # under way
        ({1: None, 2: None}, 2, None),
        ({1: (None, None), 2: (None, None)}, 2, None),
        ({1: (0.0, 0.0)}, 1, "search"),
    ],
)
def test_the_rule(rounds, best, figure):
    found = choose({n: shares and HeldOutShares(*shares) for n, shares in rounds.items()}, problems=100)
    assert (found.round, found.figure, found.last) == (best, figure, max(rounds))
    if figure:
        low, high = found.interval
        assert low <= found.share <= high and found.rule
    assert choose({}) is None


@pytest.fixture
def run(tmp_path):
    """Three rounds, of which the second did best."""
    root = a_run.make(tmp_path / "run", rounds=3)
    for number, share in ((1, 0.5), (2, 0.75), (3, 0.25)):
        path = root / f"round{number}" / "evaluate" / "DONE.json"
        manifest = records.read_signed(path)
        manifest["result"]["search_accuracy"] = {**a_run.SHARES, "all": share}
        records.write_signed(path, manifest)
        for kind in ("policy", "ppm"):
            (root / f"round{number}" / kind / "model").mkdir()
    return root


def test_report_and_solve_name_the_same_models(run):
    report = collect(run, to_dict(RunSettings()))
    assert report["best"]["round"] == best_round(run).round == 2
    assert report["models"] == {"policy": "round2/policy/model", "ppm": "round2/ppm/model"}
    assert of_run(run).policy == run / report["models"]["policy"]
    assert of_run(run).ppm == run / report["models"]["ppm"]
    (said,) = [line for line in render(report).splitlines() if line.startswith("The run's models")]
    assert "round 2's, with 75.0 % (" in said and "the highest of 3 rounds, of equals the later" in said
    assert "Round 3, the last: 25.0 % (" in said and "flatters" in said
    assert said in write(gather(run, lambda _: None)).read_text().replace("&#39;", "'").replace("&#x27;", "'")


def test_rounds_under_way_or_without_an_evaluation(run):
    for number in (1, 2, 3):
        shutil.rmtree(run / f"round{number}" / "evaluate")
    (run / "round3" / "ppm" / "DONE.json").unlink()
    report = collect(run, to_dict(RunSettings()))
    assert report["best"]["round"] == 2 and of_run(run).policy == run / "round2/policy/model"
    assert "round 2's, the last: no round is evaluated" in render(report)
    for number in (1, 2):
        (run / f"round{number}" / "ppm" / "DONE.json").unlink()
    report = collect(run, to_dict(RunSettings()))
    assert report["best"] is None and report["models"]["policy"] == "round3/policy/model"
    assert "The run's models" not in render(report)
    with pytest.raises(UserError, match=r"config\.run: .* trained a policy and a PPM"):
        of_run(run)


def test_a_damaged_evaluation_is_no_silent_other_choice(run):
    path = run / "round2" / "evaluate" / "DONE.json"
    path.write_text(path.read_text().replace("0.75", "0.05"))
    with pytest.raises(UserError, match=r"config\.run: .*round2/evaluate.*checksum.*--config\.policy=DIR"):
        of_run(run)


def test_an_evaluation_of_a_run_measures_its_best_round(run, tmp_path):
    given = EvaluationSettings(run=str(run), benchmarks="suite")
    found = _with_models(given)
    assert found.policy == str(run / "round2/policy/model") and found.ppm == str(run / "round2/ppm/model")
    assert _with_models(EvaluationSettings()) == EvaluationSettings()
    with pytest.raises(UserError, match=r"config\.run: given beside"):
        EvaluationSettings(run=str(run), ppm="x")


def test_an_orm_guides_no_search(run):
    path = run / "config.json"
    options = records.read_signed(path)
    options["train"] = {**options["train"], "reward": "orm"}
    records.write_signed(path, options)
    asks = r"config\.run: .* is an ORM .*--config\.search\.strategy=best_of_n --config\.search\.scores=orm"
    with pytest.raises(UserError, match=asks):
        chosen(SolveSettings(run=str(run)))
    with pytest.raises(UserError, match=r"ORM .* Give --config\.strategy=best_of_n --config\.scores=orm"):
        _with_models(EvaluationSettings(run=str(run)))
    search = SearchConfig(strategy="best_of_n", scores="orm")
    assert chosen(SolveSettings(run=str(run), search=search)).ppm == run / "round2/ppm/model"
    assert _with_models(EvaluationSettings(run=str(run), strategy="best_of_n", scores="orm")).ppm


def test_the_first_round_is_not_set_beside_itself(run):
    path = run / "round1" / "evaluate" / "DONE.json"
    manifest = records.read_signed(path)
    manifest["result"]["search_accuracy"]["all"] = 0.875
    records.write_signed(path, manifest)
    page = write(gather(run, lambda _: None)).read_text()
    assert "round 1, whose models are the run" in page and "87.5 in round 1" not in page
