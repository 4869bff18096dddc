"""Hostile snippets, ours and the published ones: as whoever runs the tests and as an ordinary user, with and
without Landlock; and a thousand of them mixed, after which nothing has changed.

Those that burn CPU until they are stopped run in two of the four combinations; `runner.py` runs all.
"""

import functools
import json
import os
import time
from pathlib import Path

import pytest

from rstar_jax.sandbox import Isolation, Sandbox
from tests.sandbox.hostile import corpus, ordinary_user, runner, soak

HERE = Path(__file__).parents[3]
PUBLISHED = "RSTAR_HOSTILE_FILE"
published = [
    pytest.mark.external,
    pytest.mark.skipif(PUBLISHED not in os.environ, reason=f"{PUBLISHED} is unset"),
]
CORPORA = ["own", pytest.param("published", marks=published)]


def check(report: runner.Report, without: tuple[str, ...]) -> None:
    assert report.failures == []
    assert "landlock" not in without or report.layers["landlock"].startswith("missing")
    if not without and report.layers["landlock"].startswith("missing"):
        pytest.skip(f"all as expected, but Landlock is {report.layers['landlock']}")


@pytest.mark.parametrize("without", [(), ("landlock",)], ids=["all_layers", "without_landlock"])
@pytest.mark.parametrize("cases", CORPORA)
def test_every_case_ends_as_expected(cases, without):
    isolation = Isolation(without=without)
    own = cases == "own"
    attacks = corpus.CASES if own else runner.load(Path(os.environ[PUBLISHED]))
    limits = runner.OWN if own else runner.PUBLISHED
    check(runner.attack(runner.quick(attacks) if without else attacks, limits, isolation), without)


@functools.cache
def obstacle() -> str:
    return ordinary_user.obstacle([HERE])


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
@pytest.mark.parametrize("without", [(), ("landlock",)], ids=["all_layers", "without_landlock"])
@pytest.mark.parametrize("cases", CORPORA)
def test_every_case_ends_as_expected_as_an_ordinary_user(cases, without):
    if obstacle():
        pytest.skip(obstacle())
    needed, arguments = [HERE], ["-m", "tests.sandbox.hostile.runner"]
    if cases == "published":
        file = Path(os.environ[PUBLISHED]).resolve()
        needed, arguments = [*needed, file], [*arguments, "--file", str(file)]
    if not without:
        arguments.append("--quick")
    arguments += [word for layer in without for word in ("--without", layer)]
    done = ordinary_user.run(arguments, needed, {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE)})
    assert done.returncode in (0, 1), done.stderr
    report = runner.Report(**json.loads(done.stdout))
    assert report.layers["user"] == f"uid {ordinary_user.NOBODY}, not root"
    check(report, without)


def test_nothing_has_changed_after_a_thousand_mixed_snippets(tmp_path):
    assert soak.soak(1000, tmp_path).failures == []


def test_the_caller_does_no_work_that_a_program_can_choose():
    nested = next(case["code"] for case in corpus.CASES if case["name"] == "nested_finally")
    with Sandbox(1, runner.OWN) as sandbox:
        sandbox.run(["print(1)"])
        before = time.process_time()
        texts = ["x = '" + "a" * 10**6 + "'", "-\\\n" * 6000 + "1", "import " + " \n" * 10**5]
        sandbox.run([nested, *texts, "import os" + ", os" * 10**5])
        assert time.process_time() - before < 0.5
