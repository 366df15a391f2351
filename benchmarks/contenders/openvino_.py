"""OpenVINO on the exported graphs, quantised to int8 by NNCF with drawn inputs: static scales for activations too."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..workload import Work, picture
from . import Contender, exported
from .reading import Reader

SAMPLES = 3  # enough: the answers mean nothing, and the time does not depend on the scales


def prepare(contender: Contender, checkpoint: Path, out: Path) -> None:
    """Exports, runs the fp32 graphs for inputs to calibrate with, and quantises."""
    import nncf
    import openvino

    core, reader = openvino.Core(), Reader(checkpoint, contender.size)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        models = {
            graph.stem: core.read_model(graph) for graph in exported.export(checkpoint, contender.size, Path(scratch))
        }
        samples: dict[str, list[Any]] = {name: [] for name in models}
        compiled = {name: core.compile_model(model, "CPU") for name, model in models.items()}

        def run(graph: str, feeds: dict[str, np.ndarray]) -> Sequence[np.ndarray]:
            samples[graph].append(feeds)
            return list(compiled[graph](feeds).values())

        steps = exported.Steps(run, reader)
        for seed in range(SAMPLES):
            steps.answer([picture(seed)], [Work("caption", 4)])
        for name, model in models.items():
            chosen = nncf.Dataset(samples[name][:: max(1, len(samples[name]) // SAMPLES)])
            quantised = nncf.quantize(model, chosen, model_type=nncf.ModelType.TRANSFORMER, subset_size=SAMPLES)
            openvino.save_model(quantised, out / f"{name}.xml", compress_to_fp16=False)


def load(contender: Contender, folder: Path, checkpoint: Path, threads: int) -> exported.Steps:
    """A compiled model for each graph."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    requests = {
        name: core.compile_model(folder / f"{name}.xml", "CPU", settings).create_infer_request()
        for name in exported.GRAPHS
    }

    def run(graph: str, feeds: dict[str, np.ndarray]) -> Sequence[np.ndarray]:
        # Copies of the results: the next step would write over them.
        return [np.array(one) for one in requests[graph].infer(feeds, share_inputs=True).values()]

    return exported.Steps(run, Reader(checkpoint, contender.size))
