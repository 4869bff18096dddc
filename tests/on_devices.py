"""A test's file as a script, in a process of its own that sees several virtual CPU devices.

How many there are is settled when JAX starts, and the process of the tests has one.
"""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def start(file: str, *arguments: object, devices: int = 8) -> subprocess.Popen[str]:
    """Starts a file as a script with these arguments; its outputs are pipes."""
    flags = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        f"--xla_force_host_platform_device_count={devices}"
    )
    return subprocess.Popen(
        [sys.executable, file, *map(str, arguments)],
        env={
            "JAX_PLATFORMS": "cpu",
            "JAX_NUMPY_RANK_PROMOTION": "raise",
            "XLA_FLAGS": flags,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(_ROOT),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(file: str, *arguments: object, devices: int = 8) -> str:
    """What the script prints; where it fails, the test fails with all that it said."""
    with start(file, *arguments, devices=devices) as script:
        try:
            out, err = script.communicate(timeout=600)
        finally:
            script.kill()
    assert script.returncode == 0, out + err
    return out
