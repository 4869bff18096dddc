"""What a script in another process says reaches the test, above all that it failed."""

import pytest

from tests.on_devices import printed


def test_a_script_that_fails_fails_its_test_with_what_it_said(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(os.environ['XLA_FLAGS'][-2:], *sys.argv[1:])\n")
    assert printed(str(script), "a", 1, devices=12) == "12 a 1\n"
    script.write_text("print('so far')\nraise SystemExit('but no further')\n")
    with pytest.raises(AssertionError, match="so far\nbut no further"):
        printed(str(script))
