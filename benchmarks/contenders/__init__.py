"""The contenders, one file for each family. Nothing of a family is imported before its process needs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ..workload import FULL_SIZE, SIZE, Work


class Model(Protocol):
    """A loaded contender."""

    def answer(self, images: Sequence[bytes], works: Sequence[Work]) -> list[int]:
        """Answers every work about every image; returns how many tokens each answer has, in any order."""
        ...


class Family(Protocol):
    """A module of this package."""

    def prepare(self, contender: "Contender", checkpoint: Path, out: Path) -> None:
        """Writes what `load` reads into the empty folder `out`. Takes minutes, and runs once."""
        ...

    def load(self, contender: "Contender", folder: Path, checkpoint: Path, threads: int) -> Model:
        """What a server would do at its start."""
        ...


@dataclass(frozen=True)
class Contender:
    """One line of the table."""

    name: str
    label: str
    family: str  # the module's name
    packages: tuple[str, ...]  # whose closure must be installed to serve it
    size: int = SIZE  # pixels a side
    form: str = ""  # for the family, which tells its members apart by it
    rounds: int | None = None  # as many as asked for, or these: the slow ones
    captions_only: bool = False
    own_files: bool = True  # `prepare` writes files; else the checkpoint itself is served

    @property
    def folder(self) -> str:
        """The name of the folder with its files."""
        return f"{self.name}-{self.size}" if self.own_files else CHECKPOINT

    def at(self, size: int) -> "Contender":
        """The same for pictures of `size` pixels."""
        return replace(self, size=size)

    def module(self) -> Family:
        """Imports the family."""
        return cast(Family, import_module(f"{__name__}.{self.family}"))


RECIPE, SELF, CHECKPOINT = "recipe", "ours", "checkpoint"
_TORCH = ("torch", "transformers", "tokenizers", "pillow")
_ONNX = ("onnxruntime", "tokenizers", "pillow")
_OPENVINO = ("openvino", "tokenizers", "pillow")
_OURS = (
    "aws-lambda-powertools",
    "awslambdaric",
    "boto3",
    "cachetools",
    "fastapi",
    "mangum",
    "numpy",
    "onnxruntime",
    "pillow",
    "pydantic",
    "python-multipart",
    "shtab",
    "snapshot-restore-py",
    "tokenizers",
    "tqdm",
    "uvicorn",
)

CONTENDERS = (
    Contender(
        "start", "transformers fp32, 768 px, 3 beams", "torch_", _TORCH, FULL_SIZE, "beams", rounds=2, own_files=False
    ),
    Contender(RECIPE, "torch quantize_dynamic int8", "torch_", _TORCH, form="int8", own_files=False),
    Contender("torch-fp32", "transformers fp32", "torch_", _TORCH, form="fp32", own_files=False),
    Contender("torch-bf16", "transformers bf16", "torch_", _TORCH, form="bf16", own_files=False),
    Contender("compile", "torch.compile fp32", "torch_", _TORCH, form="compile", rounds=2, own_files=False),
    Contender("blip", "BLIP-base, transformers fp32", "blip", _TORCH, captions_only=True),
    Contender("exported", "ONNX Runtime, exporter's graphs, int8", "exported", _ONNX),
    Contender("openvino", "OpenVINO, NNCF int8", "openvino_", _OPENVINO),
    Contender(SELF, "florence-lambda, over HTTP", "ours", _OURS),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
