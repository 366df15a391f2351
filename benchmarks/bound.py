"""How fast could this machine run this model at all: `python -m benchmarks.bound THREADS` prints the rates it finds.

Three rates are measured: int8 and fp32 matrix products of a size that suits the kernels (ONNX Runtime's, the best there
are on this kind of CPU), and reading memory. The least time of an answer is then

    products and convolutions of vision and encoder at the int8 rate
    + attention and depthwise convolutions at the fp32 rate
    + tokens x the bytes of the decoder's int8 weights at memory's rate (within a box only those of locations)

as if all else (normalisation, Gelu, quantising, layout, reading the image, the web) were free.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from handler.florence import locations

from .workload import CAPTION, DETECT, LABEL, SIZE, Work

SIDE = 1024  # of the square products
BYTES = 2**28  # each thread reads: far beyond the caches
SECONDS = 1.5  # of trying for each rate; the best try counts

# Florence-2-base (microsoft/Florence-2-base's config.json).
DIMS, DEPTHS, GROUPS, WINDOW, PATCHES = (128, 256, 512, 1024), (1, 1, 9, 1), (4, 8, 16, 32), 12, (7, 3, 3, 3)
WIDTH, HIDDEN, LAYERS, VOCABULARY, PROMPT = 768, 3072, 6, 51289, 8


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second."""

    int8: float  # multiply-adds
    fp32: float  # multiply-adds
    memory: float  # bytes read


@dataclass(frozen=True)
class Needs:
    """What one answer needs."""

    int8: float  # multiply-adds
    fp32: float  # multiply-adds
    memory: float  # bytes

    def seconds(self, rates: Rates) -> float:
        """The least time at these rates."""
        return self.int8 / rates.int8 + self.fp32 / rates.fp32 + self.memory / rates.memory


def needs(work: Work = CAPTION, size: int = SIZE) -> Needs:
    """Counted from the architecture."""
    products, others = 0.0, 0.0
    side, channels = size, 3
    for i, (dim, depth, groups, patch) in enumerate(zip(DIMS, DEPTHS, GROUPS, PATCHES, strict=True)):
        side //= 4 if i == 0 else 2
        places = side * side
        products += places * patch * patch * channels * dim
        # A block is a spatial and a channel half: each q, k, v and projection (4 d^2) and a feed-forward pair (8 d^2).
        products += places * depth * 2 * 12 * dim * dim
        others += places * depth * 2 * 2 * 9 * dim  # two depthwise convolutions in each half
        others += places * depth * 2 * dim * (WINDOW * WINDOW + dim // groups)  # scores and sums of both attentions
        channels = dim
    places += 1
    products += places * channels * WIDTH
    memory = places + PROMPT
    products += LAYERS * memory * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN)  # the text encoder
    others += LAYERS * 2 * memory * memory * WIDTH
    products += LAYERS * memory * 2 * WIDTH * WIDTH  # the decoder's keys and values of it
    layers = LAYERS * (6 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN)
    caches = LAYERS * 2 * 4 * WIDTH * (memory + work.tokens / 2)
    within = work.tokens * (locations.BOX - 1) / (LABEL + locations.BOX) if work.task == DETECT.task else 0
    rows = (work.tokens - within) * VOCABULARY + within * locations.BINS
    return Needs(products, others, work.tokens * (layers + caches) + rows * WIDTH)


def measure(threads: int) -> Rates:
    """Three probes one after the other."""
    operations = SIDE**3
    return Rates(
        int8=operations / _best(_product(threads, int8=True)),
        fp32=operations / _best(_product(threads, int8=False)),
        memory=BYTES * threads / _best(_reading(threads)),
    )


def _best(run: Callable[[], object]) -> float:
    end, best = time.perf_counter() + SECONDS, float("inf")
    while time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begun)
    return best


def _product(threads: int, int8: bool) -> Callable[[], object]:
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    if int8:
        left = random.integers(0, 255, (SIDE, SIDE), np.uint8)
        right, kind, operator = (
            random.integers(-127, 127, (SIDE, SIDE), np.int8),
            onnx.TensorProto.INT32,
            "MatMulInteger",
        )
    else:
        left, right = (random.normal(size=(SIDE, SIDE)).astype(np.float32) for _ in range(2))
        kind, operator = onnx.TensorProto.FLOAT, "MatMul"
    shape = [SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["made"])],
        "probe",
        [helper.make_tensor_value_info("left", helper.np_dtype_to_tensor_dtype(left.dtype), shape)],
        [helper.make_tensor_value_info("made", kind, shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def _reading(threads: int) -> Callable[[], object]:
    parts = [np.ones(BYTES // 8, np.int64) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.max, parts))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(int(sys.argv[1])))))
