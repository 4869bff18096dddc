"""Options of one training and what it reports when done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from rstar_jax.errors import UserError
from rstar_jax.models.config import Remat
from rstar_jax.transforms.lora import LoraConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Defaults are the paper's for the policy (arXiv 2501.04519, section 4 and appendix).

    epochs: passes over the data. batch: examples (solutions or preference pairs) per optimiser step.
    seq_len: tokens of a packed row. long: what is done with a longer example: "drop" leaves it out and counts
        it; "truncate" keeps those first steps of a solution that fit (a pair, whose sides are read at their
        ends, is dropped); "error" refuses all. Of a PQM's examples those first steps are learnt with either
        of the first two, the steps behind them are counted. Held-out pairs are never refused for it.
    microbatch: rows per call of all devices together; on a mesh that splits the batch over more than they
        divide by, the next multiple. A batch takes as many calls as its rows need, so that one shape is
        compiled (up to 8 of a reward model, which learns trees), and has the same examples whatever the
        devices.
    optimizer: "adamw", "adamw8bit" (its two moments in 8 bits each, by blocks of 256) or "adafactor" (the
        mean of gradients in bfloat16, the mean of their squares by rows and columns, at learning rates of
        AdamW). Bytes a parameter beside 8 of itself and its gradient: 8, 2 and 2 (0 with b1=0).
    learning_rate: of the optimizer, at its highest. schedule: how it falls to 0 after warming up.
    warmup_fraction: share of the steps in which the learning rate rises from 0.
    weight_decay: AdamW's, on matrices only, never on biases and norms. clip: the largest global gradient
        norm; 0: none.
    b1: decay of the mean of gradients. b2: decay of the mean of their squares, of "adafactor" at most. eps:
        what AdamW adds to the root that it divides by.
    remat: what the backward pass computes again rather than finds kept of a layer: "none" of it, all of it
        ("full": least memory, a third more operations), or all but its products with weights ("dots").
    ppm_value: what the preference loss compares: tanh(value), as in the paper, or the value before it, as
        in the released code.
    ppm_center: weight of the mean square of what the two values of a pair, before tanh, sum up to, as an
        addition to the preference loss (arXiv 2312.09244). Pairs alone say nothing of the sum: at the rates
        of low-rank training it drifts to where tanh is flat. 0 = none, as in the paper.
    sampled_ids: the policy learns a step by the very ids that it was sampled with, where the tokenizer would
        spell the text otherwise; False: always by the tokenizer's. The PPM, which reads texts, learns those.
    bad_steps: steps in a row that may be skipped, as loss or gradient norm are not finite (or are spikes):
        each leaves the model as it was. One more ends the training.
    spike: a step is skipped, too, whose loss or gradient norm is more than this many standard deviations (by
        the median absolute deviation) above the median of the last 128 steps; 0: none is. OLMo 2 takes 6.
    ema: decay, a step, of an average of the parameters, which is then what is measured and kept; 0: none.
    keep: the parameters that a training ends with: the "last" ones, as in the paper, or the "best", those
        with the lowest loss on held-out data, measured after each epoch.
    profile: steps of which a trace for XProf is written to the folder "profile" beside the metrics, as
        "10:15": from step 10 to before step 15, counted from 0; empty: none.
    checkpoint_every_s: seconds after which the state is saved; 0: never for that reason.
        checkpoint_every_steps: steps after which the state is saved; 0: never for that reason.
    lora: train low-rank additions to frozen weights (`transforms/lora.py`).
    """

    epochs: int = 2
    batch: int = 128
    seq_len: int = 4096
    long: Literal["drop", "truncate", "error"] = "drop"
    microbatch: int = 8
    optimizer: Literal["adamw", "adamw8bit", "adafactor"] = "adamw"
    learning_rate: float = 7e-6
    schedule: Literal["linear", "cosine"] = "linear"
    warmup_fraction: float = 0.0
    weight_decay: float = 0.1
    clip: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    remat: Remat = "none"
    ppm_value: Literal["tanh", "raw"] = "tanh"
    ppm_center: float = 0.0
    sampled_ids: bool = True
    bad_steps: int = 10
    spike: float = 0.0
    ema: float = 0.0
    keep: Literal["last", "best"] = "last"
    profile: str = ""
    checkpoint_every_s: float = 60.0
    checkpoint_every_steps: int = 0
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "seq_len", "microbatch"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}: {getattr(self, name)} given, at least 1 expected.")
        not_negative = "learning_rate", "weight_decay", "clip", "ppm_center", "bad_steps", "spike"
        for name in (*not_negative, "checkpoint_every_s", "checkpoint_every_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}: {getattr(self, name)} given, 0 or more expected.")
        for name in ("b1", "b2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"train.{name}: {getattr(self, name)} given, from 0 to below 1 expected.")
        profiled(self.profile)
        if not self.eps > 0:
            raise UserError(f"train.eps: {self.eps} given, a number above 0 expected.")
        if not 0 <= self.warmup_fraction < 1:
            raise UserError(
                f"train.warmup_fraction: {self.warmup_fraction} given, from 0 to below 1 expected."
            )


def profiled(steps: str) -> range:
    """Return the steps that `train.profile` means, such as "10:15". Raises UserError where it means none."""
    first, _, end = steps.partition(":")
    if steps and not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UserError(f"train.profile: '{steps}' given, two step numbers expected, such as 10:15, or none.")
    return range(int(first), int(end)) if steps else range(0)


@dataclasses.dataclass(frozen=True)
class TrainSummary:
    """Summary of a training.

    examples: seen over all epochs. tokens: read by the model, padding left out. dropped: distinct examples
    (of a PQM: steps) left out as longer than a row. first_loss, last_loss: of the first and last step that
    was not skipped. seconds: wall time, earlier parts of a resumed training included. device, device_awaited:
    seconds of this part in which the device worked at a step, and in which the host did nothing but wait for
    it. metrics: means over the last tenth of the steps, without those that were skipped.
    skipped: steps that changed nothing (`TrainConfig.bad_steps`). kept_step: steps after which the model was
    as it is kept; None in those of earlier releases. held_out: its figures on held-out data, empty where
    there is none. mfu: model FLOPs of this part over the chips' peak; None where they are not known.
    truncated: examples of which only the first steps were learnt, the rest being longer than a row.
    as_sampled: steps of the rows that the policy learnt by the ids they were sampled with, where its
    tokenizer spells them otherwise.
    """

    steps: int
    examples: int
    tokens: int
    dropped: int
    first_loss: float
    last_loss: float
    seconds: float
    metrics: Mapping[str, float]
    device: float = 0.0
    device_awaited: float = 0.0
    truncated: int = 0
    as_sampled: int | None = None
    skipped: int = 0
    kept_step: int | None = None
    held_out: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mfu: float | None = None
