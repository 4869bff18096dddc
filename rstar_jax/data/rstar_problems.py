"""`rstar_problems`, problems as a set of tensorflow-datasets: ArrayRecord files, by index, no tensorflow.

Importing this module imports tensorflow-datasets and makes the set's name known to it. To read a set neither
is needed: `tfds.data_source("rstar_problems/train", data_dir=DIR)` finds all in its files.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from rstar_jax.data.prepared import SHARD
from rstar_jax.data.problem_set import ProblemSet, digest
from rstar_jax.errors import UserError

VERSION = "1.0.0"
_TEXTS = ("id", "question", "answer", "source", "split", "origin", "fingerprint")


class RstarProblems(tfds.core.GeneratorBasedBuilder):
    """Problems with their provenance, in the order in which they are given.

    id, question, answer, level, source, synthetic: as in `types.Problem`. split: the one that the row is in.
    origin, origin_row: the file or set that it was read from, and which row of that it was, from 1.
    fingerprint: SHA-256 of the problem (`problem_set.digest`).
    """

    VERSION = tfds.core.Version(VERSION)

    def __init__(
        self,
        *,
        splits: Mapping[str, ProblemSet] | None = None,
        shard: int = SHARD,
        told: Callable[[int], None] = lambda rows: None,
        **kwargs: Any,
    ) -> None:
        """splits: what is to be written, none to read. shard: rows of a file. told: called with how many rows
        of all are written, now and then. kwargs: `data_dir` and others of tensorflow-datasets."""
        self._sets, self._shard, self._told = splits or {}, shard, told
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {name: tfds.features.Text() for name in _TEXTS}
        numbers = {"level": np.int32, "synthetic": np.bool_, "origin_row": np.int64}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Problems with reference answers, cleaned by rstar_jax.",
            features=tfds.features.FeaturesDict({**texts, **numbers}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager
        return {split: self._generate_examples(split) for split in self._sets}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        problems = self._sets[split]
        for index, problem in enumerate(problems):
            place = problems.place(index)
            row = {
                **vars(problem),
                "split": split,
                "origin": str(place.path),
                "origin_row": place.number,
                "fingerprint": digest([problem]),
            }
            yield index, row | {name: _bytes(name, row[name], problem.id) for name in _TEXTS}

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        """Write the splits file by file.

        In the place of the library's own writer, which holds all rows of a split in memory to sort them, and
        puts those above a gigabyte aside by tensorflow.
        """
        del download_config
        features: Any = self.info.features
        serialize = ExampleSerializer(features.get_serialized_info()).serialize_example
        write = self._example_writer().write
        written, found = 0, []
        for split, examples in self._split_generators(dl_manager).items():
            rows = len(self._sets[split])
            template = self._get_filename_template(split_name=split)
            lengths, size = [min(self._shard, rows - start) for start in range(0, rows, self._shard)], 0
            for number, length in enumerate(lengths):
                path = template.sharded_filepath(shard_index=number, num_shards=len(lengths))
                records = (
                    (key, serialize(features.encode_example(example)))
                    for key, example in itertools.islice(examples, length)
                )
                write(path, records)
                size += os.stat(path).st_size
                written += length
                self._told(written)
            found.append(
                tfds.core.SplitInfo(
                    name=split, shard_lengths=lengths, num_bytes=size, filename_template=template
                )
            )
        return found

    def _log_download_bytes(self) -> None:
        """Print nothing: whoever calls shows what is going on."""

    _log_download_done = _log_download_bytes


def write(
    folder: Path, splits: Mapping[str, ProblemSet], *, shard: int = SHARD, told: Callable[[int], None]
) -> Path:
    """Write a set into `folder`/rstar_problems/1.0.0, which is returned once it is whole. As the class says.

    Raises UserError for a text that is none, OSError where the system cannot write.
    """
    builder = RstarProblems(splits=splits, shard=shard, told=told, data_dir=str(folder))
    try:
        builder.download_and_prepare()
    except RuntimeError as error:  # the library's for whatever the system says
        known = (number for number in (errno.ENOSPC, errno.EDQUOT) if os.strerror(number) in str(error))
        raise OSError(next(known, 0), str(error), str(folder)) from error
    return Path(os.fspath(builder.data_path))


def _bytes(name: str, text: str, problem: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # names of files
    except UnicodeEncodeError as error:
        raise UserError(
            f"{problem}: {name} holds half a character ({error.object[error.start]!a}), which is no text. "
            "Mend that row or leave it out."
        ) from None
