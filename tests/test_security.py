"""SECURITY.md is true: the tests it names are there, its figures are those of the last long run; and what no other test
holds: what may be imported, and who may read an answer."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torture
from conftest import ROOT
from fastapi.testclient import TestClient

from build.__main__ import main
from handler.florence import artifact
from handler.florence.errors import ArtifactError
from handler.florence.predictor import Predictor

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)


def test_many_tests_are_named() -> None:
    assert len(set(NAMED)) > 30


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_a_named_test_is_there(file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\b" if name else r"^def test_", source, re.MULTILINE), f"{file}::{name}"


def test_the_figures_are_those_of_the_last_long_run() -> None:
    """`make torture` writes both."""
    assert torture.table(json.loads(torture.FIGURES.read_text())) in TEXT


def test_every_attack_has_its_figures() -> None:
    attacks = {path.stem.removeprefix("test_torture_") for path in (ROOT / "tests").glob("test_torture_*.py")}
    assert set(json.loads(torture.FIGURES.read_text())) == attacks | {"overload"}


def test_nothing_that_runs_can_read_a_pickle() -> None:
    """Not by the code that ships. (Pillow and NumPy could; nothing here asks them to.)"""
    for path in (ROOT / "handler").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(pickle|marshal|shelve|dill|joblib)\b|allow_pickle|\b(eval|exec)\(", source), path
    script = "import sys, handler.entrypoint; assert not {'torch', 'joblib', 'dill', 'shelve'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_torch_reads_pickles_as_tensors_alone() -> None:
    asked = 0
    for package in ("build", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for call in re.findall(r"torch\.load\(.*", path.read_text(encoding="utf-8")):
                assert "weights_only=True" in call, path
                asked += 1
    assert asked


@pytest.mark.parametrize("path", ["/caption", "/health", "/", "/uploads", "/openapi.json"])
def test_no_other_origin_may_read_an_answer(client: TestClient, path: str) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.options(path, headers=origin), client.get(path, headers=origin)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_pages_forbid_what_they_do_not_need(client: TestClient) -> None:
    for path in ("/", "/docs"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "geolocation=()" in headers["permissions-policy"]


def test_no_key_is_kept_or_compared_here() -> None:
    """AWS checks who asks before anything here runs. Whoever adds a key compares it by `secrets.compare_digest`."""
    for path in (ROOT / "handler").rglob("*.py"):
        assert not re.search("authorization|password|api.?key", path.read_text(encoding="utf-8"), re.IGNORECASE), path


@pytest.mark.slow
def test_a_file_of_another_build_is_refused(tmp_path: Path) -> None:
    """The fp32 artifact of the same checkpoint: every file is whole, and belongs elsewhere."""
    other = tmp_path / "other"
    options = ["--size", "128", "--precision", "fp32", "--gate", "report"]
    assert main(["--base", str(ROOT / "models" / "mini-checkpoint"), "--out", str(other), *options]) == 0
    for name in (artifact.WEIGHTS, artifact.DECODER, artifact.ENCODER, artifact.VISION):
        copy = Path(shutil.copytree(ROOT / "models" / "mini", tmp_path / name))
        shutil.copy(other / name, copy / name)
        with pytest.raises(ArtifactError, match=re.escape(name)):
            Predictor(copy)
        # A manifest that was made to agree hides it from the hashes: then the graphs, or the answers, tell.
        raw = json.loads((copy / artifact.MANIFEST).read_text())
        raw["files"][name] = json.loads((other / artifact.MANIFEST).read_text())["files"][name]
        (copy / artifact.MANIFEST).write_text(json.dumps(raw))
        with pytest.raises(ArtifactError, match=re.escape(name)):
            Predictor(copy).self_test()
