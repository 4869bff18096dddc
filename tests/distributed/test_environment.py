"""Who a process is: read from what GKE, TPU VMs, Slurm and options tell, or refused."""

import http.server
import threading

import pytest

from rstar_jax.distributed import DistributedConfig, environment
from rstar_jax.distributed.environment import Place, find
from rstar_jax.errors import UserError

NONE = DistributedConfig()
SLURM = {
    "SLURM_JOB_ID": "70001",
    "SLURM_STEP_NODELIST": "gpu[003-007,9],x1",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4)",
}
GKE = {"TPU_WORKER_HOSTNAMES": "a-0.svc,a-1.svc", "TPU_WORKER_ID": "1"}
SLICES = {
    **GKE,
    "MEGASCALE_COORDINATOR_ADDRESS": "z-0.svc:8080",
    "MEGASCALE_NUM_SLICES": "3",
    "MEGASCALE_SLICE_ID": "2",
}


def test_one_process_alone():
    assert find(NONE, {}) is None
    # A batch script by itself is no step of srun.
    assert find(NONE, {name: SLURM[name] for name in SLURM if name != "SLURM_STEP_NODELIST"}) is None
    assert find(NONE, {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}) is None
    assert find(DistributedConfig(processes=1), GKE) is None  # as it was told to be


def test_options_alone():
    given = DistributedConfig("10.0.0.1:8482", processes=2, process=1)
    assert find(given, {}) == Place("10.0.0.1:8482", 2, 1, "options")


def test_options_override_what_is_found():
    found = find(DistributedConfig(coordinator="[fe80::1]:9"), GKE)
    assert found is not None and found == Place("[fe80::1]:9", 2, 1, "GKE")
    assert found.address == ("fe80::1", 9)


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        (DistributedConfig(coordinator="a:1"), "distributed.processes and --config.distributed.process,"),
        (DistributedConfig(coordinator="a:1", processes=2), "Give --config.distributed.process,"),
        (DistributedConfig(processes=2), "Give --config.distributed.coordinator and"),
    ],
)
def test_half_of_the_options_is_refused(given, lacks):
    with pytest.raises(UserError, match=lacks):
        find(given, {})


@pytest.mark.parametrize(
    "options",
    [
        {"coordinator": "nohost"},
        {"coordinator": "a:0"},
        {"coordinator": "a:99999"},
        {"processes": 2, "process": 2},
        {"timeout_s": 0.0},
        {"timeout_s": float("inf")},
    ],
)
def test_nonsense_is_refused(options):
    with pytest.raises(UserError, match=r"config\.distributed\."):
        DistributedConfig(**options)


@pytest.mark.parametrize(
    "wrong",
    [
        GKE | {"TPU_WORKER_ID": "x"},
        GKE | {"JAX_COORDINATOR_PORT": "eight"},
        SLURM | {"JAX_COORDINATOR_PORT": "99999"},
        SLURM | {"SLURM_NTASKS": "-2"},
    ],
)
def test_variables_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(UserError, match=r"in the environment, a number below .* expected"):
        find(NONE, wrong)


def test_slurm():
    # The port is the one that JAX takes: of the job, above 61,440.
    assert find(NONE, SLURM) == Place(f"gpu003:{61440 + 70001 % 4096}", 8, 5, "Slurm", (1,))
    alone_on_node = {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1(x8)"}
    hidden = {**SLURM, "CUDA_VISIBLE_DEVICES": "1"}
    for each in (alone_on_node, hidden):  # all that it sees is its own
        found = find(NONE, each)
        assert found and found.devices is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a1", "a1"), ("a1,b2", "a1"), ("n[01-20]", "n01"), ("n[7,9]-ib,x", "n7-ib"), ("r1-n[3]", "r1-n3")],
)
def test_first_node_of_a_list(nodes, first):
    assert environment.first_node(nodes) == first


def test_gke_one_slice():
    assert find(NONE, GKE) == Place("a-0.svc:8482", 2, 1, "GKE")
    ports = {"TPU_PROCESS_ADDRESSES": "a-0:8476,a-1:8476", "TPU_WORKER_ID": "0"}
    assert find(NONE, {**ports, "JAX_COORDINATOR_PORT": "7"}) == Place("a-0:7", 2, 0, "GKE")


def test_gke_several_slices():
    assert find(NONE, SLICES) == Place("z-0.svc:8482", 6, 5, "GKE")


@pytest.mark.parametrize(
    "stale",
    [
        {"MEGASCALE_NUM_SLICES": "", "MEGASCALE_COORDINATOR_ADDRESS": ""},  # the slice's number alone
        {"MEGASCALE_SLICE_ID": "3"},
        {"MEGASCALE_NUM_SLICES": "many"},
        # This slice's own worker leads, but this is not the first slice.
        {"MEGASCALE_COORDINATOR_ADDRESS": "a-0.svc:8080"},
        # This is the first slice, and another host leads.
        {
            "MEGASCALE_SLICE_ID": "0",
            "MEGASCALE_COORDINATOR_ADDRESS": "127.0.0.9:8080",
            "TPU_WORKER_HOSTNAMES": "127.0.0.1,127.0.0.2",
        },
    ],
)
def test_variables_of_an_earlier_start_are_refused(stale):
    with pytest.raises(UserError, match="left from an earlier start"):
        find(NONE, {**SLICES, **stale})


@pytest.fixture
def metadata(monkeypatch):
    """A metadata server, and a machine with TPUs that asks it; its answers by key."""
    answers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = answers.get(self.path.rpartition("/")[2])
            self.send_response(200 if text is not None and self.headers["Metadata-Flavor"] else 404)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(environment, "_has_tpus", lambda: True)
    answers["environment"] = {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
    yield answers
    server.shutdown()
    server.server_close()


def test_tpu_vm(metadata):
    asked = metadata.pop("environment")
    assert find(NONE, asked) is None
    metadata["agent-worker-number"] = "2"
    metadata["worker-network-endpoints"] = "x:y:10.0.0.5,x:y:10.0.0.6,x:y:10.0.0.7"
    assert find(NONE, asked) == Place("10.0.0.5:8482", 3, 2, "TPU VM")
    slices = {"COORDINATOR_ADDRESS": "10.0.0.1:8080", "NUM_SLICES": "2", "SLICE_ID": "1"}
    metadata["tpu-env"] = "ZONE: 'z'\n" + "".join(f"MEGASCALE_{k}: '{v}'\n" for k, v in slices.items())
    assert find(NONE, asked) == Place("10.0.0.1:8482", 6, 5, "TPU VM")
    with pytest.raises(UserError, match="MEGASCALE_SLICE_ID: '0' in the environment, 1 in this VM"):
        find(NONE, {**asked, "MEGASCALE_SLICE_ID": "0"})
    assert find(NONE, {**asked, "TPU_SKIP_MDS_QUERY": "1"}) is None
