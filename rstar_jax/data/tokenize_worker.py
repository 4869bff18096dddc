"""A process that encodes chunks for `tokenize.py` until its input is closed.

    python -m rstar_jax.data.tokenize_worker

Reads pickles: once what encodes, then (path, chunk) again and again; writes the chunk's piece to the path
and answers with None, or with the UserError that says why it cannot be encoded.
"""

from __future__ import annotations

import pickle
import sys

from rstar_jax.data.token_store import write_piece
from rstar_jax.data.tokenize import piece_of
from rstar_jax.errors import UserError


def main() -> None:
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not answer
    try:
        encode = pickle.load(asked)
        while True:
            path, chunk = pickle.load(asked)
            refused = None
            try:
                write_piece(path, piece_of(chunk, encode, path.stem))
            except UserError as error:
                refused = UserError(str(error))
            pickle.dump(refused, answers)
            answers.flush()
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass


if __name__ == "__main__":
    main()
