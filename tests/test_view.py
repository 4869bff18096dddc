"""The job: what is no run is refused, and Ctrl-C ends it."""

import contextlib
import http.client
import signal
import subprocess
import sys

import pytest

from rstar_jax.errors import UserError
from rstar_jax.view import ViewSettings, run
from tests.report.viewer import some_run


def test_a_folder_without_trees_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run(ViewSettings(), tmp_path / "none")
    with pytest.raises(UserError, match="no tree there"):
        run(ViewSettings(), tmp_path)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(port):
    with pytest.raises(UserError, match=f"config.port: {port} given"):
        ViewSettings(port=port)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_serves_until_it_is_stopped(tmp_path, name):
    some_run.make(tmp_path)
    command = [sys.executable, "-m", "rstar_jax.launch", "--config=view", f"--workdir={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process, contextlib.ExitStack() as end:
        end.callback(process.kill)
        said = process.stdout.readline()
        port = int(said.split("http://127.0.0.1:")[1].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/problems")
        assert connection.getresponse().status == 200  # and stays open
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
