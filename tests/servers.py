"""The real server in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from conftest import ROOT
from fakes import COMMAND_LINE

STAND_IN = (sys.executable, "-W", "error", "-c", COMMAND_LINE)


@contextmanager
def serving(
    *options: str, program: Sequence[str] = STAND_IN, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], list[str], str]]:
    """A server, the lines it printed before it was ready, and its address."""
    pipe = subprocess.PIPE
    command = [*program, "serve", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.startswith("Serving at "):
                    break
            assert lines, process.stderr and process.stderr.read()
            yield process, lines, lines[-1].split()[2]
        finally:
            process.terminate()
