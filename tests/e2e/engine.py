"""A Docker engine: the one that runs, or where CI=true one that is installed, started and in the end stopped."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("docker.io", "mmdebstrap")
STARTS = 60  # seconds at most


class NoEngine(Exception):
    """There is none, and none may be started here. The message says how to get one."""


def docker(*arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
    """What `docker` printed on stdout. Raises `CalledProcessError`, its stderr shown, if it fails and `check`."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=600)
    if check and done.returncode:
        print(done.stdout.decode(), done.stderr.decode())
        done.check_returncode()
    return done.stdout.decode().strip()


@contextmanager
def running(log: Path) -> Iterator[None]:
    """An engine while the block runs; its log goes to `log` if it is started here. Raises `NoEngine`."""
    if _answers():
        yield
        return
    if os.environ.get("CI") != "true":
        raise NoEngine("No Docker engine answers. Start one (as root: `dockerd &`), or set CI=true to have that done.")
    if not shutil.which("dockerd") or not shutil.which("mmdebstrap"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)
    with log.open("wb") as output:
        server = subprocess.Popen(["dockerd"], stdout=output, stderr=output, start_new_session=True)
    try:
        until = time.monotonic() + STARTS
        while not _answers():
            if server.poll() is not None or time.monotonic() > until:
                raise NoEngine(f"dockerd did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield
    finally:
        server.terminate()
        server.wait(timeout=60)


def _answers() -> bool:
    try:
        return subprocess.run(["docker", "version"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        return False
