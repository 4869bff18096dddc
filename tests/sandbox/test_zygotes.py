"""Zygotes that refuse, die, hang, stall and lie: what the calling process makes of it."""

import logging
import os
import selectors
import signal
import sys
import time

import pytest

from rstar_jax.errors import UserError
from rstar_jax.sandbox import Limits, Sandbox, worker
from tests.sandbox.fakes import UP, install
from tests.sandbox.processes import descriptors, soon


@pytest.fixture
def opened(below):
    with Sandbox(workers=1, limits=Limits(cpu_s=1, wall_s=2)) as sandbox:
        yield sandbox


def test_the_layers_are_told_and_missing_ones_warned_about_once(monkeypatch, tmp_path, caplog):
    # A layer of this test's own: each is warned about once in a process.
    install(monkeypatch, tmp_path, 'send("ready", {"seccomp": "on", "a moat": "missing: old"})\nreceive()')
    with caplog.at_level(logging.WARNING, "rstar_jax"):
        for _ in range(2):
            with Sandbox(workers=1) as sandbox:
                assert sandbox.layers == {"seccomp": "on", "a moat": "missing: old"}
    assert [r.getMessage() for r in caplog.records] == ["sandbox: the layer a moat is missing: old."]


def test_a_refusal_is_the_users_to_read(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, 'send("refused", "no filter here")')
    sandbox = Sandbox(workers=1)
    for _ in range(2):
        with pytest.raises(UserError, match="no filter here"):
            sandbox.run(["print(1)"])
    with pytest.raises(UserError, match="no filter here"), sandbox:
        pass


def test_a_zygote_that_does_not_come_up_is_tried_twice(monkeypatch, tmp_path):
    counted = install(monkeypatch, tmp_path, "note(counted)\nimport no_such_module")
    with pytest.raises(UserError, match="No module named 'no_such_module'"):
        Sandbox(workers=1).run(["print(1)"])
    assert counted.read_text() == "\n" * 2


