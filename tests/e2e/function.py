"""The image under Lambda's Runtime Interface Emulator, confined as Lambda confines it: another user than root, a file
system that cannot be written but for /tmp, no rights, memory and cores by the function's size, no network or only one
that leads nowhere but to this machine.
"""

import json
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from .engine import docker

MEMORY = 3538  # MB: two cores on Lambda
TIMEOUT = 29  # seconds
USER = "993:990"  # Lambda's own, as far as is known

# Runs inside, where the emulator listens on the loopback: so that the function needs no network.
_POST = """
import sys, urllib.request
address = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
with urllib.request.urlopen(address, sys.stdin.buffer.read(), timeout=120) as answer:
    sys.stdout.buffer.write(answer.read())
"""


class Failed(Exception):
    """The invocation ended with an error or ran out of time; the message is what Lambda's caller sees."""


@dataclass
class Function:
    """One execution environment. Its first invocation is a cold start."""

    image: str
    emulator: Path
    network: str = "none"
    environment: dict[str, str] = field(default_factory=dict)
    memory: int = MEMORY
    cores: float = 2
    shares: int = 1024  # of the cores, against others that want them too
    name: str = field(default_factory=lambda: f"florence-{uuid4().hex[:12]}")
    started: float = 0  # a time of `time.monotonic`

    def __enter__(self) -> "Function":
        environment = {
            "AWS_LAMBDA_FUNCTION_NAME": "florence",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "FLORENCE_CACHE_MB": "0",  # the same is asked again
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **self.environment,
        }
        config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", self.image))
        self.started = time.monotonic()
        docker(
            *("run", "--detach", "--name", self.name, "--network", self.network),
            *("--read-only", "--tmpfs", "/tmp:rw,size=512m,mode=1777"),
            *("--user", USER, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--memory", f"{self.memory}m", "--cpus", str(self.cores)),
            # Docker's own group has as many shares as any process: beside it these count against all others.
            *("--cpu-shares", str(self.shares), "--cgroup-parent", "/"),
            *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
            *("--volume", f"{self.emulator}:/emulator:ro", "--entrypoint", "/emulator"),
            *(self.image, *config["Entrypoint"], *config["Cmd"]),
        )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        docker("rm", "--force", self.name)

    def invoke(self, event: Any) -> Any:
        """What the handler returns for `event`. Raises `Failed`."""
        post = ("exec", "--interactive", self.name, "python3", "-c", _POST)
        said = docker(*post, stdin=json.dumps(event).encode(), check=False)  # a start that failed is a 502
        try:
            answer = json.loads(said)
        except ValueError:
            raise Failed(f"{said}\n{self.log()}") from None
        if isinstance(answer, dict) and "errorType" in answer:
            raise Failed(f"{answer['errorType']}: {answer.get('errorMessage')}")
        return answer

    def log(self) -> str:
        """All that the emulator and the function wrote."""
        done = subprocess.run(
            ["docker", "logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        )
        return done.stdout.decode()

    def init_seconds(self) -> float:
        """How long the handler's import took, by the emulator's report."""
        return float(re.findall(r"INIT REPORT\(durationMs: ([\d.]+)", self.log())[0]) / 1000

    def peak_megabytes(self) -> float:
        """The most memory that the runtime's process has taken, in 10^6 bytes."""
        status = docker("exec", self.name, "sh", "-c", "cat /proc/[0-9]*/status")
        return max(int(kilobytes) for kilobytes in re.findall(r"VmHWM:\s+(\d+) kB", status)) * 1024 / 1e6

    def _wait(self) -> None:
        """Until the emulator listens (port 8080 is 1F90 in /proc). It starts the function at the first invocation."""
        until = time.monotonic() + 20
        while "1F90" not in docker("exec", self.name, "sh", "-c", "cat /proc/net/tcp /proc/net/tcp6", check=False):
            if time.monotonic() > until:
                raise Failed(f"the emulator does not listen:\n{self.log()}")
            time.sleep(0.05)
