"""One training over several processes: equal to that of one, killed, and gone on with by others."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from rstar_jax import parquet
from rstar_jax.curate.values import StepValues
from rstar_jax.data import row_tokens
from rstar_jax.data.row_file import RowFile
from rstar_jax.data.token_store import TokenStore
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.sharding import make_mesh
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, train_policy, train_ppm, train_pqm
from rstar_jax.types import PreferencePair, SftRow
from rstar_jax.weights import Handover, load_pretrained, save_pretrained, save_reward_model
from tests.on_processes import ended, started

KINDS = ("policy", "ppm", "pqm")
QUESTIONS = [f"{i} plus {i * i}?" for i in range(24)]
STEP = "<code>\n# Step 1: add\nx = {}\n<end_of_step>"
PAIRS = [
    PreferencePair("p", q, (), (STEP.format(1),), (STEP.format(other),), 1, 1.0, False, 1)
    for q in QUESTIONS[:12]
    for other in ("2 ", 3)
]
VALUES = [
    StepValues("p", q, (STEP.format(k),), (k - 1.0,), (1.0,), 1)
    for i, q in enumerate(QUESTIONS)
    for k in ({0, i % 3})  # some questions have two steps
]
CONFIG = TrainConfig(epochs=2, batch=8, seq_len=48, microbatch=3, learning_rate=3e-3)


def main(processes, index, port, folder):
    """A process of 1, 2 or 4: one, and two, train a policy, a PPM and a PQM; two then begin another training,
    and are killed in it; four go on with that one on another mesh. Each prints its losses, how many texts it
    has encoded, and how many examples it has read."""
    from rstar_jax import distributed

    where = distributed.DistributedConfig(f"127.0.0.1:{port}", processes, index)
    distributed.start(where if processes > 1 else distributed.DistributedConfig())
    folder = Path(folder)
    tokenizer = Tokenizer.load(folder / "base", CODE_STEPS)
    rows = RowFile(folder / "sft.parquet", SftRow)
    row_tokens.CHUNK = 6  # of which each of two processes encodes two
    asked, read, told = [], [], {"policy": [], "ppm": [], "pqm": [], "resumed": []}
    example = TokenStore.__getitem__
    TokenStore.__getitem__ = lambda self, i: read.append(i) or example(self, i)

    def prompt(question):
        asked.append(question)
        return f"Question: {question}\n"

    def listen(kind, die_at=0):
        def on_step(done, total, row):
            told[kind].append(row["loss"])
            if done == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        return on_step

    own = folder / str(processes)
    mesh = make_mesh(fsdp=4, tensor=2) if processes == 4 else make_mesh(data=2, fsdp=4)
    always = dataclasses.replace(CONFIG, checkpoint_every_s=1e-6)  # by the leader's clock
    state = {"checkpoints": folder / "state"}
    policy = load_pretrained(folder / "base", mesh=mesh)
    if processes == 4:
        train_policy(policy, rows, tokenizer, prompt, always, on_step=listen("resumed"), **state)
        save_pretrained(policy, own / "policy")
    else:
        tokens = {"tokens": own / "tokens"}
        summary = train_policy(policy, rows, tokenizer, prompt, CONFIG, on_step=listen("policy"), **tokens)
        told |= {"encoded": len(asked), "read": len(read), "tokens": summary.tokens}
        save_pretrained(policy, own / "policy")
        told["moved"] = moves(policy, own / "policy")
        # Questions of several pairs, in rows that are split over the devices of both processes; the first
        # epoch's parameters are the best.
        ppm, measured = from_policy(load_pretrained(own / "policy", mesh=make_mesh(context=8))), []
        best = dataclasses.replace(CONFIG, ema=0.5, keep="best", spike=6.0)
        found = train_ppm(
            ppm,
            RowFile(folder / "pairs.parquet", PreferencePair),
            tokenizer,
            prompt,
            best,
            tokens=own / "pair tokens",
            on_step=listen("ppm"),
            checkpoints=own / "state",
            held_out=lambda model: measured.append(0) or {"loss": float(len(measured))},
        )
        told["kept"] = found.kept_step, found.steps
        save_reward_model(ppm, own / "ppm")
        pqm, values = from_policy(policy), RowFile(folder / "values.parquet", StepValues)
        eight, tokens = dataclasses.replace(CONFIG, epochs=1, optimizer="adamw8bit"), own / "value tokens"
        train_pqm(pqm, values, tokenizer, prompt, eight, tokens=tokens, on_step=listen("pqm"))
        save_reward_model(pqm, own / "pqm")
    print(json.dumps(told), flush=True)
    if processes == 2:
        policy = load_pretrained(folder / "base", mesh=mesh)
        train_policy(policy, rows, tokenizer, prompt, always, on_step=listen("policy", die_at=4), **state)


def moves(policy, folder):
    """Whether the process has on a device of its own what is in the folder, and whether it read it there."""
    held, read = Handover(), []
    held.leave(folder, policy.params())
    again = load_pretrained(folder, mesh=policy.mesh, held=held, on_progress=read.append).params()
    assert all(again[name] is value for name, value in policy.params().items())
    held.leave(folder, policy.params())
    held.settle("bfloat16")
    moved = load_pretrained(folder, dtype="bfloat16", held=held, on_progress=read.append).params()
    expected = load_pretrained(folder, dtype="bfloat16").params()
    devices = {device for value in moved.values() for device in value.devices()}
    assert devices == {jax.local_devices()[0]}
    return all(np.array_equal(moved[name], value) for name, value in expected.items()), bool(read)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    tokenizer = Tokenizer.train([*QUESTIONS, STEP, "Question: "], 300, CODE_STEPS)
    config = DecoderConfig(tokenizer.vocab_size, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    save_pretrained(init_random(config, 0), folder / "base", tokenizer_from=tokenizer)
    rows = [SftRow("p", q, (STEP.format(len(q)),), 1.0, 1.0, 1) for q in QUESTIONS]
    parquet.write_rows(folder / "sft.parquet", SftRow, rows)
    parquet.write_rows(folder / "pairs.parquet", PreferencePair, PAIRS)
    parquet.write_rows(folder / "values.parquet", StepValues, VALUES)
    return folder


@pytest.fixture(scope="module")
def told(folder):
    """What the processes of each number tell, and what the second of them left."""

    def told_by(running):
        said = ended(running, timeout=1500)
        codes = [process.returncode for process in running]
        assert -signal.SIGKILL in codes if len(running) == 2 else not any(codes), said
        return [json.loads(out.splitlines()[-1]) for out, _ in said]

    found = {}
    for processes in (1, 2, 4):
        with started(__file__, folder, processes=processes) as running:
            found[processes] = told_by(running)
        if processes == 2:
            found["saved"] = sorted(int(p.name) for p in (folder / "state").iterdir() if p.name.isdigit())
            damage(folder / "state" / str(found["saved"][-1]))
    return found


def damage(checkpoint):
    """Take the state's largest file away, which not all processes will miss."""
    max(checkpoint.glob("state/**/d/*"), key=lambda path: path.stat().st_size).unlink()


