"""Which devices a search decodes on, and that what it writes does not depend on their number."""

import dataclasses

import pytest

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.inference.devices import mesh
from tests.on_devices import printed


@dataclasses.dataclass(frozen=True)
class Device:
    platform: str


def test_a_cpu_is_one_device_and_accelerators_are_all() -> None:
    assert mesh(DecodeConfig(), [Device("cpu")] * 8) is None
    assert mesh(DecodeConfig(), [Device("tpu")]) is None
    assert mesh(DecodeConfig(devices=1), [Device("tpu")] * 4) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 9}, r"decode\.devices: 9 given, but this host has 8 \(tpu\)"),
        ({"tensor": 3}, r"decode\.tensor: 3 given, which does not divide the 8 devices"),
        ({"devices": 2, "tensor": 4}, r"decode\.tensor: 4 given, which does not divide the 2 devices"),
    ],
)
def test_what_cannot_be_had_is_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mesh(DecodeConfig(**options), [Device("tpu")] * 8)


def across() -> None:
    """Run by the test below in a process with four devices."""
    from rstar_jax.inference import Reasoner
    from rstar_jax.queues import call
    from rstar_jax.sandbox import Sandbox
    from rstar_jax.search import Leaf
    from rstar_jax.tasks import Checker, MathTask
    from rstar_jax.types import Problem
    from rstar_jax.weights import TINY_BASE

    task = Checker(MathTask(), Sandbox(workers=1))
    problems = [Problem(str(i), f"What is {i} plus 3?", "5") for i in range(3)]
    leaves = [Leaf(problem, (), tree_index=0, node=0, n=3, temperature=1.0) for problem in problems]

    def written(**options: int) -> object:
        decode = DecodeConfig(leaves=2, rows=2, max_step_tokens=12, context=512, **options)
        made = Reasoner(TINY_BASE, None, task, role="finetuned", decode=decode, dtype="float32", seed=0)
        found = [[c.tokens for c in row] for row in call(made.queues(1).propose, leaves)]
        engine = made.result()["engine"]
        assert isinstance(engine, dict) and engine["devices"] == max(options.get("devices", 0), 1)
        return found

    alone = written()
    assert written(devices=2) == alone
    assert written(devices=2, tensor=2) == alone
    print("same")


def test_several_devices_write_what_one_writes() -> None:
    assert printed(__file__, devices=4).count("same") == 1


if __name__ == "__main__":
    across()
