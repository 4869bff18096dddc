"""What a run wrote, read again: a flipped bit is noticed, wherever it lies."""

import json

import pytest

from rstar_jax import manifests, records
from rstar_jax.errors import UserError
from rstar_jax.evolve.run_models import of_run
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.evolve.summary import _manifest

RESULT = {"policy": 0.833, "note": "as it was", "by_level": {"1": [0.5, 2e-7]}, "none": None}


FILES = ("model/model.safetensors", "model/README.md", "metrics.jsonl")
OPTIONS = RunSettings()


def stage(folder, name="round1/policy"):
    """A finished stage of a run."""

    def work(room):
        for file in FILES:
            (room / file).parent.mkdir(exist_ok=True)
            (room / file).write_bytes(file.encode() * 100)
        return RESULT

    with Workdir(folder, OPTIONS) as workdir:
        return workdir.stage(name, work)


def test_any_flipped_bit_of_a_manifest_is_noticed_or_changes_nothing(tmp_path):
    made = stage(tmp_path)
    path = tmp_path / "round1/policy/DONE.json"
    content, noticed = path.read_bytes(), 0
    assert manifests.read(path) == made
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            assert manifests.read(path) == made
        except records.Damaged:
            noticed += 1
    assert noticed > len(content) * 2 // 3  # the others are spaces
    changed = content.replace(b"0.833", b"0.933")
    path.write_bytes(changed)
    assert changed != content and _manifest(tmp_path, "round1", "policy") is None  # out of the report


def test_a_manifest_of_before_there_were_signatures_is_read(tmp_path):
    made = stage(tmp_path)
    path = tmp_path / "round1/policy/DONE.json"
    path.write_text(json.dumps(made))
    assert manifests.read(path) == made
    large = tmp_path / "round1/policy/model/model.safetensors"
    assert manifests.agrees(large, [large.stat().st_size, ""])
    assert not manifests.agrees(large, [1, ""])


def test_a_signed_object_keeps_what_it_holds_and_a_changed_one_is_damaged(tmp_path):
    path, value = tmp_path / "x.json", {"a": (1, 2.5), "b": "\N{BLACK SMALL SQUARE}", "c": [None, True]}
    records.write_signed(path, value)
    assert records.read_signed(path) == value | {"a": [1, 2.5]}
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(records.Damaged, match="checksum"):
        records.read_signed(path)
    path.write_text("[1]")
    with pytest.raises(records.Damaged, match="not an object"):
        records.read_signed(path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda model: _flip(model / "model.safetensors"), r"model\.safetensors: damaged or changed since"),
        (lambda model: (model / "model.safetensors").unlink(), r"model\.safetensors: missing since"),
        (lambda model: _flip(model.parent / "DONE.json"), r"DONE\.json: damaged"),
        (lambda model: _flip(model / "README.md"), None),  # nothing is computed from a card
        (lambda model: _flip(model.parent / "metrics.jsonl"), None),
    ],
)
def test_a_model_of_a_run_is_held_to_its_manifest_wherever_it_is_loaded_from(tmp_path, harm, message):
    for name in ("round1/policy", "round1/ppm"):
        stage(tmp_path, name)
    model = tmp_path / "round1/policy/model"
    assert of_run(tmp_path).policy == model
    harm(model)
    if message is None:
        assert of_run(tmp_path).policy == model
        return
    with pytest.raises(UserError, match=rf"config\.run: .*{message}"):
        of_run(tmp_path)
    from rstar_jax import weights

    for load in (weights.check_pretrained, weights.load_pretrained, weights.load_reward_model):
        (model / "config.json").touch()
        with pytest.raises(UserError, match=message):
            load(model)


def test_the_options_of_a_run_are_held_to_what_was_written(tmp_path):
    for name in ("round1/policy", "round1/ppm"):
        stage(tmp_path, name)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("tanh", "tanj"))
    with pytest.raises(UserError, match=r"config\.json: damaged .*checksum.*--config\.policy=DIR"):
        of_run(tmp_path)
    with pytest.raises(UserError, match=r"config\.json: damaged"), Workdir(tmp_path, OPTIONS):
        pass


def test_a_warm_starts_policy_answers_whatever_became_of_its_options(tmp_path):
    stage(tmp_path, "policy")
    (tmp_path / "config.json").write_text("{")
    assert of_run(tmp_path).policy == tmp_path / "policy" / "model"
    (tmp_path / "policy" / "DONE.json").unlink()  # under way, or killed
    with pytest.raises(UserError, match="a warm start that has trained its policy, expected"):
        of_run(tmp_path)


def test_a_file_that_is_changed_within_a_process_is_read_again(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    before = manifests.fingerprint(path)
    assert manifests.fingerprint(path) == before
    path.write_bytes(b"two")
    assert manifests.fingerprint(path) != before


def _flip(path):
    content = path.read_bytes()
    middle = content.index(b"model") if path.name == "DONE.json" else len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
