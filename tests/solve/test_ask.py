"""One question: what is printed while it is searched, what is found, and every way in which that ends."""

from __future__ import annotations

import dataclasses
import errno
import io
import random
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from rstar_jax import launch, manifests, models, records, weights
from rstar_jax.evolve.run_models import of_run
from rstar_jax.problems.suite import generate
from rstar_jax.queues import Batched
from rstar_jax.report.transcript import Transcript
from rstar_jax.search import STRATEGIES, SearchConfig, votes
from rstar_jax.solve.ask import watched
from rstar_jax.solve.desk import AnswerDesk
from rstar_jax.tasks import MathTask
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Candidate, Problem, StepVerdict
from rstar_jax.weights import TINY_BASE
from tests.search.scripted import Functions, grow_trees

PROBLEM = Problem("question", "How much?", "")
CONFIG = SearchConfig(rollouts=5, candidates=4, searches=2, subtrees=2, beam_width=2)


def propose(leaves):
    """Two numbers are chosen, added and told; now and then a step fails."""

    def candidate(leaf, k):
        draw, depth = random.Random(repr((leaf.tree_index, leaf.node, k))), len(leaf.steps)
        if draw.random() < 0.2 and depth < 3:
            return f"{'' if depth else CODE_STEPS.opening}\nundefined\n{CODE_STEPS.end_step}", "step"
        if depth < 2:
            code = f"# Step {depth + 1}: choose\n{'ab'[depth]} = {draw.randrange(3)}"
            return f"{'' if depth else CODE_STEPS.opening}\n{code}\n{CODE_STEPS.end_step}", "step"
        if depth == 2:
            return f"\nprint(a + b)\n{CODE_STEPS.end_code}", "code"
        total = re.findall(r"<output>(.*)<end_of_output>", leaf.steps[2])[0]
        return f"\n{CODE_STEPS.answer}It is \\boxed{{{total}}}.{CODE_STEPS.end_answer}", "answer"

    return [
        [Candidate(text, (1,) * 3, -1.0, finish) for text, finish in (candidate(f, k) for k in range(f.n))]
        for f in leaves
    ]


def check(requests):
    def verdict(steps):
        text = steps[-1]
        if "undefined" in text:
            return StepVerdict(text, "exception", detail="NameError")
        if CODE_STEPS.answer in text:
            return StepVerdict(text, "answer", answer=boxed(text))
        if CODE_STEPS.end_code in text:
            held = {}
            exec(CODE_STEPS.program(steps).replace("print(a + b)", "c = a + b"), held)
            return StepVerdict(CODE_STEPS.with_output(text, str(held["c"])), "ok", observation=str(held["c"]))
        return StepVerdict(text, "ok")

    return [verdict(steps) for _, steps in requests]


def score(requests):
    return [np.array([random.Random(t).uniform(-1, 1) for t in texts]) for _, _, texts in requests]


FUNCTIONS = Functions(propose, check, lambda requests: ["ungraded"] * len(requests), score)


def desk_of(config, teller):
    return AnswerDesk(
        config, CODE_STEPS, teller, lambda: 0.0, lambda _, one, other: one == other, lambda *_: "ungraded"
    )


def asked(config=CONFIG, functions=FUNCTIONS, show="brief", queues=None):
    """The status, and what was printed."""
    out = io.StringIO()
    script = Transcript(out, show, CODE_STEPS, lambda: 0.0)
    status = watched([PROBLEM], queues or functions.queues(), desk_of(config, script))
    return status, out.getvalue()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_shows_its_steps_and_what_supports_the_answer(strategy):
    config = dataclasses.replace(CONFIG, strategy=strategy)
    status, text = asked(config)
    (tree,) = grow_trees([PROBLEM], FUNCTIONS, config, round=0)
    counted = votes.election(tree, config.vote, equal=str.__eq__)
    assert status == 0 and f"\nanswer: {counted[0].answer}\n" in text
    assert f"votes: {counted[0].count} of {len(votes.ballots(tree))} trajector" in text
    numbers = set()
    for line in text.splitlines():
        if match := re.match(r"-- after ([\d >]+), depth (\d+):", line):
            way = match[1].split(" > ")
            assert len(way) == int(match[2]) - 1 and set(way) <= numbers
        elif match := re.match(r" +(\d+)  (ppm [+-]\d\.\d\d  )?(answer \d: It is|# Step|print)", line):
            numbers.add(match[1])
    assert numbers and ("NameError" in text) == any(n.detail == "NameError" for n in tree.nodes)
    assert ("ppm +" in text or "ppm -" in text) == (strategy not in ("greedy", "sample"))


def test_the_program_that_is_printed_runs_and_prints_what_it_says(capsys):
    _, text = asked()
    program, rest = text.split("the program, run as it stands:\n")[1].split("what it printed:\n")
    exec(program, {})
    printed = capsys.readouterr().out.strip()
    assert rest.strip().split("\n")[0] == printed == re.findall(r"^answer: (.*)$", text, re.MULTILINE)[0]


