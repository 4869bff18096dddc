"""Values of whole solutions in one pass: those that a search would be told step by step."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rstar_jax import models, sharding, weights
from rstar_jax.errors import UserError
from rstar_jax.inference.step_values import StepValues
from rstar_jax.queues import call
from rstar_jax.tasks import MathTask
from rstar_jax.weights import TINY_BASE
from tests.inference.test_reading import PROBLEM, STEPS, by_the_card, prm, reasoner
from tests.on_devices import printed

__all__ = ["prm"]  # a fixture


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A PPM of ours whose values differ from step to step."""
    folder = tmp_path_factory.mktemp("ppm") / "model"
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=1)
    model.score.set_value(model.score[...] * 20)
    weights.save_reward_model(model, folder, tokenizer_from=TINY_BASE)
    return folder


def values_of(folder, **options):
    options = {"context": 512, "batch_tokens": 512, "dtype": "float32", **options}
    return StepValues(folder, MathTask(), **options)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_they_are_those_that_a_search_is_told(ours, scale):
    model = values_of(ours, scale=scale)
    (found,) = model.values([model.encode(PROBLEM.question, STEPS)])
    score = reasoner(ours, scale=scale).queues(0).score
    assert score is not None
    told = [call(score, [(PROBLEM, STEPS[:k], [STEPS[k]])])[0][0] for k in range(3)]
    assert found == pytest.approx(told, abs=1e-4) and np.ptp(found) > 0.01


def test_a_solution_has_the_same_values_alone_and_among_others(ours):
    model = values_of(ours, batch_tokens=2048)
    others = [(f"What is {i} plus 3? {'So? ' * 9 * i}", STEPS[: 1 + i % 3]) for i in range(9)]
    texts = [model.encode(*each) for each in [(PROBLEM.question, STEPS), *others]]
    together = model.values(texts)
    assert [len(of) for of in together] == [3, *(1 + i % 3 for i in range(9))]
    alone = values_of(ours)
    for text, found in zip(texts, together, strict=True):
        assert alone.values([text])[0] == pytest.approx(found, abs=1e-4)
    assert len(model.shapes) <= 4 and all(B * T <= 2048 for B, T in model.shapes)


def test_a_reward_model_of_others_is_read_as_its_card_has_it(prm):
    model = values_of(prm)
    prose = ("We add.", "So 5.")
    (found,) = model.values([model.encode(PROBLEM.question, prose)])
    assert found == pytest.approx(by_the_card(prm, prose), abs=1e-4)


def test_prose_ends_as_the_tasks_steps_do_for_a_ppm_of_ours(ours):
    model = values_of(ours)
    (one,), (other,) = (model.encode("Q?", [step]).texts for step in ("We add.", "\nWe add.\n<end_of_step>"))
    assert one[0].tolist() == other[0].tolist()
    (empty,) = model.encode("Q?", ["We add.", "", "So 5."]).texts
    assert len(set(empty[1])) == 3  # a step without words has a value, too


def test_what_is_longer_than_the_context_does_not_fit(ours):
    text = values_of(ours).encode(PROBLEM.question, STEPS)
    assert values_of(ours, context=text.tokens).fits(text)
    assert not values_of(ours, context=text.tokens - 1).fits(text)
    model = values_of(ours, context=text.tokens, batch_tokens=1)  # longer than a call's tokens: alone
    assert len(model.values([text])[0]) == 3


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    weights.save_reward_model(models.from_policy(weights.load_pretrained(TINY_BASE)), tmp_path / "m")
    with pytest.raises(UserError, match="no tokenizer there"):
        values_of(tmp_path / "m")


def test_devices_that_share_model_and_batches_find_the_same(ours):
    assert printed(__file__, ours, devices=4) == "4 devices, batches of [2]\n"


def on_a_mesh(folder: Path) -> None:
    """Over four devices, two with halves of the heads: so many rows in a batch, and the same values."""
    mesh = sharding.make_mesh(fsdp=2, tensor=2)
    some, alone = (values_of(folder, batch_tokens=1, mesh=each) for each in (mesh, None))
    texts = [some.encode(f"What is {i} plus 3?", STEPS[: 1 + i % 2]) for i in range(3)]
    found = some.values(texts)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(alone.values(texts)), atol=1e-4)
    print(f"{mesh.size} devices, batches of {sorted({B for B, _ in some.shapes})}")


if __name__ == "__main__":
    on_a_mesh(Path(sys.argv[1]))
