"""ONNX Runtime sessions over an artifact: arrays and token ids in, arrays out.

Knows nothing about text, tasks or how the next token is chosen.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from . import artifact
from .embedding import Embedding
from .errors import ArtifactError

MEGABYTES_A_CORE = 1769  # Lambda grants one vCPU for each 1,769 MB of memory


def default_threads() -> int:
    """Threads for the memory that Lambda grants; elsewhere the cores that this process may use."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory:
        return max(1, round(int(memory) / MEGABYTES_A_CORE))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# It makes a sum and its LayerNormalization one operator, which takes four times as long as the two: 0.24 ms for
# [155, 768] instead of 0.05, 3.6 µs for a single row instead of 1.3 (AVX-512).
_SLOW_FUSION = "SkipLayerNormFusion"

_set_up = False


def _share(threads: int) -> None:
    """Threads and memory that all sessions of this process share, set up once: they run in turn. At the full size on
    two cores, with threads and an arena for each session, a start took 0.3 s more processor time (idle threads look for
    work) and 30 MB more.
    """
    global _set_up
    if _set_up:
        return
    _set_up = True
    onnxruntime.set_global_thread_pool_sizes(threads, 1)
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({}))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # it lays out each run's memory anew beside the arena's: 80 MB, and no faster
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@dataclass(frozen=True)
class Memory:
    """What the encoder tells the decoder: for each layer keys and values float32 [B, h, M, d / h], and which of the M
    places are there, int32 [B, M]."""

    keys: list[np.ndarray]
    values: list[np.ndarray]
    mask: np.ndarray

    def rows(self, index: np.ndarray) -> "Memory":
        """The rows at `index`, in that order, repeated as often as it says."""
        return Memory([k[index] for k in self.keys], [v[index] for v in self.values], self.mask[index])


@dataclass(frozen=True)
class Cache:
    """The decoder's own keys and values so far: for each layer float32 [B, h, P, d / h]."""

    keys: list[np.ndarray]
    values: list[np.ndarray]

    def rows(self, index: np.ndarray) -> "Cache":
        """The rows at `index`, in that order."""
        return Cache([k[index] for k in self.keys], [v[index] for v in self.values])


class Engine:
    """The sessions of one artifact. Safe to call from one thread at a time."""

    def __init__(self, directory: Path, manifest: artifact.Manifest, threads: int | None = None) -> None:
        """`threads`: what all engines of this process compute with; the first settles it. Raises `ArtifactError` if
        ONNX Runtime cannot load a graph."""
        _share(threads or default_threads())

        def session(name: str) -> onnxruntime.InferenceSession:
            path = directory / name
            try:
                return onnxruntime.InferenceSession(
                    str(path), _options(), providers=["CPUExecutionProvider"], disabled_optimizers=[_SLOW_FUSION]
                )
            except Exception as error:  # the library's errors have no common base
                raise ArtifactError(f"{path} cannot be loaded: {error}. Build the artifact again.") from error

        self._vision, self._encoder = session(artifact.VISION), session(artifact.ENCODER)
        self._decoder = session(artifact.DECODER)
        width = manifest.decoder_heads * manifest.head_width
        self._embedding = Embedding(directory / artifact.WEIGHTS, width)
        self._layers = range(manifest.decoder_layers)
        self._cache_shape = (manifest.decoder_heads, 0, manifest.head_width)

    def see(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [1, 3, S, S] -> image features float32 [1, T, d]. Any S will do; the manifest's is what the graph's
        parts are cut for."""
        features: np.ndarray = self._vision.run(["features"], {"pixels": pixels})[0]
        return features

    def encode(self, features: np.ndarray, prompts: list[list[int]]) -> Memory:
        """Image features [1, T, d] and N prompts' ids -> memory of N rows, padded to the longest."""
        names = [f"memory_{kind}_{i}" for i in self._layers for kind in ("key", "value")]
        made = [
            self._encoder.run(names, {"features": features, "words": self._embedding.look_up(np.array([prompt]))})
            for prompt in prompts
        ]
        lengths = [row[0].shape[2] for row in made]
        longest = max(lengths)
        mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int32)

        if len(made) > 1:
            # Each is let go of as it is copied.
            made = [[_stacked([row.pop(0) for row in made], longest) for _ in names]]
        both = made[0]
        return Memory(both[::2], both[1::2], mask)

    def start(self, rows: int) -> Cache:
        """An empty cache."""
        shape = (rows, *self._cache_shape)
        return Cache(
            [np.zeros(shape, np.float32) for _ in self._layers], [np.zeros(shape, np.float32) for _ in self._layers]
        )

    def step(self, ids: np.ndarray, cache: Cache, memory: Memory, locations: bool = False) -> tuple[np.ndarray, Cache]:
        """`ids` int64 [B, S], the tokens since the last step -> scores of the next token float32 [B, V], and the cache
        with them in it. Where `locations` says so only the location tokens' scores are computed, 1,000 rows of the
        embedding instead of 51,000: at the full size this takes a third off a step."""
        feeds = {
            "words": self._embedding.look_up(ids),
            "memory_mask": memory.mask,
            "locations": np.array(locations),
        }
        for i in self._layers:
            feeds[f"past_key_{i}"], feeds[f"past_value_{i}"] = cache.keys[i], cache.values[i]
            feeds[f"memory_key_{i}"], feeds[f"memory_value_{i}"] = memory.keys[i], memory.values[i]
        names = [f"present_{kind}_{i}" for i in self._layers for kind in ("key", "value")]
        scores, *present = self._decoder.run(["scores", *names], feeds)
        return scores, Cache(present[::2], present[1::2])


def _stacked(rows: list[np.ndarray], length: int) -> np.ndarray:
    """N times [1, h, M, d / h] -> [N, h, length, d / h], filled up with zeros."""
    whole = np.empty((len(rows), rows[0].shape[1], length, rows[0].shape[3]), np.float32)
    for place, row in zip(whole, rows, strict=True):
        place[:, : row.shape[2]] = row[0]
        place[:, row.shape[2] :] = 0
    return whole
