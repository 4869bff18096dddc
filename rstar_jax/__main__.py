"""`python -m rstar_jax`: says what to call."""

import shlex
import sys

from rstar_jax import __version__

_LAUNCH = "python -m rstar_jax.launch"


def main(arguments: list[str]) -> int:
    """Print what there is to call; returns 2 where something was asked for, which is for `launch` to do."""
    print(f"rstar_jax {__version__}. Everything is done by {_LAUNCH}:")
    print(f"  {_LAUNCH} --help                 the configs, and how to set their options")
    print(f"  {_LAUNCH} --config=quickstart    four rounds on the bundled tiny model, minutes of a CPU")
    if not arguments:
        return 0
    print(f"error: nothing was done. Did you mean: {_LAUNCH} {shlex.join(arguments)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
