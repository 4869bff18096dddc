"""What several hosts found in a stage, as one result."""

from rstar_jax.evolve.joint_results import together
from rstar_jax.report import results


def one(device: float, generated: int, occupancy: float, **more):
    return {
        "layers": {"seccomp": "on", "namespaces": "on"},
        "rereading": "",
        "seconds": {"device": device, "sandbox": 1.0},
        "tokens": generated + 1,
        "engine": {
            "devices": 4,
            "attention": "pages",
            "pages": 100,
            "generated": generated,
            "occupancy": occupancy,
            "compile_seconds": 3.0,
            "ppm": {"pages": 7, "reused": generated},
        },
        **more,
    }


def test_one_host_s_result_is_its_own():
    alone = one(2.0, 10, 0.5)
    assert together([alone]) is alone


def test_counts_are_added_and_clocks_averaged():
    found = together([one(2.0, 10, 0.5), one(4.0, 30, 0.9)])
    assert found["seconds"] == {"device": 3.0, "sandbox": 1.0} and found["tokens"] == 42
    engine = found["engine"]
    assert (engine["devices"], engine["pages"], engine["generated"], engine["attention"]) == (
        8,
        200,
        40,
        "pages",
    )
    assert engine["occupancy"] == 0.8 and engine["compile_seconds"] == 3.0
    assert engine["ppm"] == {"pages": 14, "reused": 40}
    # Device seconds of all devices, as costs are told: those of the hosts added up.
    assert found["seconds"]["device"] * engine["devices"] == 4 * 2.0 + 4 * 4.0
    results.SearchResult(problems=1, trees=1, **found)


def test_where_hosts_differ_it_is_told():
    other = one(1.0, 1, 1.0, layers={"seccomp": "on", "namespaces": "off"}, rereading="raise it")
    found = together([one(1.0, 1, 1.0), other, other])
    assert found["layers"] == {"seccomp": "on", "namespaces": "on on 1 of 3 hosts; off on 2 of 3 hosts"}
    assert found["rereading"] == "raise it"


def test_what_a_server_was_asked_by_all():
    def asked(requests, busy):
        return {"server": "http://h/v1", "model": "m", "requests": requests, "slots": 8, "slots_busy": busy}

    server = {"layers": {}, "rereading": "", "seconds": {}, "tokens": 0}
    found = together([{**server, "served": asked(3, 2.5)}, {**server, "served": asked(4, None)}])
    assert found["served"] == {
        "server": "http://h/v1",
        "model": "m",
        "requests": 7,
        "slots": 16,
        "slots_busy": 2.5,
    }
    assert "engine" not in found
