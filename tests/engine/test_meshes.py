"""Eight devices, however divided, decode and score what one does."""

import dataclasses
import math

import jax
import numpy as np

from rstar_jax.queues import call
from tests.on_devices import printed


def across() -> None:
    """Run by the test below in a process with eight devices."""
    from rstar_jax import sharding
    from rstar_jax.engine import ScoreRequest, StepDecoder, StepRequest, StepScorer
    from rstar_jax.models import DecoderConfig, RewardModel, cache, from_policy, init_random
    from rstar_jax.transforms.quantize import to_int8
    from tests.engine.decode_settings import CONFIG, STOPS, V

    text = np.random.default_rng(0).integers(V, size=40).astype(np.int32)
    plain = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    cache.UNROLL_DECODING_UP_TO = {}
    scanned = dataclasses.replace(plain, layers=cache.UNROLL_UP_TO + 1)
    # Fewer key/value heads than devices hold them; groups of one device.
    for config, int8, sizes in (plain, False, {"data": 2, "tensor": 4}), (scanned, True, {"data": 2}):
        model = init_random(config, 0)
        model.embed[...] = model.embed[...] * 12
        reward = from_policy(model, seed=1)
        if int8:
            to_int8(model)
        else:  # a head of others
            more = {"score_in": 0.3 * model.params()["layers.gate"][0, :, :32], "score_bias": model.norm[0]}
            reward = RewardModel(reward.decoder, reward.score[...] * 20, more)

        def search(mesh, model=model, reward=reward):
            decoder = StepDecoder(model, STOPS, CONFIG, seed=1, mesh=mesh)
            scorer = StepScorer(reward, CONFIG, mesh=mesh)
            texts, found = [text[:n] for n in (9, 30)], []
            for level in range(2):
                asked = [StepRequest(t, 3, 1.0, (level, p), problem=p) for p, t in enumerate(texts)]
                rows = call(decoder, asked)
                steps = [[np.array(s.tokens, np.int32) for s in row] for row in rows]
                both = enumerate(zip(texts, steps, strict=True))
                values = call(scorer, [ScoreRequest(t, tuple(s), problem=p) for p, (t, s) in both])
                found += [([s.tokens for s in row], v) for row, v in zip(rows, values, strict=True)]
                texts = [np.concatenate([t, s[0]]) for t, s in zip(texts, steps, strict=True)]
            return found, decoder.stats.reused

        alone, reused = search(None)
        devices = jax.devices()[: math.prod(sizes.values())]
        many, again = search(sharding.make_mesh(**sizes, devices=devices))
        assert again == reused > 0
        for (tokens, values), (wanted, expected) in zip(many, alone, strict=True):
            assert tokens == wanted
            np.testing.assert_allclose(values, expected, atol=1e-5)
        print("same", sizes)


def ahead() -> None:
    """What is compiled ahead for a mesh, without running it, is what is called."""
    from rstar_jax import compilations, sharding
    from rstar_jax.engine import ScoreRequest, StepDecoder, StepRequest, StepScorer
    from rstar_jax.models import DecoderConfig, from_policy, init_random
    from tests.engine.decode_settings import CONFIG, STOPS, V

    plain = DecoderConfig(vocab_size=V, width=32, layers=1, heads=4, kv_heads=2, head_dim=8, mlp=48)
    model, mesh = init_random(plain, 0), sharding.make_mesh(tensor=2, devices=jax.devices()[2:4])
    config = dataclasses.replace(CONFIG, leaves=3, rows=1, context=64, max_step_tokens=16)
    decoder, scorer = (
        StepDecoder(model, STOPS, config, seed=1, bias={3: 2.0}, mesh=mesh),
        StepScorer(from_policy(model), config, mesh=mesh),
    )
    compilations.together([*decoder.programs(candidates=[1]), *scorer.programs()])
    before, text = compilations.counts(), np.arange(40, dtype=np.int32)
    for depth in range(3):
        asked = [StepRequest(text[p:], 2, 1.0, (depth, p), problem=p) for p in range(4)]
        rows = call(decoder, asked)
        steps = [tuple(np.array(s.tokens, np.int32) for s in row) for row in rows]
        both = zip(asked, steps, strict=True)
        call(scorer, [ScoreRequest(r.prefix, found, r.problem) for r, found in both])
        text = np.concatenate([text, [1, 2]]).astype(np.int32)
    after = compilations.counts().since(before)
    assert (after.programs, after.cached) == (0, 0)
    print("ahead")


def apart() -> None:
    """Layers that are kept apart, as on NVIDIA GPUs, lie as their stack did."""
    import jax.numpy as jnp

    from rstar_jax import sharding
    from rstar_jax.engine.shape import EngineModel
    from rstar_jax.kernels import attention_mesh
    from rstar_jax.models import DecoderConfig, init_random
    from rstar_jax.transforms.quantize import to_int8
    from tests.engine.decode_settings import V

    config = DecoderConfig(vocab_size=V, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48)
    for tensor, share in (1, 1), (2, 2), (4, 1):  # four devices cannot divide two heads
        mesh = sharding.make_mesh(tensor=tensor, devices=jax.devices()[:tensor])
        shape = dataclasses.replace(EngineModel.of(init_random(config, 0)), mesh=mesh)
        held = shape.empty_pool(3, 5)[0].addressable_shards[0].data.nbytes
        assert 2 * held == 3 * 5 * shape.token_bytes_a_device
        assert shape.token_bytes == share * shape.token_bytes_a_device
    tokens, length = jnp.arange(10)[None], jnp.array([10])
    for int8 in (False, True):
        model = init_random(config, 0)
        if int8:
            to_int8(model)
        shape = dataclasses.replace(
            EngineModel.of(model), mesh=sharding.make_mesh(tensor=2, devices=jax.devices()[:2])
        )
        run = jax.jit(lambda params, shape=shape: shape.build(params).prefill(tokens, length)[0])
        stacks = shape.place(model.params())
        here = attention_mesh.platform
        attention_mesh.platform = lambda mesh: "cuda"
        layers = shape.place(model.params())
        attention_mesh.platform = here
        for name in ("layers.q", "layers.k", "layers.down"):
            for stack, layer in zip(
                jax.tree.leaves(stacks[name]), jax.tree.leaves(layers[name].layers[1]), strict=True
            ):
                assert tuple(stack.sharding.spec)[1:] == tuple(layer.sharding.spec), name
        assert "tensor" in jax.tree.leaves(layers["layers.q"])[0].sharding.spec
        np.testing.assert_allclose(run(layers), run(stacks), atol=1e-5)
        print("apart")


def test_eight_devices_give_what_one_gives() -> None:
    said = printed(__file__)
    assert said.count("same") == 2 and said.count("apart") == 2 and said.count("ahead") == 1


if __name__ == "__main__":
    across()
    ahead()
    apart()
