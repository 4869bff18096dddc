"""Training steps on TPUs that are not here: meshes and remats by planned MFU, and what the compiler says.

    pip install libtpu==0.0.42.1                 # 0.7 GB; goes with the jax of requirements.txt
    python benchmarks/tpu_train.py [--topologies v5p:4x4x4,v6e:8x8] [--row 4096] [--rows 32] [--compile 1]
    python benchmarks/tpu_train.py --row 32768 --rows 4 --mesh fsdp=4,tensor=4,context=4 --topologies v6e:8x8
    python benchmarks/tpu_train.py --topologies v5e:8x8 --rows 16 --compile 0 --update adamw,adafactor

Gradients of the policy of a known model, bfloat16 with float32 parameters, and the optimizer's update. The
updates of --update are compiled for each topology, on the mesh that is fastest by arithmetic.
Seconds are those of the roofline (`plan/pace.py`): an assumption, no chip ran this. MFU counts 6 operations a
parameter and causal attention, never what is computed again, for all tokens of the rows, padding too. The
fastest `--compile` of each topology that may fit are compiled (minutes each): then memory is the compiler's,
and what a device sends is counted in its program. Chosen is the fastest that fits.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from rstar_jax.plan import known_models
from rstar_jax.plan.compiled import Compiler
from rstar_jax.plan.fit import GIB, REMATS, Fitting, Mesh, Refusal
from rstar_jax.plan.pace import Pace
from rstar_jax.topologies import parse


def candidates(fitting: Fitting, rows: int, row: int, only: str) -> list[tuple[Mesh, str]]:
    """Meshes that divide the rows, with each remat, from the fastest on."""
    given = dict(pair.split("=") for pair in only.split(",") if pair)
    sizes = {name: int(size) for name, size in given.items()}
    meshes = [Mesh(**{"fsdp": 1, "tensor": 1} | sizes)] if sizes else list(fitting.meshes())
    found = [(mesh, remat) for mesh in meshes for remat in REMATS if rows % mesh.wide == 0]
    return sorted(found, key=lambda each: fitting.step_s("policy", *each, rows, row, rows))


def update(fitting: Fitting, mesh: Mesh, optimizer: str, compiler: Compiler) -> str:
    """Return what the compiler says of an optimizer's update."""
    options = {"optimizer": optimizer}
    request = fitting.request("update", dataclasses.asdict(mesh), (mesh.wide, 4096), options=options)
    found = compiler(request, optimizer)
    told = f"{found.arguments / GIB:.2f} GiB of arguments, {found.temporaries / GIB:.2f} of temporaries"
    return f"{fitting.topology}, {mesh}: update of {optimizer}: {found.refused[:200] or told}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="qwen2.5-math-7b")
    parser.add_argument("--topologies", default="v5p:4x4x4,v6e:8x8")
    parser.add_argument("--row", type=int, default=4096, help="tokens of a row")
    parser.add_argument("--rows", type=int, default=32, help="of a microbatch, of all devices")
    parser.add_argument("--mesh", default="", help="one mesh alone, as fsdp=16,tensor=4")
    parser.add_argument("--remat", default="", help="one remat alone")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--update", default="", help="optimizers whose updates are compiled")
    parser.add_argument("--compile", type=int, default=1, help="of each topology; 0: arithmetic alone")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tpu_train"), help="keeps what is compiled")
    flags = parser.parse_args()
    name, content = known_models.content_of(flags.model)
    shape = known_models.shape_of(content)
    print(f"{name}, {flags.rows} rows of {flags.row:,}, {flags.optimizer}\n")
    print("| topology | mesh | remat | GiB of a chip | GB sent | step ms | MFU | by |\n" + "|---" * 8 + "|")
    for spec in flags.topologies.split(","):
        topology, compiled = parse(spec), 0
        fitting = Fitting(topology, Pace(shape, topology.chip), content, None, {"policy": flags.optimizer})
        compiler = Compiler(flags.workdir / "programs", lambda _: None)
        flops = flags.rows * flags.row * (6 * shape.matrices + 3 * shape.attention_flops(flags.row / 2))
        peak = topology.chip.tflops * 1e12 / topology.chip.devices * topology.devices
        choices = candidates(fitting, flags.rows, flags.row, flags.mesh)
        for mesh, remat in choices:
            if flags.remat not in ("", remat):
                continue
            by = fitting
            if compiled < flags.compile:
                by = dataclasses.replace(fitting, compile=compiler)
            found = by.tried("policy", mesh, remat, flags.rows, flags.row, flags.rows)
            start = f"| {spec} | {mesh} | {remat} "
            if isinstance(found, Refusal):
                print(
                    f"{start}| {found.needed / GIB:.1f} | | | does not fit | {found.why.partition(':')[0]} |",
                    flush=True,
                )
                continue
            compiled += found.compiled is not None
            sent = f"{found.compiled.sent / 1e9:.1f}" if found.compiled else ""
            who = "compiler" if found.compiled else "arithmetic"
            print(
                f"{start}| {found.total / GIB:.1f} | {sent} | {1000 * found.step_s:.0f} "
                f"| {100 * flops / peak / found.step_s:.1f} % | {who} |",
                flush=True,
            )
        for optimizer in filter(None, flags.update.split(",")):
            print(update(fitting, choices[0][0], optimizer, compiler), flush=True)


if __name__ == "__main__":
    main()
