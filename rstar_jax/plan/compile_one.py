"""One program compiled ahead of time for TPUs that are not here, in a process of its own.

    python -m rstar_jax.plan.compile_one < REQUEST.json

Reads a request (`programs.py`) as one line and prints one line of JSON, the last of its output:

    {"seconds", "arguments", "temporaries", "peak", "aliased", "collectives", "kernels"}    bytes a device
    {"refused": TEXT}              the compiler's own words: it does not fit, mostly
    {"failed": TEXT}               anything else, libtpu that is not there among it

Ends when its input is closed, as it is when whoever asked is gone: a compilation hears no signal.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # there is no metadata server to be asked
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
    # Of a host that is not there; libtpu would take warnings of its own for their values.
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def main() -> None:
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    os.environ.update(ENVIRONMENT)
    try:
        found = _compiled(request)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        refused = "RESOURCE_EXHAUSTED" in text
        if not refused:
            traceback.print_exc()
        found = {"refused" if refused else "failed": text}
    print(json.dumps(found), flush=True)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def _compiled(request: dict[str, Any]) -> dict[str, Any]:
    import jax
    from jax.experimental import topologies

    from rstar_jax.plan import hlo
    from rstar_jax.plan.programs import program_of

    name, slices = request["topology"]
    arguments: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if name.endswith(":1x1"):
        arguments["chips_per_host_bounds"] = (1, 1, 1)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **arguments).devices
    mesh, program = program_of(request, devices)
    began = time.monotonic()
    with jax.set_mesh(mesh):
        compiled = program.compile()
    memory: Any = compiled.memory_analysis()
    text = compiled.as_text() or ""
    return {
        "seconds": round(time.monotonic() - began, 1),
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "collectives": hlo.collectives(text),
        "kernels": text.count('custom_call_target="tpu_custom_call"'),
    }


if __name__ == "__main__":
    main()
