"""The embedded problem suite: any number of word problems with exact answers, the same for the same seed.

Split and seed are independent: a parameter tuple belongs to the training or to the held-out split by its
hash alone (`family.split_of`), so no held-out problem can occur in training under any seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

from rstar_jax.errors import UserError
from rstar_jax.problems.families.level1 import LEVEL1
from rstar_jax.problems.families.level2 import LEVEL2
from rstar_jax.problems.families.level3 import LEVEL3
from rstar_jax.problems.family import Family, Instance, Split
from rstar_jax.types import Problem

FAMILIES: dict[str, Family] = {family.name: family for family in (*LEVEL1, *LEVEL2, *LEVEL3)}

SUITE = "suite"  # their source
LEVELS = {1: LEVEL1, 2: LEVEL2, 3: LEVEL3}
# Small families run out of fresh questions; after so many tries a repeated one is taken.
_TRIES = 50


def generate(count: int, *, seed: int, split: Split, levels: Sequence[int] = tuple(LEVELS)) -> list[Problem]:
    """`count` problems, as `instances` gives them."""
    return list(instances(count, seed=seed, split=split, levels=levels))


def instances(
    count: int, *, seed: int, split: Split, levels: Sequence[int] = tuple(LEVELS)
) -> Iterator[Problem]:
    """`count` problems one by one; levels in turn, and within a level its families in turn.

    levels: those of LEVELS that they are of. The first problems of a longer row are those of a shorter one,
    and the nth of a family is the same whatever levels there are besides. Questions repeat only when a family
    has no fresh ones left: which one a problem asks depends on all of its family before it. Raises UserError
    for a negative count or an unknown split.
    """
    return (problem for problem, _ in drawn(count, seed=seed, split=split, levels=levels))


def drawn(
    count: int, *, seed: int, split: Split, levels: Sequence[int] = tuple(LEVELS)
) -> Iterator[tuple[Problem, Instance]]:
    """The same problems, each with what it was made of."""
    if count < 0:
        raise UserError(f"problems: {count} given, a number of suite problems of at least 0 expected.")
    if split not in ("train", "heldout"):
        raise UserError(f"split: '{split}' given, 'train' or 'heldout' expected.")
    return _drawn(count, seed, split, levels)


def _drawn(count: int, seed: int, split: Split, levels: Sequence[int]) -> Iterator[tuple[Problem, Instance]]:
    seen = set[bytes]()
    for i in range(count):
        turn, families = i // len(levels), LEVELS[levels[i % len(levels)]]
        family, number = families[turn % len(families)], turn // len(families)
        rng = random.Random(f"{seed}/{split}/{family.name}/{number}")
        for _ in range(_TRIES):
            instance = family.instance(rng, split)
            asked = hashlib.blake2b(instance.question.encode(), digest_size=8).digest()
            if asked not in seen:
                break
        seen.add(asked)
        problem = Problem(
            id=f"suite/{split}/{family.name}/{number}",
            question=instance.question,
            answer=instance.answer,
            level=family.level,
            source=SUITE,
        )
        yield problem, instance