def assert_equal(one, other):
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=0, atol=1e-5, err_msg=name)


def test_two_processes_train_as_one_does(folder, told):
    (one,) = told[1]
    for own in told[2]:  # each knows the losses of all
        for kind in KINDS:
            np.testing.assert_allclose(own[kind], one[kind], rtol=0, atol=1e-5)
        assert own["tokens"] == one["tokens"]
    for kind in KINDS:
        assert_equal(folder / "1" / kind, folder / "2" / kind)


def test_two_processes_keep_what_one_does(told):
    assert [tuple(own["kept"]) for own in told[1] + told[2]] == [(3, 6)] * 3


def test_weights_move_to_a_device_of_each_process_and_are_not_read(told):
    assert [own["moved"] for own in told[1] + told[2]] == [[True, False]] * 3


def test_each_process_encodes_its_share_and_makes_its_own_rows_alone(told):
    # A prompt names the tokens. All of the first step names the data; then come, in two epochs, its own rows.
    assert [own["encoded"] for own in told[2]] == [1 + len(QUESTIONS) // 2] * 2
    rows = [own["read"] - CONFIG.batch for own in told[2]]
    assert sum(rows) == 2 * len(QUESTIONS) and max(rows) <= 1.5 * min(rows), rows


def test_killed_and_its_last_save_damaged_it_goes_on_with_other_processes_and_on_another_mesh(folder, told):
    *_, done, damaged = told["saved"]  # what is before them was not yet removed
    assert damaged in (2, 3)  # killed at the fourth step
    assert (folder / "state" / f"{damaged}.damaged").is_dir()
    (one,) = told[1]
    for own in told[4]:
        np.testing.assert_allclose(own["resumed"], one["policy"][done:], rtol=0, atol=1e-5)
    assert_equal(folder / "1" / "policy", folder / "4" / "policy")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
