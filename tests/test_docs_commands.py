"""Every command of the README and the docs, run as it stands there.

The `sh` blocks of each page are run line by line, in a copy of the project of the page's own. What cannot stand as it
is written has a stand-in in the tables below; a command that is in none of them fails: give it a place.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import checkpoints
import pytest
import training_runs
from conftest import ROOT
from peft import LoraConfig, get_peft_model
from PIL import Image

# PEFT asks transformers by its former name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WITH_COMMANDS = [page for page in PAGES if "```sh\n" in page.read_text()]
ADDRESS = "http://127.0.0.1:8080"  # in the pages; here the port is free
# Of fenced blocks; commands stand in `sh` alone, and test_docs_clients runs the programs of docs/api.md.
LANGUAGES = {"", "javascript", "json", "mermaid", "python", "sh", "yaml"}

RUN = (  # to the end; exit code 0
    *("curl", "printf", "python -m handler", "make artifact"),
    *("python -m training.train", "python -m training.evaluate", "python -m training.report"),
    *("python -m training.estimate", "python -m build", "python -m accelerate.commands.launch"),
)
SERVE = ("make run", "python -m handler serve")  # until they answer
ACTIVATE = "source .venv/bin/activate"  # without it a reader's shell has no packages, nor have the commands here
DRY_RUN = {  # `make` says what it would do
    "make test": "these tests",
    "make check": "lint and types, which stand beside the tests in CI",
    "make mini": "test_build_main holds the committed miniature to what this builds",
    "make pretrain": "75 minutes",
    "make figures": "500 pictures",
    "make train": "test_training_proof makes it on a smaller scale",
    "make proof": "the same on the full scale",
    "make bench": "a quarter of an hour, and an environment of its own",
    "make image": "tests/e2e builds it",
    "make invoke": "tests/e2e runs it",
    "make deploy": "needs an account of AWS",
}
ON_AWS = ("aws", "curl --aws-sigv4", ".venv-sam/bin/sam delete")  # test_docs_deploy holds them to AWS's description
FLORENCE = "5ca5edf5bd017b9919c05d08aebef5e4c7ac3bac"  # the hub's commit
STAND_INS = {  # {base} and {adapter} are tiny and random, so that the gate can only report; {world} is 24 pictures
    f"BASE=microsoft/Florence-2-base REVISION={FLORENCE}": "BASE='{base} --size 96 --gate report'",
    "ADAPTER=path/to/adapter": "ADAPTER={adapter}",
    "florence-community/Florence-2-base --revision COMMIT": "models/mini-checkpoint",
    "path/to/coco": "{world}",
    "size 384": "size 128",
    "--num_processes 2": "--num_processes 1",  # test_training_resume runs two
}
LOCAL = (".*", "__pycache__", "artifacts", "node_modules", "output", "runs")  # no part of the project


def commands(text: str) -> list[str]:
    """The commands of a page's `sh` blocks: a line each, without comments and continuations."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [command for line in lines if (command := re.sub(r"(^|\s)#.*", "", line).strip())]


def is_one_of(command: str, known: tuple[str, ...]) -> bool:
    """The command begins with the words of one of these."""
    words = shlex.split(command)
    return any(words[: len(one.split())] == one.split() for one in known)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stand-ins")
    model = checkpoints.save_native(folder / "base")
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, settings).save_pretrained(str(folder / "adapter"))
    world = training_runs.write_world(folder / "world")
    return {"base": str(folder / "base"), "adapter": str(folder / "adapter"), "world": str(world)}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the miniature."""
    with serving(f"exec {shlex.quote(sys.executable)} -m handler serve --port 0", ROOT) as (_, address):
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project as a reader has it: its environment made, a photograph at hand, no artifact built."""
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LOCAL))
    (copy / ".venv").symlink_to(sys.prefix)
    Image.open(ROOT / "handler" / "page" / "samples" / "shapes-2.png").convert("RGB").save(copy / "photo.jpg")
    return copy


def environment(project: Path) -> dict[str, str]:
    """A reader's, whatever environment the tests were started in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLORENCE_", "VIRTUAL_ENV"))}
    ours = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(folder for folder in kept["PATH"].split(os.pathsep) if folder != ours)
    return kept | ({"FLORENCE_ARTIFACT": "models/mini"} if project == ROOT else {})


def run(command: str, project: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout or done.stderr  # of a command that writes to a file


@contextmanager
def serving(command: str, project: Path) -> Iterator[tuple[str, str]]:
    """A server in the background: what it printed until it said its address, and the address."""
    server = subprocess.Popen(
        ["bash", "-c", command],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert server.stdout
    try:
        printed = ""
        for line in server.stdout:
            printed += line
            if found := re.match(r"Serving at (\S+)", line):
                yield printed, found[1]
                break
        else:
            pytest.fail(f"{command} ended:\n{printed}")
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.communicate(timeout=20)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_every_command_of_the_page(page: Path, project: Path, address: str, stand_ins: dict[str, str]) -> None:
    before = ""
    for written in commands(page.read_text()):
        if written == ACTIVATE:
            before = f"{ACTIVATE}; "
            continue
        command = written.replace(ADDRESS, address)
        for text, stand_in in STAND_INS.items():
            command = command.replace(text, stand_in.format(**stand_ins))
        if is_one_of(command, ON_AWS):
            continue
        if is_one_of(command, SERVE):
            option = "PORT=0" if command.startswith("make") else "--port 0"
            with serving(f"{before}exec {without_pip(command)} {option}", project) as (printed, served):
                built = (project / "artifacts" / "current").exists() and "models/mini" not in command
                assert ("current (int8)" if built else "florence-2-mini (int8)") in printed
                run(f"curl --fail --silent {served}/ready", project)
        elif is_one_of(command, tuple(DRY_RUN)):
            run(f"{command} --dry-run", project)
        elif is_one_of(command, RUN):
            command = without_pip(command).replace("curl ", "curl --fail-with-body --no-progress-meter ")
            said = run(before + command, project)
            assert said.strip(), written
        else:
            pytest.fail(f"{page.name}: `{written}` is in none of the tables of {Path(__file__).name}")


def without_pip(command: str) -> str:
    """The same with `make` taking the environment for made."""
    return re.sub(r"^make\b", "make --old-file=.venv/run.stamp --old-file=.venv/dev.stamp", command)


def test_commands_are_read_as_a_shell_reads_them() -> None:
    page = (
        "```sh\nmake run  # serve\n# nothing\n\ncurl \\\n  http://x/#y\n```\ntext\n```json\n{}\n```\n```sh\nls\n```\n"
    )
    assert commands(page) == ["make run", "curl    http://x/#y", "ls"]
    assert is_one_of("make run PORT=1", SERVE)
    assert not is_one_of("make runs", SERVE)
    assert not is_one_of("python -m handlers", RUN)


def test_no_command_hides_in_a_block_of_another_language() -> None:
    found = 0
    for page in PAGES:
        fences = re.findall(r"^\s*```(.*)$", page.read_text(), re.MULTILINE)
        assert len(fences) % 2 == 0, page
        assert set(fences) <= LANGUAGES, page
        found += len(commands(page.read_text()))
    assert found >= 9
