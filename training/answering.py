"""Pictures -> a model's answers to what an evaluation asks, by one process or by several.

A network that writes token by token through torch spends its time in Python: two processes with a core each answer
nearly twice as many pictures as one with both cores (the miniature: 1,000 in 30 s instead of 50, beginning included).
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from handler.florence import tasks
from handler.florence.engine import default_threads
from handler.florence.errors import ImageError
from handler.florence.predictor import Ask, Predictor

from .coco import Record

ASKS = (Ask(tasks.find("<CAPTION>")), Ask(tasks.find("<OD>")))
PROCESSES = min(4, default_threads())  # each holds the model: 1.8 GB for Florence-2-base in fp32
WORTHWHILE = 50  # pictures for each process: it takes some five seconds to begin

Answer = dict[str, Any]  # see `answer`

_predictor: Predictor  # of a process that was begun here


def answer(predictor: Predictor, record: Record) -> Answer | str:
    """The caption and the objects of one picture, asked together, as they are served; what is wrong with a picture that
    cannot be read.

    `image_id`; `caption`: text, score, tokens; `objects`: label, score, box (x1, y1, x2, y2 in pixels); `milliseconds`.
    """
    try:
        result = predictor.predict(record.path.read_bytes(), ASKS)
    except (ImageError, OSError) as error:
        return str(error)
    caption, detection = result.predictions
    return {
        "image_id": record.id,
        "caption": {"text": caption.text, "score": caption.score, "tokens": caption.tokens},
        "objects": [{"label": one.label, "score": one.score, "box": one.box} for one in detection.objects],
        "milliseconds": round(sum(result.milliseconds.values()), 3),
    }


def answers(
    predictor: Predictor,
    records: Sequence[Record],
    load: Callable[[], Predictor] | None = None,
    processes: int = 1,
) -> Iterator[Answer | str]:
    """What `answer` says of each record, in their order.

    `load` loads the predictor again, can be pickled, and is called once in each of so many other `processes`, which
    then answer in its place; or in fewer, where there are few records. Raises `BrokenProcessPool` where one is killed.
    """
    count = min(processes, len(records) // WORTHWHILE)
    if load is None or count < 2:
        yield from (answer(predictor, record) for record in records)
        return
    # Not forked: torch's threads and CUDA do not live on in a fork.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (load, count))
    try:
        yield from pool.map(_answer, records)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(load: Callable[[], Predictor], count: int) -> None:
    import torch
    import transformers

    global _predictor
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them: the first process sees to it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", module="transformers|peft")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(max(1, default_threads() // count))
    _predictor = load()


def _end_with_parent() -> None:
    """A pool's processes would wait for work for ever after a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(record: Record) -> Answer | str:
    return answer(_predictor, record)
