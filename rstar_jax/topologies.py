"""Accelerators by name, and how many of them a specification such as "v5p:4x4x4" means.

    v5p:4x4x4     one slice of 64 chips            h200:8     eight GPUs of one host
    v5e:16x16*2   two slices of 256 chips each     h200:32    those of four hosts

A slice's chips are joined by their own network (ICI, NVLink), slices and hosts of GPUs by the data centre's
(DCN). Figures are the makers' (Google's pages of the systems and of TPUs in GKE, NVIDIA's data sheets) unless
a comment says "remembered". Prices: US, on demand and the lowest spot of any zone, as SkyPilot's catalogue of
Google Cloud had them when `priced` says; they change, so whoever pays overrides them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest

# Takes "v5e:16x16*2" and "h200:8"; takes no "v5e-256" and no "v5e:".
_SPEC = re.compile(r"(?P<chip>[\w.]+):(?P<shape>\d{1,9}(?:x\d{1,9})*)(?:\*(?P<slices>\d{1,4}))?", re.ASCII)
_GPUS = 8  # of one host


@dataclasses.dataclass(frozen=True)
class Chip:
    """An accelerator.

    name: as in a specification. tflops: bfloat16, dense, 10^12 a second. hbm_gib: memory, GiB. gbs: to and
    from it, 10^9 bytes a second. ici_gbs: over all links to the others of its slice (of a GPU's host), one
    way, 10^9 bytes a second. dcn_gbs: its share of the host's network, one way, 10^9 bytes a second. devices:
    JAX devices that it is. usd_hour, usd_spot: US dollars an hour; None: none known. priced: when they were.
    accelerator, machine: what Google Cloud calls it, and its hosts by their number of chips (xpk and GKE).
    most: chips of the largest slice.
    """

    name: str
    tflops: float
    hbm_gib: float
    gbs: float
    ici_gbs: float
    dcn_gbs: float
    devices: int
    usd_hour: float | None
    usd_spot: float | None
    priced: str
    accelerator: str
    machine: str
    most: int

    @property
    def is_tpu(self) -> bool:
        return not self.accelerator.startswith("nvidia")


_READ = "2026-11"
# fmt: off
_CHIPS = (
    # Half of the bidirectional ICI of Google's pages; DCN of TPU7x is remembered.
    Chip("v5e", 197, 16, 819, 200, 3.125, 1, 1.2, 0.245, _READ, "tpu-v5-lite-podslice", "ct5lp-hightpu", 256),
    Chip("v5p", 459, 95, 2765, 600, 6.25, 1, 4.2, 0.836, _READ, "tpu-v5p-slice", "ct5p-hightpu", 6144),
    Chip("v6e", 918, 32, 1638, 400, 12.5, 1, 2.7, 0.544, _READ, "tpu-v6e-slice", "ct6e-standard", 256),
    Chip("tpu7x", 2307, 192, 7380, 600, 12.5, 2, None, None, "", "tpu7x", "tpu7x-standard", 9216),
    # SXM, memory as nvidia-smi counts it; all other figures are remembered. No prices: what catalogues say of
    # them differs by a factor of two.
    Chip("a100", 312, 80, 2039, 300, 25, 1, None, None, "", "nvidia-a100-80gb", "a2-ultragpu", 1024),
    Chip("h100", 989, 79.6, 3350, 450, 50, 1, None, None, "", "nvidia-h100-80gb", "a3-highgpu", 1024),
    Chip("h200", 989, 140.4, 4800, 450, 50, 1, None, None, "", "nvidia-h200-141gb", "a3-ultragpu", 1024),
)
# fmt: on
CHIPS: dict[str, Chip] = {chip.name: chip for chip in _CHIPS}
# What jax calls their devices, the more specific name first.
_KINDS = (
    *(("TPU v5 lite", "v5e"), ("TPU v5e", "v5e"), ("TPU v5", "v5p"), ("TPU v6", "v6e")),
    *(("TPU7x", "tpu7x"), ("A100", "a100"), ("H100", "h100"), ("H200", "h200")),
)


def chip_named(kind: str) -> Chip | None:
    """Return the chip that jax's `device_kind` names; None where it is none of these, as a CPU."""
    return next((CHIPS[name] for word, name in _KINDS if word.lower() in kind.lower()), None)


@dataclasses.dataclass(frozen=True)
class Gke:
    """GKE's names of one slice: values of the labels cloud.google.com/gke-tpu-accelerator and
    cloud.google.com/gke-tpu-topology, and the machine type of its hosts."""

    accelerator: str
    topology: str
    machine: str


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips of one kind: `slices` slices of this shape each. Of GPUs the shape is their number."""

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    def __str__(self) -> str:
        return f"{self.slice_spec}*{self.slices}" if self.slices > 1 else self.slice_spec

    @property
    def slice_spec(self) -> str:
        """One slice's specification, which is also libtpu's name of it."""
        return f"{self.chip.name}:{self.shape_text}"

    @property
    def shape_text(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def chips(self) -> int:
        """Chips of all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def devices(self) -> int:
        """JAX devices of all slices."""
        return self.chips * self.chip.devices

    @property
    def chips_per_host(self) -> int:
        """At most 8 in 2-D slices of one host and of GPUs, 4 in all others."""
        chips = math.prod(self.shape)
        return min(chips, _GPUS if not self.chip.is_tpu or self.shape == (2, 4) else 4)

    @property
    def hosts(self) -> int:
        """Hosts of all slices; a host runs one process."""
        return self.chips // self.chips_per_host

    @property
    def islands(self) -> int:
        """Parts that the data centre's network alone joins: slices, of GPUs hosts."""
        return self.slices if self.chip.is_tpu else self.hosts

    @property
    def gke(self) -> Gke | None:
        """GKE's names of a slice; None of GPUs."""
        if not self.chip.is_tpu:
            return None
        machine = f"{self.chip.machine}-{self.chips_per_host}t"
        return Gke(self.chip.accelerator, self.shape_text, machine)


def parse(spec: str) -> Topology:
    """Return the topology that a specification means: CHIP:SHAPE, or CHIP:SHAPE*SLICES, in any case.

    Raises UserError naming the nearest that exists.
    """
    found = _SPEC.fullmatch(spec.lower())
    name = found["chip"] if found else re.split("[:-]", spec.lower())[0]
    if name not in CHIPS:
        raise UserError(
            f"topology {spec!r}: no such chip. {nearest(name, CHIPS)} A topology is CHIP:SHAPE, such as "
            "v5p:4x4x4 or h200:8, or CHIP:SHAPE*SLICES."
        )
    chip = CHIPS[name]
    if not found:
        raise UserError(f"topology {spec!r}: CHIP:SHAPE expected. Did you mean '{_nearest(chip, spec)}'?")
    shape, slices = tuple(map(int, found["shape"].split("x"))), int(found["slices"] or 1)
    if shape not in shapes(chip):
        raise UserError(
            f"topology {spec!r}: there is no such slice of {name}. Did you mean '{_nearest(chip, spec)}'?"
        )
    if slices < 1 or (slices > 1 and not chip.is_tpu):
        meant = f"{name}:{shape[0] * slices}" if slices else f"{name}:{found['shape']}"
        raise UserError(f"topology {spec!r}: {slices} slices given. Did you mean '{meant}'?")
    return Topology(chip, shape, slices)


@functools.cache
def shapes(chip: Chip) -> tuple[tuple[int, ...], ...]:
    """Every shape of a slice, from the fewest chips to the most.

    GKE's: 2-D ones by name, 3-D ones have sides that rise and, from 64 chips on, are multiples of 4.
    """
    if not chip.is_tpu:
        return ((1,), (2,), (4,), *((n,) for n in range(_GPUS, chip.most + 1, _GPUS)))
    if chip.most == 256:
        return ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
    sides = range(4, chip.most // 16 + 1, 4)
    cubes = [s for s in itertools.combinations_with_replacement(sides, 3) if math.prod(s) <= chip.most]
    small = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
    return (*(((1, 1, 1),) if chip.name == "tpu7x" else ()), *small, *sorted(cubes, key=_size))


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Chips, then how far from a cube."""
    return math.prod(shape), max(shape)


def _nearest(chip: Chip, spec: str) -> str:
    """The specification whose number of chips is nearest to that of a misspelt one, and its shape then."""
    numbers = [
        max(1, int(n[:9])) for n in re.findall("[0-9]+", re.sub(r"^[\w.]+", "", spec.partition("*")[0]))
    ]
    asked = math.prod(numbers) if numbers else 1

    def distance(shape: tuple[int, ...]) -> tuple[float, float]:
        sides = itertools.zip_longest(sorted(numbers), sorted(shape), fillvalue=1)
        return abs(math.log(math.prod(shape)) - math.log(asked)), sum(abs(a - b) for a, b in sides)

    return Topology(chip, min(shapes(chip), key=distance)).slice_spec
