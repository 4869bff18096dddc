"""Training by low-rank additions: what is kept, what is saved, and that a killed one goes on bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import RewardModel, from_policy
from rstar_jax.plan.cost import AVERAGE_BYTES
from rstar_jax.train import PolicyBatches, TrainConfig, fit, policy_loss, ppm_loss
from rstar_jax.train.checkpoints import Checkpoints
from rstar_jax.transforms.lora import LoraConfig, adapted, additions
from tests.train.conftest import ppm_batches

CONFIG = TrainConfig(
    epochs=5,
    batch=4,
    seq_len=32,
    microbatch=1,
    learning_rate=1e-2,
    checkpoint_every_steps=1,
    lora=LoraConfig(rank=2, alpha=8.0, targets=("q", "v", "down")),
)


class Killed(Exception):
    pass


def kill_at(step):
    def on_step(done, total, row):
        if done == step:
            raise Killed

    return on_step


def run(model, examples, *, config=CONFIG, folder=None, on_step=None, new=range(0)):
    batches = PolicyBatches(examples, config, seed=0)
    with adapted(model, config.lora, seed=0, new_tokens=new):
        return fit(
            model,
            batches,
            policy_loss,
            config,
            total_steps=batches.total_steps,
            checkpoints=folder,
            on_step=on_step,
        )


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params(), other.params())


def test_it_learns_and_leaves_all_other_weights(tiny, examples):
    model, base = tiny(), tiny().params()
    config = dataclasses.replace(CONFIG, epochs=60, learning_rate=5e-2)
    summary = run(model, examples, config=config)
    assert summary.last_loss < summary.first_loss
    assert summary.metrics["accuracy"] > 0.3  # of 32 tokens at random
    changed = {name for name, value in model.params().items() if not np.array_equal(value, base[name])}
    assert changed == {"layers.q", "layers.v", "layers.down"}


def test_checkpoints_hold_additions_and_their_moments_alone(tiny, examples, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, step, state, meta: saved.append(state))
    model = tiny()
    with adapted(model, CONFIG.lora, seed=0):
        few = sum(x.size for x in additions(model).values())
    run(model, examples, folder=tmp_path)
    sizes = [leaf.size for leaf in jax.tree.leaves(saved[-1])]
    assert sum(sizes) - sizes.count(1) == 3 * few  # one is the optimiser's count of steps
    run(model, examples, config=dataclasses.replace(CONFIG, ema=0.9), folder=tmp_path / "averaged")
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(saved[-1][1]["ema"])) == AVERAGE_BYTES * few


@pytest.mark.parametrize("new", [range(0), range(27, 31)])
def test_killed_and_resumed_equals_unbroken(tiny, examples, tmp_path, new):
    unbroken, resumed, steps, base = tiny(), tiny(), [], np.asarray(tiny().params()["embed"])
    run(unbroken, examples, new=new)
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(4), new=new)
    run(resumed, examples, folder=tmp_path, on_step=lambda done, *_: steps.append(done), new=new)
    assert steps == list(range(4, 11))
    assert_same(resumed, unbroken)
    changed = np.any(np.asarray(resumed.params()["embed"]) != base, axis=1)
    assert np.flatnonzero(changed).tolist() == list(new)


def test_another_choice_of_new_tokens_is_refused(tiny, examples, tmp_path):
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(3), new=range(27, 31))
    with pytest.raises(UserError, match=r"another model's training \(.*rows'\]: float32\[4, 16\] there"):
        run(tiny(), examples, folder=tmp_path, new=range(26, 31))


def test_another_base_or_other_options_are_refused(tiny, examples, tmp_path):
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(3))
    with pytest.raises(UserError, match=r"another training \(frozen \d+ there, \d+ here\)"):
        run(tiny(seed=9), examples, folder=tmp_path)
    for lora in (dataclasses.replace(CONFIG.lora, alpha=4.0), LoraConfig()):
        with pytest.raises(UserError, match=r"another training \(.*lora .*'alpha': 8.0"):
            run(tiny(), examples, config=dataclasses.replace(CONFIG, lora=lora), folder=tmp_path)


def test_a_ppm_trains_its_head_whole(tiny):
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 32, n).astype(np.int32) for n in rng.integers(6, 14, 8)]
    pairs = [[(i, i + 1, 1.0)] for i in range(0, 8, 2)]
    batches = ppm_batches(tokens, pairs, dataclasses.replace(CONFIG, epochs=20))
    model: RewardModel = from_policy(tiny())
    head, base = np.asarray(model.score[...]), model.decoder.params()
    with adapted(model, CONFIG.lora, seed=0):
        summary = fit(model, batches, ppm_loss, CONFIG, total_steps=batches.total_steps)
    assert summary.last_loss < summary.first_loss and summary.metrics["accuracy"] == 1.0
    assert not np.array_equal(model.score[...], head)
    np.testing.assert_array_equal(model.decoder.params()["embed"], base["embed"])
    assert not np.array_equal(model.decoder.params()["layers.q"], base["layers.q"])
