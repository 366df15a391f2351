"""What every test may use."""

import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from fakes import FakePredictor
from needs import missing
from starlette.testclient import TestClient

from handler import telemetry
from handler.api import create_app
from handler.florence.tokenizer import Tokenizer, complete

# The fixtures of the tests that open a page, that need buckets, that compare CPUs, and that run the function under the
# emulator.
pytest_plugins = ("browser", "buckets", "elsewhere", "emulator")

# transformers and huggingface_hub must never try the network from a test.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """No test needs the network: names are not looked up, and only this machine and its containers are connected to."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return
    try:
        outside = ipaddress.ip_address(host).is_global
    except ValueError:  # a name
        outside = True
    if outside:
        raise RuntimeError(f"a test asks the network for {host}")


sys.addaudithook(_stay_on_this_machine)


class _Stdout:
    """Where stdout is at the moment: pytest moves it for each test."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@pytest.fixture(scope="session", autouse=True)
def log() -> None:
    """The function's logger keeps the stdout of its import, which is closed when the tests begin."""
    telemetry.logger.handlers[0].stream = _Stdout()


@pytest.fixture(scope="session")
def refdata() -> Path:
    """Public reference data beside the checkout (vectors, photographs, hostile files); not part of the project.

    Set REFDATA_DIR to a copy elsewhere.
    """
    path = Path(os.environ.get("REFDATA_DIR", ROOT.parent / "shared" / "refdata"))
    if not path.is_dir():
        missing(f"the reference data is not at {path} (set REFDATA_DIR)")
    return path


@pytest.fixture(scope="session")
def library(refdata: Path) -> tokenizers.Tokenizer:
    """The checkpoint's bare BART tokenizer of 50,265 tokens, completed."""
    bare = tokenizers.Tokenizer.from_file(str(refdata / "florence2_tokenizer" / "tokenizer.json"))
    complete(bare)
    return bare


@pytest.fixture(scope="session")
def tokenizer(library: tokenizers.Tokenizer) -> Tokenizer:
    """Florence-2's own, as it is served."""
    return Tokenizer(library)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch on one thread, as tiny models want it: on a busy machine two wait for each other, four times as long."""
    import torch  # seconds that the tests of the server do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture
def fake(predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    """The same, as the command line's model."""
    monkeypatch.setattr("handler.florence.predictor.Predictor", lambda *_: predictor)
    return predictor


@pytest.fixture
def client(predictor: FakePredictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor), raise_server_exceptions=False) as client:
        yield client
