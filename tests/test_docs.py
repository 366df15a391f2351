"""The README and the Makefile against the tree."""

import re
import subprocess

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
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
