"""What a run will need, said before it computes anything: memory, tokens, hours; and what real models would.

Estimates from the models' shapes (cost.py) and the assumptions in ASSUMED, which the printed table states.
Running the candidates' code is not in the hours: it takes the host's cores, not the devices.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstar_jax.errors import UserError
from rstar_jax.evolve.cost import DEVICES, QWEN_1_5B, QWEN_7B, SHARE, USABLE, Device, Shape, device_of

if TYPE_CHECKING:
    from rstar_jax.evolve.settings import RunSettings

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Assumed:
    """Of a problem of competition level. prompt, step: tokens. steps: expansions of one rollout.

    rows, pairs: SFT rows and preference pairs per problem; both sides of a pair are read whole.
    """

    prompt: int = 200
    step: int = 80
    steps: int = 8
    rows: int = 2
    pairs: int = 8

    @property
    def row(self) -> int:
        return self.prompt + self.steps * self.step


ASSUMED = Assumed()
Lora = tuple[int, tuple[str, ...]]
NO_LORA: Lora = (0, ())


@dataclasses.dataclass(frozen=True)
class SearchLoad:
    """One round's search. rollouts: per problem, before any escalation. leaves: expanded in one call.

    context, max_step_tokens: room that the KV cache keeps for a prefix and for each candidate.
    size: bytes of a number (cache, and weights unless int8). int8: whether weights take a byte each (their
    scales are not counted). ppm: whether a PPM scores the candidates.
    """

    rollouts: int = 16
    candidates: int = 8
    leaves: int = 32
    context: int = 4096
    max_step_tokens: int = 2048
    size: int = 2
    int8: bool = False
    ppm: bool = True


@dataclasses.dataclass(frozen=True)
class TrainLoad:
    """One round's trainings. rows: packed sequences of seq_len tokens in one device call.

    policy_lora, ppm_lora: rank and targets of low-rank additions; rank 0 where all parameters train.
    """

    policy_epochs: int = 2
    ppm_epochs: int = 1
    seq_len: int = 4096
    rows: int = 1
    size: int = 2
    remat: str = "full"
    policy_lora: Lora = NO_LORA
    ppm_lora: Lora = NO_LORA


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one round needs of a model on chips of one kind; sizes in GiB, over all chips.

    weights, cache: while searching (policy, and PPM where there is one). optimiser: parameters, gradients
    and AdamW's two moments in float32, and frozen parameters; of the training that needs more. activations:
    of one call. tokens: that the policy writes.
    hours: on `chips`, None where the device is unknown.
    """

    parameters: int
    weights: float
    cache: float
    optimiser: float
    activations: float
    tokens: float
    chips: int
    search_hours: float | None
    train_hours: float | None

    @property
    def peak(self) -> float:
        """GiB, over all chips: searching or training, whichever needs more."""
        return max(self.weights + self.cache, self.optimiser + self.activations)

    @property
    def hours(self) -> float | None:
        if self.search_hours is None or self.train_hours is None:
            return None
        return self.search_hours + self.train_hours


def plan(
    model_config: Mapping[str, Any],
    search: SearchLoad,
    problems: int,
    train: TrainLoad,
    device: Device | None = None,
    assumed: Assumed = ASSUMED,
) -> Plan:
    """Memory and time of one round for the model of a Hugging Face config.json.

    Raises KeyError naming a field that the config lacks.
    """
    shape = Shape.of(model_config)
    models = 2 if search.ppm else 1
    slots = search.leaves * (search.context + search.candidates * search.max_step_tokens)
    weights = models * shape.parameters * (1 if search.int8 else search.size) / GIB
    cache = slots * shape.kv_bytes(search.size) / GIB
    optimiser = max(_optimiser(shape, lora, train.size) for lora in (train.policy_lora, train.ppm_lora)) / GIB
    activations = shape.activation_bytes(train.rows, train.seq_len, train.size, train.remat) / GIB
    expansions = problems * search.rollouts * assumed.steps
    step = min(assumed.step, search.max_step_tokens)
    tokens = expansions * search.candidates * step
    sized = Plan(
        shape.parameters, weights, cache, optimiser, activations, tokens,
        chips=1, search_hours=None, train_hours=None,
    )  # fmt: skip
    if device is None:
        return sized
    chips = max(1, math.ceil(sized.peak * GIB / (USABLE * device.memory)))
    prefix = min(assumed.prompt + assumed.steps * assumed.step / 2, search.context)
    call = shape.read_seconds(device, search.leaves, prefix, search.size)
    call += step * shape.decode_seconds(
        device, search.leaves, search.candidates, prefix, step / 2, search.size
    )
    if search.ppm:
        read = prefix + search.candidates * step
        call += shape.read_seconds(device, search.leaves, read, search.size)
    row = min(assumed.row, train.seq_len)
    learnt = problems * (
        train.policy_epochs * assumed.rows * row + train.ppm_epochs * assumed.pairs * 2 * row
    )
    return dataclasses.replace(
        sized,
        chips=chips,
        search_hours=expansions / search.leaves * call / chips / 3600,
        train_hours=shape.train_seconds(device, learnt, train.seq_len, train.remat) / chips / 3600,
    )