def test_steps_are_shown_in_a_line_whole_or_not_at_all():
    brief, full, answer = (asked(show=show)[1] for show in ("brief", "full", "answer"))
    assert re.search(r"^ +\d+  ppm .....  print\(a \+ b\) => \d$", brief, re.MULTILINE)
    assert re.search(r"^ +\d+  ppm .....\n       print\(a \+ b\)\n       => \d$", full, re.MULTILINE)
    assert not re.search("^--", answer, re.MULTILINE) and brief.endswith(answer)
    assert max(map(len, brief.splitlines())) <= 110


def test_what_would_steer_a_terminal_is_written_out():
    def paints(requests):
        return [dataclasses.replace(v, observation="\x1b[2J\u202e\u00e9") for v in check(requests)]

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    script = Transcript(out, "full", CODE_STEPS, lambda: 0.0)
    watched([PROBLEM], dataclasses.replace(FUNCTIONS, check=paints).queues(), desk_of(CONFIG, script))
    printed = out.buffer.getvalue()
    assert b"\x1b" not in printed and rb"\x1b[2J\u202e\xe9" in printed


def test_without_an_answer_it_says_why():
    broken = [Candidate(f"{CODE_STEPS.opening}\nundefined\n{CODE_STEPS.end_step}", (1,), 0.0, "step")]
    functions = dataclasses.replace(FUNCTIONS, propose=lambda leaves: [broken for _ in leaves])
    status, text = asked(functions=functions)
    assert status == 1 and "no answer: no trajectory ended in one" in text and "1 NameError" in text


class Signals:
    """The queue that checks steps; sends this process a signal with its nth poll."""

    cooperative, compile_seconds = True, 0.0

    def __init__(self, number, nth):
        self.number, self.nth, self.inner = number, nth, FUNCTIONS.queues().check

    def submit(self, requests):
        return self.inner.submit(requests)

    def poll(self, block=False):
        self.nth -= 1
        if not self.nth:
            signal.raise_signal(self.number)
        return self.inner.poll(block)

    def cancel(self, tickets):
        self.inner.cancel(tickets)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ctrl_c_gives_the_best_answer_so_far(strategy, capsys):
    config = dataclasses.replace(CONFIG, strategy=strategy, rollouts=50, beam_width=30)
    out, before = io.StringIO(), signal.getsignal(signal.SIGINT)
    script = Transcript(out, "answer", CODE_STEPS, lambda: 0.0)
    queues = dataclasses.replace(FUNCTIONS.queues(), check=Signals(signal.SIGINT, 4))
    with pytest.raises(KeyboardInterrupt, match="best so far"):
        watched([PROBLEM], queues, desk_of(config, script))
    text = out.getvalue()
    assert "search: was stopped after" in text and signal.getsignal(signal.SIGINT) == before
    assert "stopping after what is under way" in capsys.readouterr().err
    if strategy in ("greedy", "sample", "best_of_n"):  # all of theirs are at their end by then
        assert "\nanswer: " in text


def test_ctrl_c_before_the_first_step_and_a_second_one(capsys):
    def twice(requests):
        signal.raise_signal(signal.SIGINT)
        if len(capsys.readouterr().err) and again:
            signal.raise_signal(signal.SIGINT)
        return propose(requests)

    for again in (False, True):
        with pytest.raises(KeyboardInterrupt, match="^$" if again else "best so far"):
            asked(functions=dataclasses.replace(FUNCTIONS, propose=twice))


def test_it_ends_with_its_time_whatever_is_under_way():
    class Never(Batched):
        """Checks first steps alone."""

        def poll(self, block=False):
            self.polls += 1
            return super().poll(block) if self.polls == 1 else []

    check = Never(FUNCTIONS.check)
    check.polls = 0
    queues = dataclasses.replace(FUNCTIONS.queues(), check=check)
    status, text = asked(dataclasses.replace(CONFIG, max_seconds=0.05), queues=queues)
    assert status == 1 and "search: had spent its time after 0 rollouts" in text


