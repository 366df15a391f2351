"""The function under Lambda's Runtime Interface Emulator, without a container: AWS's own runtime client calls it.

The emulator's habits: two requests at once crash it; an error of the handler is HTTP 200 with `errorType`, a time-out
plain text; it starts the function at the first invocation.
"""

import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from needs import missing

HANDLER = "handler.entrypoint.handle"
MEMORY = 3538  # MB: two cores on Lambda


class Failed(Exception):
    """The invocation ended with an error or ran out of time; the message is what Lambda's caller sees."""


@dataclass
class Function:
    """One execution environment."""

    address: str
    log_file: Path
    process: subprocess.Popen[bytes]

    def invoke(self, event: Any) -> Any:
        """What the handler returns for `event`. Raises `Failed`."""
        body = json.dumps(event).encode()
        try:
            with urllib.request.urlopen(self.address, body, timeout=60) as answer:
                said = answer.read().decode()
        except urllib.error.HTTPError as error:  # 502: the import failed
            said = error.read().decode()
        try:
            returned = json.loads(said)
        except ValueError:
            raise Failed(said) from None
        if isinstance(returned, dict) and "errorType" in returned:
            raise Failed(f"{returned['errorType']}: {returned.get('errorMessage')}")
        return returned

    def log(self) -> str:
        """All that the emulator and the function wrote."""
        return self.log_file.read_text()

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The function's own lines with this message."""
        found = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in found if line.get("message") == message]

    def init_seconds(self) -> float:
        """How long the handler's import took, by the emulator's report."""
        return float(re.findall(r"INIT REPORT\(durationMs: ([\d.]+)", self.log())[0]) / 1000


@pytest.fixture(scope="session")
def emulator() -> Path:
    """Out of SAM's package."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    where = f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    found = next((ROOT / ".venv-sam").glob(where), None)
    if found is None:
        missing("Lambda's emulator is not there: make .venv-sam/stamp")
    found.chmod(0o755)
    return found


@contextmanager
def running(
    emulator: Path, log_file: Path, handler: str = HANDLER, timeout: int = 29, **environment: str
) -> Iterator[Function]:
    """The function with these further variables; `timeout` in seconds. It ends with the block."""
    port, other = _free_port(), _free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = {
        "AWS_LAMBDA_FUNCTION_NAME": "florence",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "FLORENCE_ARTIFACT": str(ROOT / "models" / "mini"),
        "FLORENCE_CACHE_MB": "0",  # tests ask the same again
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(emulator), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
                *("--runtime-api-address", f"127.0.0.1:{other}"),
                *(sys.executable, "-m", "awslambdaric", handler),
            ],
            cwd=log_file.parent,  # where Lambda starts it is not where the code is
            env=kept | given | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(port, process, log_file)
        yield Function(f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", log_file, process)
    finally:
        process.terminate()  # the emulator ends the function that it started
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log_file: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the emulator does not listen:\n{log_file.read_text()}")
