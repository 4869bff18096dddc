"""Options of a question, or of many."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.search import SearchConfig
from rstar_jax.tasks import VerifySettings


@dataclasses.dataclass(frozen=True)
class SolveSettings:
    """question: what is asked. questions: a file of many instead, rows {question} with an id and an answer
    where there are such; answers are kept in the folder of --workdir, and a command that was stopped goes on
    with those that it has not answered. policy: folder (Hugging Face format) or hub id of the policy; "tiny"
    is the bundled base. ppm: folder or hub id of a PPM that was trained from it, or of a reward model of
    others; empty: none. run: a run's folder instead, for the models of its best round
    (`evolve/best_round.py`), or a warm start's, for its policy. ppm_value: what the PPM's training compared
    (`train.ppm.ppm_value`). prompt: how the policy is asked; "bootstrap" for one that was never trained on
    steps. dtype: the type of numbers that models compute with. seed: names all randomness of the search.
    show: how much is printed: "brief", "full" for whole steps, or "answer" for that alone; of many questions
    the steps are shown in no case but json's. json: whether all that is printed is JSON, an event or an
    answer a line (`report/events.py`), where "answer" leaves out the steps.
    """

    job: str = "solve"
    question: str = ""
    questions: str = ""
    policy: str = "tiny"
    ppm: str = ""
    run: str = ""
    ppm_value: Literal["tanh", "raw"] = "tanh"
    prompt: Literal["finetuned", "bootstrap"] = "finetuned"
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    show: Literal["brief", "full", "answer"] = "brief"
    json: bool = False
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = dataclasses.field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise UserError(f"config.seed: {self.seed} given, a whole number from 0 to below 2**31 expected.")
        if self.question and self.questions:
            raise UserError("config.question: given beside config.questions. Leave one out.")
        if self.run and (self.ppm or self.policy != "tiny"):
            raise UserError("config.run: given beside config.policy or config.ppm. Leave one out.")
        for name in ("escalation", "by_difficulty"):
            if value := getattr(self.search, name):
                raise UserError(
                    f"config.search.{name}: {value!r} given, which goes by graded answers; of a question "
                    "none is graded. Leave it out, and raise config.search.rollouts instead."
                )
