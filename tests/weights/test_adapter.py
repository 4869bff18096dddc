"""PEFT LoRA adapters: merged as W + scale * B A says, in every family's layout, or refused by name."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rstar_jax.errors import UserError
from rstar_jax.models import from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import (
    OtherKind,
    base_folder,
    check_pretrained,
    load_pretrained,
    load_reward_model,
    model_hash,
    save_pretrained,
    save_reward_model,
    tokenizer_folder,
)
from rstar_jax.weights.adapter_config import ADAPTER, CONFIG
from rstar_jax.weights.weight_files import WEIGHTS
from tests.models import zoo
from tests.on_devices import printed

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Tensors = dict[str, np.ndarray]
ATTENTION = [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 1) for p in "qo"]


def base(folder: Path, name: str = "qwen2") -> Path:
    save_pretrained(init_random(zoo.config(name), seed=1), folder)
    return folder


def additions(of: Path, modules: list[str], rank: int = 2, seed: int = 0) -> Tensors:
    """What LoRA of this rank stores for some modules of a folder."""
    rng, found, stored = np.random.default_rng(seed), Tensors(), load_file(of / WEIGHTS)
    for module in modules:
        out, into = stored[EMBED if module == "lm_head" else f"{module}.weight"].shape
        parts = {"lora_A.weight": (rank, into), "lora_B.weight": (out, rank)}
        if f"{module}.weight" == EMBED:
            parts = {"lora_embedding_A": (rank, out), "lora_embedding_B": (into, rank)}
        for part, shape in parts.items():
            found[f"base_model.model.{module}.{part}"] = rng.standard_normal(shape, np.float32)
    return found


def adapter(folder: Path, of: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / ADAPTER)
    content = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "base_model_name_or_path": str(of), **config}
    (folder / CONFIG).write_text(json.dumps(content))
    return folder


def by_hand(folder: Path, of: Path, changes: Tensors, **config: Any) -> Path:
    """The base with other tensors."""
    shutil.copytree(of, folder)
    save_file(load_file(of / WEIGHTS) | changes, folder / WEIGHTS)
    content = json.loads((of / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def product(tensors: Tensors, module: str) -> np.ndarray:
    a, b = (tensors[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
    return b @ a


def same(one: Path, other: Path) -> None:
    ours, wanted = load_pretrained(one), load_pretrained(other)
    assert ours.config == wanted.config
    params = ours.params()
    for name, value in wanted.params().items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


MODULES = {
    "qwen2": [*ATTENTION, "model.layers.1.mlp.down_proj", "model.layers.0.mlp.gate_proj"],
    "phi3": ["model.layers.0.self_attn.qkv_proj", "model.layers.1.mlp.gate_up_proj"],
    "gemma2": ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"],
    "deepseek-v2": ["model.layers.1.self_attn.kv_b_proj", "model.layers.2.mlp.experts.3.up_proj"],
}


@pytest.mark.parametrize("name", MODULES)
def test_additions_are_merged_in_every_layout(tmp_path: Path, name: str) -> None:
    of = base(tmp_path / "base", name)
    tensors, stored = additions(of, MODULES[name]), load_file(of / WEIGHTS)
    made = adapter(tmp_path / "adapter", of, tensors)
    changes = {f"{m}.weight": stored[f"{m}.weight"] + 1.5 * product(tensors, m) for m in MODULES[name]}
    same(made, by_hand(tmp_path / "whole", of, changes))


def over_devices(folder: Path) -> None:
    """Run by the test below in a process with eight devices."""
    from rstar_jax import sharding

    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    one, many = load_pretrained(folder).params(), load_pretrained(folder, mesh=mesh).params()
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-5, atol=1e-5)
    print("split", many["layers.q"].sharding.spec, many["embed"].sharding.spec)


def test_eight_devices_merge_what_one_does(tmp_path: Path) -> None:
    of = base(tmp_path / "base", "qwen2-window")
    made = adapter(tmp_path / "adapter", of, additions(of, [*ATTENTION, "lm_head", "model.embed_tokens"]))
    assert "tensor" in printed(__file__, made)


def test_ranks_and_scales_are_those_of_the_patterns(tmp_path: Path) -> None:
    of = base(tmp_path / "base")
    q, o = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.o_proj"
    tensors = additions(of, [q], rank=4) | additions(of, [o], rank=2)
    patterns = {"rank_pattern": {"layers.0.self_attn.q_proj": 4}, "alpha_pattern": {r"o_pr.j": 10}}
    made = adapter(tmp_path / "adapter", of, tensors, use_rslora=True, **patterns)
    stored = load_file(of / WEIGHTS)
    changes = {
        f"{q}.weight": stored[f"{q}.weight"] + 3 / math.sqrt(4) * product(tensors, q),
        f"{o}.weight": stored[f"{o}.weight"] + 10 / math.sqrt(2) * product(tensors, o),
    }
    same(made, by_hand(tmp_path / "whole", of, changes))


@pytest.mark.parametrize("name", ["qwen2", "qwen2-window"])  # untied and tied
@pytest.mark.parametrize("module", ["lm_head", "model.embed_tokens"])
def test_additions_to_embeddings_and_head_are_those_of_one_of_them(
    tmp_path: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstar_jax.weights.adapter.BLOCK", 30)  # of 100 rows
    of = base(tmp_path / "base", name)
    tensors, stored = additions(of, [module]), load_file(of / WEIGHTS)
    if module == "lm_head":
        delta = product(tensors, module)
    else:
        a, b = (tensors[f"base_model.model.{module}.lora_embedding_{part}"] for part in "AB")
        delta = (b @ a).T
    ends = {EMBED: stored[EMBED], HEAD: stored.get(HEAD, stored[EMBED])}
    ends[f"{module}.weight"] = ends[f"{module}.weight"] + 1.5 * delta
    made = adapter(tmp_path / "adapter", of, tensors)
    same(made, by_hand(tmp_path / "whole", of, ends, tie_word_embeddings=False))


def test_trained_and_resized_embeddings_take_the_bases_place(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).standard_normal((103, 32), np.float32)
    more = {"base_model.model.model.embed_tokens.weight": rows}
    untied, tied = base(tmp_path / "untied"), base(tmp_path / "tied", "qwen2-window")
    # Grown for new tokens: head and embeddings, which are one where the base ties them.
    grown = adapter(tmp_path / "1", untied, more | {f"base_model.model.{HEAD}": rows + 1})
    same(grown, by_hand(tmp_path / "w1", untied, {EMBED: rows, HEAD: rows + 1}, vocab_size=103))
    same(adapter(tmp_path / "2", tied, more), by_hand(tmp_path / "w2", tied, {EMBED: rows}, vocab_size=103))
    both = adapter(tmp_path / "3", tied, more | {f"base_model.model.{HEAD}": rows})
    same(both, tmp_path / "w2")
    # PEFT's modules_to_save trains a copy of the embeddings: the head stays what it was.
    saved = {"base_model.model.model.embed_tokens.modules_to_save.weight": rows[:100]}
    split = adapter(tmp_path / "4", tied, saved, modules_to_save=["embed_tokens"])
    head = load_file(tied / WEIGHTS)[EMBED]
    changes = {EMBED: rows[:100], HEAD: head}
    same(split, by_hand(tmp_path / "w4", tied, changes, tie_word_embeddings=False))
    norm = {"base_model.model.model.norm.weight": rows[0]}
    same(adapter(tmp_path / "5", tied, norm), by_hand(tmp_path / "w5", tied, {"model.norm.weight": rows[0]}))
    with pytest.raises(UserError, match=r"'lm_head.weight' has shape \(100, 32\)"):
        load_pretrained(adapter(tmp_path / "6", untied, more))


@pytest.mark.parametrize("labels", [1, 2])
def test_a_reward_model_may_be_an_adapter_of_a_policy(tmp_path: Path, labels: int) -> None:
    of = base(tmp_path / "base")
    tensors, stored = additions(of, ATTENTION), load_file(of / WEIGHTS)
    head = {"score.weight": np.random.default_rng(2).standard_normal((labels, 32), np.float32)}
    task = "SEQ_CLS" if labels == 1 else "TOKEN_CLS"
    named = {f"base_model.model.{name}": value for name, value in head.items()}
    made = adapter(tmp_path / "adapter", of, tensors | named, task_type=task)
    changes = {f"{m}.weight": stored[f"{m}.weight"] + 1.5 * product(tensors, m) for m in ATTENTION}
    kind = ["Qwen2ForSequenceClassification" if labels == 1 else "Qwen2ForTokenClassification"]
    whole = by_hand(tmp_path / "whole", of, changes | head, architectures=kind)
    ours, wanted = load_reward_model(made), load_reward_model(whole)
    assert ours.reading == wanted.reading and ours.of_probability == wanted.of_probability == (labels == 2)
    tokens = jnp.arange(9)[None]
    np.testing.assert_allclose(ours.raw(tokens), wanted.raw(tokens), rtol=1e-4, atol=1e-4)
    with pytest.raises(OtherKind, match="no policy"):
        load_pretrained(made)
    with pytest.raises(OtherKind, match="no reward head"):
        load_reward_model(adapter(tmp_path / "policy", of, tensors))


def test_an_adapter_of_a_reward_model_and_a_cached_base(tmp_path: Path) -> None:
    of, whole = tmp_path / "base", tmp_path / "whole"
    save_reward_model(from_policy(init_random(zoo.config("qwen2"), seed=1)), of)
    tensors, stored = additions(of, ATTENTION[:1]), load_file(of / WEIGHTS)
    changes = {f"{m}.weight": stored[f"{m}.weight"] + 1.5 * product(tensors, m) for m in ATTENTION[:1]}
    by_hand(whole, of, changes)
    made, tokens = adapter(tmp_path / "adapter", of, tensors), jnp.arange(5)[None]
    wanted = load_reward_model(whole).raw(tokens)
    for _ in range(2):  # what is kept is the base; additions are merged each time
        found = load_reward_model(made, cache=tmp_path / "cache").raw(tokens)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_its_base_is_found_and_so_is_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.train(["one two three"] * 3, 300, CODE_STEPS)
    of = tmp_path / "base"
    save_pretrained(init_random(zoo.config("qwen2"), seed=1), of)
    tokenizer.save(tmp_path)
    made = adapter(tmp_path / "adapter", of, additions(of, ATTENTION))
    first = model_hash(made)
    for named in (str(of), "../base", "base"):
        monkeypatch.chdir(tmp_path)
        adapter(made, of, additions(of, ATTENTION), base_model_name_or_path=named)
        assert base_folder(made).resolve() == of
    assert base_folder(of) == of and tokenizer_folder(made).resolve() == of
    shutil.copy(tmp_path / "tokenizer.json", made)
    assert tokenizer_folder(made) == made
    with pytest.raises(UserError, match=r"adapter/tokenizer\.json: its highest id is"):
        check_pretrained(made)
    (made / "tokenizer.json").unlink()
    again = adapter(tmp_path / "adapter", of, additions(of, ATTENTION))
    assert model_hash(again) == first != model_hash(of)
    save_pretrained(init_random(zoo.config("qwen2"), seed=2), of)
    assert model_hash(again) != first


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "IA3"}, "peft_type 'IA3' is not read"),
    "DoRA": ({"use_dora": True}, "'use_dora' is True"),
    "a bias of additions": ({"lora_bias": True}, "'lora_bias' is True"),
    "transposed": ({"fan_in_fan_out": True}, "'fan_in_fan_out' is True"),
    "a start that changes the base": (
        {"init_lora_weights": "pissa_niter_4"},
        "'pissa_niter_4': such a start",
    ),
    "layers twice": ({"layer_replication": [[0, 1], [0, 1]]}, "'layer_replication'"),
    "biases that were not stored": ({"bias": "lora_only"}, "did not store them"),
    "a wrong rank": ({"r": 3}, "asks for rank 3 (r, rank_pattern)"),
    "no rank": ({"r": 0}, "'r' is 0"),
    "no pattern": ({"rank_pattern": {"(": 2}}, "'(' is no regular expression"),
    "no base": ({"base_model_name_or_path": None}, "names no base. Write the base's folder"),
    "a base that is gone": ({"base_model_name_or_path": "/no/such"}, "/no/such: no such folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_fields_that_make_another_model_are_refused_by_name(tmp_path: Path, case: str) -> None:
    of, (config, message) = base(tmp_path / "base"), REFUSED[case]
    made = adapter(tmp_path / "adapter", of, additions(of, ATTENTION), **config)
    with pytest.raises(UserError) as caught:
        check_pretrained(made)
    assert message in str(caught.value) and CONFIG in str(caught.value)


def test_tensors_that_do_not_belong_are_refused_by_name(tmp_path: Path) -> None:
    of = base(tmp_path / "base")
    tensors, at = additions(of, ATTENTION[:1]), f"base_model.model.{ATTENTION[0]}."
    half = {f"{at}lora_A.weight": tensors[f"{at}lora_A.weight"]}
    other = {name.replace("q_proj", "c_attn"): value for name, value in tensors.items()}
    wide = tensors | {f"{at}lora_A.weight": np.ones((2, 31), np.float32)}
    for wrong, message in (
        (half, "without its other half"),
        (other, "'model.layers.0.self_attn.c_attn', which is no weight"),
        (wide, "add a matrix of (32, 31), but the base's"),
        (
            tensors | {f"{at}lora_magnitude_vector": np.ones(32, np.float32)},
            "lora_magnitude_vector' is of a kind",
        ),
        (
            tensors | {"base_model.model.model.gate.weight": np.ones(3, np.float32)},
            "'model.gate.weight' has no",
        ),
    ):
        made = adapter(tmp_path / "adapter", of, wrong)
        with pytest.raises(UserError) as caught:
            check_pretrained(made)
        assert message in str(caught.value) and str(made / ADAPTER) in str(caught.value)


def test_folders_that_are_half_an_adapter_say_so(tmp_path: Path) -> None:
    of = base(tmp_path / "base")
    made = adapter(tmp_path / "adapter", of, additions(of, ATTENTION))
    (made / ADAPTER).rename(made / "adapter_model.bin")
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors, but adapter_model\.bin"):
        check_pretrained(made)
    (made / "adapter_model.bin").rename(made / ADAPTER)
    shutil.copy(of / WEIGHTS, made)
    with pytest.raises(UserError, match=r"a whole model .* and an adapter .* in one folder"):
        check_pretrained(made)
    (made / WEIGHTS).unlink()
    twice = adapter(tmp_path / "twice", made, additions(of, ATTENTION))
    with pytest.raises(UserError, match="is an adapter itself"):
        check_pretrained(twice)
    merged = by_hand(tmp_path / "not merged", of, {f"{ATTENTION[0]}.lora_A.default.weight": np.ones((2, 32))})
    with pytest.raises(UserError, match=r"low-rank additions beside its weights\. Merge them"):
        check_pretrained(merged)


if __name__ == "__main__":
    over_devices(Path(sys.argv[1]))
