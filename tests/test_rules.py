"""The rules of these tests: nothing from the network, and nothing skipped in CI."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.parametrize("address", ["http://huggingface.co/", "http://1.1.1.1/"])
def test_the_network_is_closed_to_tests(address: str) -> None:
    with pytest.raises(RuntimeError, match="a test asks the network for"):
        urllib.request.urlopen(address, timeout=1)


def test_this_machine_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass


@pytest.mark.parametrize(("ci", "code", "outcome"), [("true", 1, "1 error"), ("", 0, "1 skipped")])
def test_without_the_reference_data_a_test_says_so_and_fails_in_ci(
    tmp_path: Path, ci: str, code: int, outcome: str
) -> None:
    absent = tmp_path / "nowhere"
    test = "tests/test_florence_tasks.py::test_the_table_is_microsofts"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "REFDATA_DIR": str(absent), "CI": ci},
        capture_output=True,
        text=True,
    )
    assert run.returncode == code, run.stdout
    assert outcome in run.stdout
    assert f"the reference data is not at {absent} (set REFDATA_DIR)" in " ".join(run.stdout.split())
