"""The command line: checkpoint + adapter -> artifact.

python -m build --base DIR_OR_HUB_ID [--revision COMMIT] [--adapter DIR] --out DIR
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.florence.errors import FlorenceError
from handler.florence.predictor import Predictor

from . import adapter as adapters
from . import checkpoint, package, search, verify
from .errors import BuildError
from .precision import FP32, Precision


def main(argv: Sequence[str] | None = None) -> int:
    """Builds; returns the exit code. Errors are one line on stderr."""
    options = _parse(argv)
    try:
        build(options)
    except (BuildError, FlorenceError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


def build(options: argparse.Namespace) -> None:
    """Builds beside the goal and puts it in its place once it is whole: a failed build leaves nothing behind."""
    out: Path = options.out
    if out.exists() and not (out / "manifest.json").exists() and any(out.iterdir()):
        raise BuildError(f"{out} is not empty and holds no artifact: name another folder with --out.")
    images = sorted(path for path in options.golden.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not images:
        raise BuildError(f"{options.golden} holds no images to verify with: name a folder with --golden.")
    # A minute and a half at full size: a line on a terminal says what is under way.
    doing = tqdm(bar_format="{desc} [{elapsed}]", leave=False, disable=None)
    doing.set_description_str(f"reading {options.base}")
    loaded = checkpoint.load(options.base, options.revision)
    if options.beams:
        loaded = loaded.with_beams(options.beams)
    adapter: dict[str, Any] | None = None
    if options.adapter:
        lora = adapters.load(options.adapter, options.alpha)
        if not options.accept_mismatch:
            adapters.check_purpose(lora, options.size)
        loaded, landings = adapters.fuse(loaded, lora)
        adapter = {
            "id": lora.name,
            "sha256": lora.sha256,
            "training": lora.training,
            "landed": {one.module: {"rank": one.rank, "largest_change": one.largest} for one in landings},
        }
        tqdm.write(
            f"fused {len(landings)} pairs of {lora.name}; largest change {max(one.largest for one in landings):.4g}"
        )
    facts = package.Facts(options.name or out.name, options.notice, options.size, adapter)
    write = partial(package.write, loaded, facts)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        packed, reference = Path(scratch, "packed"), Path(scratch, "reference")
        precision = Precision(options.precision)
        for folder, one in ((packed, precision), (reference, FP32)):
            doing.set_description_str(f"writing {one.usual}")
            folder.mkdir()
            layers = write(one, folder)
        doing.close()
        expected = verify.answers(Predictor(reference), images, "answering in fp32")
        figures = verify.compare(expected, verify.answers(Predictor(packed), images, "verifying"))
        if options.gate == "fail" and (low := verify.shortfalls(figures)):
            tqdm.write(f"int8 throughout does not hold: {', '.join(low)}; looking for the layers to keep in fp32")
            precision, figures = search.keep_worst(write, layers, expected, images, packed)
        predictor = Predictor(packed)
        manifest = package.write_manifest(
            loaded,
            facts,
            precision,
            packed,
            verification={
                **figures,
                "gate": options.gate,
                "thresholds": verify.THRESHOLDS,
                "kept_in_fp32": [*precision.others],
            },
            golden=package.write_golden(predictor, packed),
        )
        Predictor(packed).self_test()
        if out.exists():
            out.rename(Path(scratch, "previous"))
        packed.rename(out)
    size = sum(int(file["bytes"]) for file in manifest.files.values())
    print(f"{out}: {manifest.name}, {manifest.precision}, {size / 1e6:.1f} MB")
    for name, value in figures.items():
        bar = f"  (at least {verify.THRESHOLDS[name]})" if name in verify.THRESHOLDS else ""
        print(f"  {name:<17} {value:g}{bar}")
    if precision.others:
        print(f"  kept in fp32      {', '.join(precision.others)}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m build",
        description="Fuse an adapter into a Florence-2 checkpoint and pack both as an int8 artifact.",
    )
    parser.add_argument("--base", required=True, help="folder of a checkpoint, or a hub id")
    parser.add_argument("--revision", help="the hub's commit, 40 hex digits; needed with a hub id")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter, or its adapter_model.safetensors")
    parser.add_argument("--alpha", type=float, help="LoRA's alpha, where no adapter_config.json says it")
    parser.add_argument(
        "--accept-mismatch",
        action="store_true",
        help="fuse an adapter that was trained at another image size or with other prompts",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8", help="(default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=384, metavar="PIXELS", help="of images, a side (default: %(default)s)"
    )
    parser.add_argument(
        "--beams",
        type=int,
        choices=range(1, 11),
        metavar="N",
        help="how many answers are followed while one is written: 1, greedy, is the fastest (default: the base's)",
    )
    parser.add_argument("--name", help="what answers call the model (default: the folder's name)")
    parser.add_argument("--notice", default="", help="what users must know before they trust an answer")
    parser.add_argument("--golden", type=Path, default=package.SAMPLES, help="folder of images to verify with")
    parser.add_argument(
        "--gate",
        choices=("fail", "report"),
        default="fail",
        help="what to do if int8 answers differently from fp32: keep the layers that it harms most in fp32 and fail if "
        "that does not help, or report it (default: %(default)s)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="transformers")
    sys.exit(main())
