"""Eight devices compute what one does: rows split over them, parameters and optimiser too."""

import dataclasses
import functools
import io
import json
import logging

import jax
import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.train import (
    Example,
    PolicyBatches,
    TrainConfig,
    fit,
    policy_loss,
    ppm_loss,
    programs,
)
from rstar_jax.train.host_rows import Rows
from tests.on_devices import printed
from tests.train.conftest import ppm_batches


def main():
    """Trains a policy and a PPM on one of eight devices and on a mesh of all; prints their losses."""
    from rstar_jax import sharding

    config = DecoderConfig(vocab_size=32, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    options = TrainConfig(epochs=3, batch=8, seq_len=32, microbatch=8, learning_rate=1e-2)
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 32, n).astype(np.int32) for n in rng.integers(20, 32, 16)]
    examples = [Example(t, np.arange(len(t)) >= 3) for t in tokens]
    pairs = [[(i, i + 1, 1.0)] for i in range(0, 16, 2)]
    losses, compiled, refused = [], [], None
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **about: compiled.append(about["fun_name"]) if "backend_compile" in event else None
    )
    for mesh in (None, sharding.make_mesh(data=2, fsdp=4)):
        policy, ppm = init_random(config, 0), from_policy(init_random(config, 0))
        sizes = functools.partial(Rows.sizes, mesh, options.microbatch)
        if mesh is not None:
            sharding.shard_module(policy, mesh)
            sharding.shard_module(ppm, mesh)
        runs = []
        for model, batches, loss in (
            (policy, PolicyBatches(examples, options, 0, sizes), policy_loss),
            (ppm, ppm_batches(tokens, pairs, options, rows=sizes), ppm_loss),
        ):
            summary = fit(model, batches, loss, options, total_steps=batches.total_steps)
            runs.append([summary.first_loss, summary.last_loss])
        losses.append(runs)
    embed = policy.embed[...]
    row = programs(
        policy, PolicyBatches(examples, options, 0, sizes)(0).microbatches[0], policy_loss, options
    )[1]
    memory = row.compile().memory_analysis()
    sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes
    steps = sorted(name for name in compiled if name in ("jit(accumulate)", "jit(update)"))
    try:
        fit(
            policy,
            PolicyBatches(examples, options, 0, lambda _: [Rows(6)]),
            policy_loss,
            options,
            total_steps=1,
        )
    except UserError as error:
        refused = str(error)
    few = Rows.on(policy.mesh, 3)
    logged = io.StringIO()
    logging.getLogger("rstar_jax.train").addHandler(logging.StreamHandler(logged))
    padded = dataclasses.replace(options, batch=2, microbatch=1)
    wide = PolicyBatches(examples, padded, 0, functools.partial(Rows.sizes, policy.mesh, 1))
    fit(policy, wide, policy_loss, padded, total_steps=1)
    parts = len(embed.sharding.device_set), embed.addressable_shards[0].data.shape
    print(json.dumps([losses, steps, sizes, *parts, refused, few.count, logged.getvalue()]))


def test_eight_devices_equal_one():
    (one, eight), steps, (given, made), devices, part, refused, few, said = json.loads(printed(__file__))
    # Once for each model, on one device and on eight: what a program makes lies where it is looked for.
    assert steps == ["jit(accumulate)"] * 4 + ["jit(update)"] * 4
    assert made < 1.1 * given  # new sums are split, too: XLA would have them whole on every device
    assert "6 rows a call given, but the mesh (data=2 fsdp=4 tensor=1 expert=1 context=1) splits" in refused
    assert refused.endswith("Give a multiple of 8, such as 8.") and few == 8
    assert "of the 8 rows of a call is text, the rest padding" in said
    assert devices == 8 and part == [32, 4]  # the parameters stay split
    np.testing.assert_allclose(one, eight, rtol=1e-3)
    assert all(last < first for first, last in one)


if __name__ == "__main__":
    main()
