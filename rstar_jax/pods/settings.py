"""Options of `--config=launch`: which job starts where, and how."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Any, Literal

import rstar_jax
from rstar_jax import topologies
from rstar_jax.errors import UserError
from rstar_jax.settings import require
from rstar_jax.topologies import Topology

Platform = Literal["", "jobset", "xpk", "tpu_vm", "slurm"]
BAD_INPUT = 2  # exit status of rstar_jax.launch
VOLUME = "/runs"  # where the shared volume is in a container
# Takes "rstar-round3"; takes no "Round_3" and no "3-".
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
# Takes "gs://bucket/run" and "s3://bucket/runs/a/"; takes no "/runs/a", no "gs://bucket" and no "ftp://a/b".
_ADDRESS = re.compile(r"(gs|s3)://[^/\s]+/[^/\s]+(/[^/\s]+)*/?")
_XPK = ("very-low", "low", "medium", "high", "very-high")  # its priorities
# What is made of a name has a suffix: NAME-slice-SLICE-HOST-RANDOM, in at most 63 characters.
_LONGEST = 63


@dataclasses.dataclass(frozen=True)
class LaunchSettings:
    """A job and where it starts.

    of: the job's config, by name or path, which --config.job=NAME says on the command line.
    options: the job's options, each as OPTION=VALUE; on the command line its own flags,
    --config.search.rollouts=32.
    topology: accelerators, CHIP:SHAPE, such as v5p:4x4x4, v5e:16x16*2 (two slices) or h200:16.
    out: the file that is written; it must not be there. Empty: it is printed.
    platform: "jobset", a manifest for JobSet and Kueue on GKE; "xpk", a script of xpk's commands; "tpu_vm",
        one of gcloud's for TPU VMs; "slurm", a batch script for GPUs. Empty: "jobset" for TPUs, "slurm" for
        GPUs.
    name: of the job there; empty: rstar- and the config's name.
    workdir: the run's folder, which all hosts reach: gs://BUCKET/FOLDER, or a path on a volume that they
        share. Empty: /runs/NAME on `volume` with JobSet, runs/NAME with Slurm.
    compiled: folder of compiled programs that the hosts share; empty: "compiled" beside workdir.
    volume: a PersistentVolumeClaim that many nodes may write, mounted at /runs where workdir is a path
        (JobSet).
    image: a container image of launch/Dockerfile, as the machines pull it. Empty: rstar-jax:VERSION-tpu; with
        Slurm none, but the .venv of the folder in which the job is submitted.
    user: the user's number in the container. 0: root, where the node's devices are root's alone.
    service_account: the Kubernetes service account that may use the bucket; empty: the namespace's default.
    namespace: the cluster's. queue: Kueue's LocalQueue; empty: no Kueue. priority: its WorkloadPriorityClass;
        empty: none. queues: whether Kueue's own objects (flavor, queues, priority class) are written, too,
        with a quota of just these chips.
    spot: capacity that is cheap and may be taken away at any moment.
    restarts: how often the job restarts after a crash. Preemptions do not count, but with xpk.
    hours: after so many a Slurm job stops in order and is queued again.
    price: US dollars a chip and hour, in the place of the table's; 0: the table's.
    """

    job: str = "launch"
    of: str = ""
    options: tuple[str, ...] = ()
    topology: str = ""
    out: str = ""
    platform: Platform = ""
    name: str = ""
    workdir: str = ""
    compiled: str = ""
    volume: str = "runs"
    image: str = ""
    user: int = 1000
    service_account: str = ""
    namespace: str = "default"
    queue: str = "default"
    priority: str = ""
    queues: bool = False
    spot: bool = False
    restarts: int = 10
    hours: int = 24
    price: float = 0.0

    def __post_init__(self) -> None:
        if not self.topology:  # the config by itself, which names none
            return
        for name, least in {"restarts": 0, "hours": 1, "price": 0, "user": 0}.items():
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        for name in ("of", "workdir", "compiled", "image"):
            given = getattr(self, name)
            require(not re.search(r"\s", given), name, given, "text without spaces")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for text in value if isinstance(value, tuple) else (value,):
                require(str(text).isprintable(), field.name, text, "text of one line that can be printed")
        require("://" not in self.out, "out", self.out, "a file of this machine")
        for name in ("service_account", "namespace", "queue", "priority", "volume"):
            text, may_be_empty = getattr(self, name), name not in ("namespace", "volume")
            is_one = _is_name(text, _LONGEST) or (may_be_empty and not text)
            require(is_one, name, text, "small letters, digits and '-'")
        for text in self.options:
            require(text.partition("=")[0] and "=" in text, "options", text, "OPTION=VALUE")
        self.started_by()
        self.place()
        self.label()

    def where(self) -> Topology:
        """Return the accelerators. Raises UserError naming the nearest that exist."""
        require(self.topology, "topology", "", "accelerators such as v5p:4x4x4 or h200:16")
        try:
            return topologies.parse(self.topology)
        except UserError as error:
            raise UserError(f"config.{error}") from None

    def started_by(self) -> str:
        """Return the platform. Raises UserError for one that has not these accelerators."""
        where = self.where()
        tpu = where.chip.is_tpu
        platform = self.platform or ("jobset" if tpu else "slurm")
        if tpu and platform == "slurm":
            raise self._wrong(platform, "jobset, xpk or tpu_vm")
        if not tpu and platform != "slurm":
            raise self._wrong(platform, "slurm")
        hint = f"one of xpk's, {', '.join(_XPK)},"
        require(platform != "xpk" or self.priority in ("", *_XPK), "priority", self.priority, hint)
        small = where.shape == (2, 4) or (where.chip.name == "v5e" and where.shape in ((1, 1), (2, 2)))
        if small and platform == "xpk":  # which makes two hosts of 2x4
            raise self._wrong(platform, "jobset or tpu_vm, as xpk has no such slice of one host,")
        if where.chip.name == "tpu7x" and platform == "tpu_vm":
            raise self._wrong(platform, "jobset or xpk, as these chips are in GKE only,")
        return platform

    def _wrong(self, platform: str, expected: str) -> UserError:
        return UserError(f"config.platform: {platform!r} given for {self.topology}, {expected} expected.")

    def label(self) -> str:
        """Return the job's name there. Raises UserError for one that Kubernetes has no use for."""
        stem = re.sub(r"^.*/|\.py(?=$|:)", "", self.of)
        made = re.sub(r"[^a-z0-9]+", "-", f"rstar-{stem}".lower()).strip("-")
        name = self.name or made
        where = self.where()
        suffix = f"-slice-{where.slices - 1}-{where.hosts // where.slices - 1}-random"
        most = _LONGEST - len(suffix)
        hint = f"at most {most} small letters, digits and '-', a letter first,"
        require(_is_name(name, most), "name", name, hint)
        return name

    def place(self) -> str:
        """Return the run's folder there. Raises UserError for one that not all hosts reach."""
        platform, given, hosts = self.started_by(), self.workdir, self.where().hosts
        if not given and platform in ("jobset", "slurm"):
            return f"{VOLUME}/{self.label()}" if platform == "jobset" else f"runs/{self.label()}"
        in_bucket = self.has_address()
        require(in_bucket or (given and "://" not in given), "workdir", given, "gs://BUCKET/FOLDER")
        on_volume = posixpath.normpath(given).startswith(f"{VOLUME}/")
        hint = f"gs://BUCKET/FOLDER, or a path below {VOLUME}"
        require(in_bucket or on_volume or platform != "jobset", "workdir", given, hint)
        hint = f"gs://BUCKET/FOLDER, which all {hosts} hosts reach,"
        require(in_bucket or hosts == 1 or platform in ("jobset", "slurm"), "workdir", given, hint)
        return given.rstrip("/")

    def has_address(self) -> bool:
        """Tell whether the run's folder is in a bucket."""
        return _ADDRESS.fullmatch(self.workdir) is not None

    def shared_programs(self) -> str:
        """Return the folder of compiled programs there."""
        return self.compiled or f"{self.place().rpartition('/')[0]}/compiled"

    def pulled(self) -> str:
        """Return the container image; "" if there is none."""
        made = "" if self.started_by() == "slurm" else f"rstar-jax:{rstar_jax.__version__}-tpu"
        return self.image or made

    def words(self) -> list[str]:
        """Return the command that runs on every host."""
        given = [f"--config.{option}" for option in self.options]
        program = ["python", "-m", "rstar_jax.launch", f"--config={self.of}"]
        return [*program, f"--workdir={self.place()}", f"--compiled={self.shared_programs()}", *given]

    def changed(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}


def _is_name(text: str, most: int) -> bool:
    return len(text) <= most and _NAME.fullmatch(text) is not None