def test_an_interpreter_that_cannot_be_started_is_named_and_leaves_nothing_open(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = descriptors()
    with pytest.raises(UserError, match="/no/such/python: the sandbox cannot start it"):
        Sandbox(workers=1).run(["print(1)"])
    assert descriptors() == before


def test_a_silent_zygote_is_given_up(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, "print('loading', file=sys.stderr, flush=True)\ntime.sleep(60)")
    monkeypatch.setattr(worker, "START_S", 0.2)
    with pytest.raises(UserError, match="loading"):
        Sandbox(workers=1).run(["print(1)"])


@pytest.mark.parametrize(
    ("stalls", "status", "runs"), [(1, "ok", 2), (2, "timeout_wall", 2)], ids=["stalled once", "always"]
)
def test_a_stalled_host_is_given_a_second_run(monkeypatch, tmp_path, stalls, status, runs):
    stall = f'if note(counted) <= {stalls}: answer("timeout_wall", "", 0.1, 9.0, True)\n'
    program = f"{UP}while True:\n    code = receive()\n    {stall}    else: answer()"
    install(monkeypatch, tmp_path, program)
    with Sandbox(workers=1) as sandbox:
        result = sandbox.run(["print(1)"])[0]
        assert (result.status, result.lost) == (status, status != "ok")
        assert sandbox.snippets_run == runs
        sandbox.run(["print(1)"])
        assert sandbox.snippets_run == (runs if status == "ok" else runs + 1)  # a clock's verdict is not kept


def test_a_sleeper_and_a_worker_are_not_run_again(monkeypatch, tmp_path):
    for cpu, starved in ((0.1, False), (4.0, True)):
        answer = f'answer("timeout_wall", "", {cpu}, 9.0, {starved})\n'
        install(monkeypatch, tmp_path, f"{UP}while True:\n    code = receive()\n    {answer}")
        with Sandbox(workers=1) as sandbox:
            result = sandbox.run(["print(1)"])[0]
            assert (result.status, result.lost) == ("timeout_wall", False)
            assert sandbox.snippets_run == 1


@pytest.mark.parametrize(
    "lie",
    [
        'answer("splendid", "wrong")',
        'answer("ok", "wrong", "long")',
        'send("ready", {})',
        'frame(b"no")',
        'os.write(1, b"\\xff" * 100)',
        "sys.exit()",
    ],
)
def test_an_answer_that_is_none_costs_the_zygote_its_life(monkeypatch, tmp_path, lie):
    program = f"{UP}while True:\n    code = receive()\n    if note(counted) == 2: {lie}\n    answer()"
    install(monkeypatch, tmp_path, program)
    with Sandbox(workers=1) as sandbox:
        results = sandbox.run([f"print({i})" for i in range(6)])
    assert [r.stdout for r in results] == ["right"] * 6


def test_what_a_zygote_dies_of_twice_is_given_up_and_nothing_else(monkeypatch, tmp_path):
    program = f"{UP}while True:\n    code = receive()\n    if 'die' in code: sys.exit()\n    answer()"
    counted = install(monkeypatch, tmp_path, f"note(counted)\n{program}")
    codes = ["x = 1", "die = 1", "x = 2", "x = 3"]
    with Sandbox(workers=1) as sandbox:
        for starts in (3, 4):  # lost zygotes are not remembered
            results = sandbox.run(codes)
            assert [r.status for r in results] == ["ok", "signal", "ok", "ok"]
            assert (results[1].cpu_s, results[1].wall_s) == (0, 0)
            assert len(counted.read_text()) == starts


def test_zygotes_that_do_nothing_but_die_are_an_error(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, f"{UP}receive()")
    with Sandbox(workers=2) as sandbox, pytest.raises(UserError, match="died one after the other"):
        sandbox.run([f"print({i})" for i in range(100)])


def test_a_killed_zygote_is_replaced_and_its_snippet_run_again(opened, below):
    (zygote,) = below()
    queue = opened.queue()
    queue.submit(["import time\ntime.sleep(0.4)\nprint('done')", "print('waited')"])
    assert soon(lambda: len(below()) == 2)
    os.kill(zygote, signal.SIGKILL)
    results = []
    while len(results) < 2:
        results += queue.poll(block=True)
    assert [r.stdout for _, r in sorted(results, key=lambda item: item[0])] == ["done\n", "waited\n"]
    assert zygote not in below()
    os.kill(below()[0], signal.SIGKILL)  # one that has nothing to do
    assert opened.run(["print('again')"])[0].stdout == "again\n"


def test_a_stuck_zygote_is_replaced(monkeypatch, below):
    monkeypatch.setattr(worker, "GRACE_S", 0.5)
    with Sandbox(workers=1, limits=Limits(cpu_s=1, wall_s=0.1)) as sandbox:
        (zygote,) = below()
        os.kill(zygote, signal.SIGSTOP)
        assert sandbox.run(["print('done')"])[0].stdout == "done\n"
        assert zygote not in below()


def test_silence_while_nobody_could_listen_is_no_sign_of_a_stuck_zygote(monkeypatch, tmp_path):
    program = f"note(counted)\n{UP}while True:\n    receive()\n    time.sleep(4)\n    answer()"
    counted = install(monkeypatch, tmp_path, program)
    monkeypatch.setattr(worker, "GRACE_S", 1.0)
    select, pauses = selectors.DefaultSelector.select, [3.7]

    def frozen(self, timeout=None):  # as in a container that is paused: its zygote stands still, too
        events = select(self, timeout)
        if timeout and not events and pauses:
            time.sleep(pauses.pop())
        return events

    with Sandbox(workers=1, limits=Limits(cpu_s=1, wall_s=0.5)) as sandbox:
        monkeypatch.setattr(selectors.DefaultSelector, "select", frozen)
        assert sandbox.run(["print(1)"])[0].stdout == "right"
    assert not pauses and counted.read_text() == "\n"


def test_a_stopped_zygote_does_not_keep_the_sandbox_from_closing(below):
    with Sandbox(workers=1) as sandbox:
        (zygote,) = below()
        queue = sandbox.queue()
        queue.submit(["import time\ntime.sleep(60)"])
        assert soon(lambda: len(below()) == 2)
        os.kill(zygote, signal.SIGSTOP)
    assert soon(lambda: not below())


@pytest.mark.parametrize("status", ["memory", "timeout_cpu"])
def test_what_the_kernel_did_for_the_hosts_sake_is_no_label(monkeypatch, tmp_path, status):
    answer = f'answer("{status}", "", 0.1, 0.2, True)\n'
    install(monkeypatch, tmp_path, f"{UP}while True:\n    code = receive()\n    {answer}")
    with Sandbox(workers=1) as sandbox:
        result = sandbox.run(["print(1)"])[0]
        assert (result.status, result.lost, sandbox.snippets_run) == (status, True, 2)