def _optimiser(shape: Shape, lora: Lora, size: int) -> float:
    """Bytes of all parameters, and of the gradients and moments of those that train."""
    rank, targets = lora
    if not rank:
        return 16 * shape.parameters
    width, heads, kv = shape.width, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    ends = {  # inputs and outputs of each weight of a layer
        "q": width + heads,
        "k": width + kv,
        "v": width + kv,
        "o": heads + width,
        "gate": width + shape.mlp,
        "up": width + shape.mlp,
        "down": shape.mlp + width,
    }
    trained = shape.layers * rank * sum(ends.get(name, 0) for name in targets)
    return size * shape.parameters + 16 * trained


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: one model on one kind of chip, all rounds of the run."""

    model: str
    device: str
    plans: tuple[Plan, ...]


def table(rows: Iterable[Row], problems: int) -> str:
    """The plans as aligned text that says what it assumes."""
    a = ASSUMED
    head = (
        "model",
        "chips",
        "parameters",
        "weights",
        "KV cache",
        "optimiser",
        "activations",
        "tokens",
        "hours",
    )
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [
        "  "
        + "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(
        [
            f"What {problems:,} problems need, by estimate (GiB; tokens written and hours over the rounds):",
            *(line.rstrip() for line in text),
            f"  Assumed: {SHARE:.0%} of the roofline, prompts of {a.prompt} tokens, {a.steps} steps of "
            f"{a.step}, {a.pairs} pairs a problem,",
            "  one tree a problem, no escalation; running the candidates' code and evaluation not counted.",
        ]
    )


def _cells(row: Row) -> tuple[str, ...]:
    def most(name: str) -> str:
        return f"{max(getattr(p, name) for p in row.plans):,.2f}"

    hours = [p.hours for p in row.plans]
    known = [h for h in hours if h is not None]
    total = f"{sum(known):,.2f}" if len(known) == len(hours) else "-"
    chips = f"{max(p.chips for p in row.plans)} x {row.device}" if known else row.device
    sizes = (most(name) for name in ("weights", "cache", "optimiser", "activations"))
    return (
        row.model,
        chips,
        _short(row.plans[0].parameters),
        *sizes,
        _short(sum(p.tokens for p in row.plans)),
        total,
    )


def _short(value: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json. Raises UserError where it is missing or not JSON."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: not there. A model folder in Hugging Face format is expected (config.json, "
            "tokenizer.json, model.safetensors): see --config.policy.init and --config.policy.bootstrap."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). A Hugging Face config.json is expected."
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: a {type(config).__name__} given, a JSON object expected.")
    return config


def announce(
    settings: RunSettings,
    base: Path,
    bootstrap: Path,
    train: int,
    heldout: int,
    log: Callable[[str], None],
    device_kind: str | None = None,
) -> None:
    """Says what this run needs of its own model, and what the same rounds would need of the paper's.

    base, bootstrap: model folders. train, heldout: how many problems. device_kind: jax's name of the
    devices here, where it is known. Raises UserError where a model folder has no readable config.json.
    """
    config = read_config(base)
    if bootstrap != base:
        read_config(bootstrap)  # a missing one is better found now than after the base's evaluation
    own = device_of(device_kind)
    rows = []
    try:
        plans = tuple(plan(config, s, train, t, own) for s, t in loads(settings))
        rows.append(Row(str(config.get("_name_or_path") or base.name), own.name if own else "here", plans))
    except KeyError as error:
        log(f"{base / 'config.json'}: no field {error}, so what this model needs is not known beforehand.")
    for name, reference in (("Qwen2.5-Math-1.5B", QWEN_1_5B), ("Qwen2.5-Math-7B", QWEN_7B)):
        for device in (DEVICES["H200"], DEVICES["v5e"], DEVICES["v5p"]):
            plans = tuple(plan(reference, s, train, TrainLoad(), device) for s in _reference_loads(settings))
            rows.append(Row(name, device.name, plans))
    log(f"{train:,} training problems, {heldout:,} held out.")
    log(table(rows, train))


def loads(settings: RunSettings) -> list[tuple[SearchLoad, TrainLoad]]:
    """What each of the run's rounds asks of the device."""
    # here, since settings.py brings jax along; whoever holds RunSettings has it already
    from rstar_jax.evolve.settings import at_round

    s, size = settings.search, 2 if settings.policy.dtype == "bfloat16" else 4
    policy, ppm = settings.train.policy, settings.train.ppm
    training = TrainLoad(
        policy_epochs=policy.epochs,
        ppm_epochs=ppm.epochs,
        seq_len=policy.seq_len,
        rows=policy.microbatch,
        size=size,
        remat=policy.remat,
        policy_lora=(policy.lora.rank, policy.lora.targets),
        ppm_lora=(ppm.lora.rank, ppm.lora.targets),
    )
    return [
        (
            SearchLoad(
                rollouts=at_round(s.rollouts, round),
                candidates=at_round(s.candidates, round),
                leaves=settings.decode.leaves,
                context=settings.decode.context,
                max_step_tokens=settings.decode.max_step_tokens,
                size=size,
                int8=settings.decode.weights == "int8",
                ppm=at_round(s.ppm, round),
            ),
            training,
        )
        for round in settings.rounds
    ]


def _reference_loads(settings: RunSettings) -> list[SearchLoad]:
    """The run's rollouts and candidates with the room that real models' texts need."""
    return [SearchLoad(rollouts=s.rollouts, candidates=s.candidates, ppm=s.ppm) for s, _ in loads(settings)]