def launched(capsys, tmp_path, *flags):
    status = launch.main(["--config=solve", f"--workdir={tmp_path / 'w'}", *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


SMALL = (
    *("--config.search.rollouts=6", "--config.search.candidates=4", "--config.search.temperature=0.5"),
    *("--config.decode.max_step_tokens=64", "--config.decode.context=384", "--config.decode.leaves=2"),
    *("--config.decode.rows=4", "--config.verify.workers=1"),
)


def test_the_bundled_base_answers_a_problem_of_the_suite(capsys, tmp_path, monkeypatch):
    """Without a look at any reference, and the same again; then with a PPM and a beam, as a run left them."""

    def looked(*_):
        raise AssertionError("a question has no reference")

    monkeypatch.setattr(MathTask, "final", looked)
    problem = generate(1, seed=7, split="train")[0]
    question = f"--config.question={problem.question}"
    status, out, _ = launched(capsys, tmp_path, question, *SMALL)
    assert status == 0 and re.search(r"^votes: \d+ of \d+ traj", out, re.MULTILINE) and "ppm: none" in out
    program = out.split("the program, run as it stands:\n")[1].split("what it printed:\n")[0]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.split("what it printed:\n")[1].split()[0] == ran.stdout.split()[0]
    shown = [line for line in out.splitlines() if line.startswith((" ", "--"))]
    again = launched(capsys, tmp_path, question, *SMALL)[1]
    assert [line for line in again.splitlines() if line.startswith((" ", "--"))] == shown

    made = tmp_path / "run"
    ppm = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    weights.save_reward_model(ppm, made / "round2" / "ppm" / "model", tokenizer_from=TINY_BASE)
    shutil.copytree(TINY_BASE, made / "round2" / "policy" / "model")
    for stage in ("policy", "ppm"):
        folder = made / "round2" / stage
        outputs = {f"model/{p.name}": manifests.fingerprint(p) for p in (folder / "model").iterdir()}
        manifest = {"name": f"round2/{stage}", "result": {}, "seconds": 0, "outputs": outputs}
        records.write_signed(folder / "DONE.json", manifest)
    (made / "config.json").write_text('{"train": {"ppm": {"ppm_value": "raw"}}}')
    (made / "round10" / "policy").mkdir(parents=True)  # under way
    assert of_run(made).ppm_value == "raw"
    beam = ("--config.search.strategy=beam", "--config.search.beam_width=2", f"--config.run={made}")
    status, out, _ = launched(capsys, tmp_path, question, *SMALL, *beam)
    assert status in (0, 1) and f"ppm: {made}/round2/ppm/model" in out and "  ppm " in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "config.question: '' given, a question expected"),
        (("--config.question=  ",), "config.question: '  ' given"),
        (("--config.question=?", "--config.policy=/no/such"), "config.policy: /no/such: no such folder"),
        (("--config.question=?", "--config.ppm=/no/such"), "config.ppm: /no/such: no such folder"),
        (("--config.question=?", "--config.run=/no/such"), "config.run: /no/such given, the folder of a run"),
        (("--config.question=?", "--config.run=r", "--config.ppm=p"), "config.run: given beside"),
        (("--config.question=?", "--config.search.strategy=beem"), "config.search.strategy: 'beem' given"),
        (("--config.question=?", "--config.search.strategy=beam"), "'beam' ranks by a PPM's values"),
        (("--config.question=?", "--config.search.rollouts=0"), "config.search.rollouts: 0 given"),
        (("--config.question=?", "--config.search.max_depth=0"), "config.search.max_depth: 0 given"),
        (("--config.question=?", "--config.search.escalation=(64,)"), "search.escalation: (64,) given"),
        (("--config.question=?", "--config.search.by_difficulty=(16,32,64)"), "goes by graded answers"),
        (("--config.question=?", "--config.decode.rows=0"), "config.decode.rows: 0 given"),
        (("--config.question=?", "--config.show=all"), "config.show: 'all'"),
        (("--config.question=?", "--config.seed=-1"), "config.seed: -1"),
        (("--config.question=?", "--config.verify.task=code"), "config.verify.task: 'code' given"),
        ((f"--config.question={'why? ' * 3000}",), "config.decode.context: 4096 tokens given"),
    ],
)
def test_bad_input_says_what_to_do(capsys, tmp_path, flags, message):
    status, out, err = launched(capsys, tmp_path, *flags)
    assert (status, out) == (2, "") and message in err and "Traceback" not in err


def test_whoever_stops_reading_ends_it_without_a_word(capsys, tmp_path, monkeypatch):
    def unread(*_, **__):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(Transcript, "say", unread)
    assert launched(capsys, tmp_path, "--config.question=What is 1 plus 1?", *SMALL) == (141, "", "")


def test_a_policy_for_a_ppm_and_a_ppm_for_a_policy_are_refused_by_option(capsys, tmp_path):
    ppm = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    weights.save_reward_model(ppm, tmp_path / "ppm", tokenizer_from=TINY_BASE)
    for option, folder, expected in (
        ("ppm", TINY_BASE, "A PPM with its value head, such as roundN/ppm/model of a run, is expected."),
        ("policy", tmp_path / "ppm", "A policy, which writes text, is expected."),
    ):
        status, out, err = launched(capsys, tmp_path, "--config.question=?", f"--config.{option}={folder}")
        assert (status, out) == (2, "") and f"error: config.{option}: {folder}" in err
        assert "score.weight" in err and err.endswith(f"{expected}\n")


def test_a_ppm_without_a_tokenizer_reads_the_policys_ids_or_is_refused(capsys, tmp_path):
    ppm = models.resize_vocab(weights.load_pretrained(TINY_BASE), 50)
    weights.save_reward_model(models.from_policy(ppm), tmp_path / "ppm")
    flags = ("--config.question=What is the remainder?", f"--config.ppm={tmp_path / 'ppm'}", *SMALL)
    status, out, err = launched(capsys, tmp_path, *flags)
    assert (status, out) == (2, "") and f"error: config.ppm: {tmp_path / 'ppm'}: no tokenizer there" in err
    assert "50 rows, but the policy's tokenizer has 640 ids" in err
