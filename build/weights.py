"""Tensor files on disk -> tensors: one safetensors file or one PyTorch pickle, whole or in shards.

Pickles are opened with `weights_only=True`: nothing in them is run. Does not know any tensor's name.
"""

import hashlib
import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .errors import WeightsError


def find(directory: Path, stems: tuple[str, str]) -> list[Path]:
    """The files that hold the tensors; none if there are none.

    `stems` are the names without suffix of the safetensors file and of the pickle: ("model", "pytorch_model") finds
    `model.safetensors`, else `model.safetensors.index.json` and its shards, else the same of `pytorch_model.bin`.
    Raises `WeightsError` for an index that cannot be read or that names a shard which is not there.
    """
    for stem, suffix in zip(stems, (".safetensors", ".bin"), strict=True):
        whole = directory / f"{stem}{suffix}"
        if whole.is_file():
            return [whole]
        index = directory / f"{stem}{suffix}.index.json"
        if index.is_file():
            return _shards(index)
    return []


def read(files: list[Path]) -> dict[str, torch.Tensor]:
    """All tensors of `files`, in the types they are stored in.

    Raises `WeightsError` for a file that cannot be read or holds anything but tensors, and for a name found twice.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        for name, tensor in _read_one(file).items():
            if name in tensors:
                raise WeightsError(f"{file} holds {name}, which another shard holds too.")
            tensors[name] = tensor
    return tensors


def sha256(files: list[Path]) -> dict[str, str]:
    """The hash of each file, in hex, by the file's name."""
    hashes = {}
    for file in files:
        with file.open("rb") as stream:
            hashes[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of shards: {error!r}.") from error
    shards = [index.with_name(Path(name).name) for name in names]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise WeightsError(f"{index} names shards that are not beside it: {', '.join(missing)}.")
    return shards


def _read_one(file: Path) -> dict[str, torch.Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise WeightsError(
            f"{file} ({file.stat().st_size} bytes) cannot be read as weights: {reason.rstrip('.')}. "
            "Is it cut short, or a Git LFS pointer?"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{file} holds more than named tensors.")
    return content
