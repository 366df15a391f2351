"""The README and the Makefile against the tree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_every_path_of_the_tree_is_there() -> None:
    tree = README.split("## The house")[1].split("```")[1]
    parent, named = ROOT, 0
    for line in tree.strip().splitlines():
        path = line.split()[0]
        parent = parent if line.startswith("  ") else ROOT
        assert (parent / path).is_dir(), path
        named += 1
        if not line.startswith("  "):
            parent = ROOT / path
    assert named > 8


def test_every_make_target_that_is_named_exists() -> None:
    texts = [README, *(path.read_text() for path in (ROOT / "docs").rglob("*.md"))]
    named = {
        target for text in texts for target in re.findall(r"`?\bmake ([a-z-]+)\b(?=[^a-z]*`| +#| BASE|\n```)", text)
    }
    assert {"run", "test", "artifact", "mini", "pretrain", "figures"} <= named
    for target in named:
        subprocess.run(["make", "--dry-run", target, "BASE=x"], cwd=ROOT, check=True, capture_output=True)


def test_every_file_of_the_diagrams_is_there() -> None:
    diagrams = re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
    named = {path for diagram in diagrams for path in re.findall(r"\b[\w/]+\.py\b", diagram)}
    parts = [ROOT / part for part in ("handler", "handler/florence", "build", "training")]
    assert {path for path in named if not any((part / path).is_file() for part in parts)} == set()
    folders = {path for diagram in diagrams for path in re.findall(r"\b(\w+)/(?=[\]<\"])", diagram)}
    assert {path for path in folders if not any((part / path).is_dir() for part in parts)} == set()
    assert len(diagrams) == 5
    assert len(named) > 25


def test_every_link_leads_somewhere() -> None:
    """To a file, and where it names a heading, to that (as GitHub makes anchors of them)."""
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    checked = 0
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in link:
                continue
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page.name}: {link}"
            checked += 1
    assert checked > 10


OLD_PYTHON = """#!/bin/sh
exec {} -c 'import sys; sys.version_info, sys.version = (3, 10, 4), "3.10.4 (main)"; exec(sys.argv[1])' "$2"
"""


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (OLD_PYTHON, "Python 3.11 or later is needed, and ./python is 3.10.4; name another: make run PYTHON="),
        ('#!/bin/sh\n[ "$1" != -m ] || { mkdir -p .venv/bin; touch .venv/bin/python; exit 1; }\n', "Error 1"),
    ],
    ids=["too old", "without venv"],
)
def test_an_environment_that_cannot_be_made_leaves_none_behind(tmp_path: Path, python: str, said: str) -> None:
    """Debian's python3 makes half of one, and says that the package python3-venv is missing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "python").write_text(python.replace("{}", sys.executable))
    (tmp_path / "python").chmod(0o755)
    run = subprocess.run(["make", "run", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert said in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_artifact_of_nothing_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    run = subprocess.run(["make", "artifact"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    command = re.findall(r"^make artifact .*$", README, re.MULTILINE)[0]
    assert run.stderr.startswith(f"Name a checkpoint: {command}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
