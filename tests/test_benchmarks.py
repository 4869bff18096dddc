"""Every benchmark comes up: what it imports of the package and of its neighbours is there."""

import subprocess
import sys
from pathlib import Path

PEERS = ("torch", "mctx", "vllm")
FOLDER = Path(__file__).parents[1] / "benchmarks"
IMPORT = """
import importlib, sys
sys.path[:0] = {paths!r}
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {optional!r}:  # peers, which are no requirement
            raise
    print(name)
"""


def test_every_benchmark_comes_up():
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    code = IMPORT.format(paths=[str(FOLDER), str(FOLDER.parent)], names=names, optional=PEERS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.split() == names, done.stderr
