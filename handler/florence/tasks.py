"""Florence-2's fifteen tasks: the one table that the API, the command line, training and the build all read.

The task words never reach the model: it is asked in the sentences below, which are Microsoft's
(`processing_florence2.py` of microsoft/Florence-2-base, `task_prompts_without_inputs` and `task_prompts_with_input`).
Does not know how an answer is parsed: `answers.py` does, by the answer's kind.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from . import locations
from .errors import TaskInputError, UnknownTask


class Input(StrEnum):
    """What a task needs beside the image."""

    NONE = "none"
    TEXT = "text"  # a phrase or a caption
    REGION = "region"  # a box, as four location tokens


class Answer(StrEnum):
    """What a task's generated text holds. Microsoft's name, where it differs, in the comment."""

    TEXT = "text"  # pure_text
    BOXES = "boxes"  # bboxes: no labels
    LABELLED_BOXES = "labelled_boxes"  # description_with_bboxes
    PHRASES = "phrases"  # phrase_grounding: each phrase with its boxes
    POLYGONS = "polygons"
    BOXES_OR_POLYGONS = "boxes_or_polygons"  # description_with_bboxes_or_polygons
    QUADS = "quads"  # ocr: each text with its four corners

    @property
    def place(self) -> int:
        """How many locations make one place; 0 where it may be any number."""
        if self in (Answer.BOXES, Answer.LABELLED_BOXES, Answer.PHRASES):
            return locations.BOX
        return locations.QUAD if self is Answer.QUADS else 0


# Characters of a text input, before it is cut into tokens: more than any encoder here has positions for.
MAX_TEXT = 4096

# What must not stand in a text input: it would reach the model as a token, not as text.
_CONTROL_TOKEN = re.compile(
    r"<loc_\d+>|</?(?:s|pad|unk|mask|image|od|ocr|cap|ncap|dcap|grounding|seg|region_cap|region_to_desciption|"
    r"proposal|poly|sep|and)>"
)


@dataclass(frozen=True)
class Task:
    """One task.

    `max_new_tokens` is the longest answer we let the model write; an answer that reaches it is marked as truncated.
    """

    name: str  # in URLs and on the command line
    token: str  # Microsoft's task word
    prompt: str
    input: Input
    answer: Answer
    max_new_tokens: int

    def ask(self, value: str | None = None) -> str:
        """The sentence for the model.

        `value` is the task's input: a phrase for `Input.TEXT`, four location tokens for `Input.REGION`.
        Raises `TaskInputError` if it is missing, not wanted or malformed.
        """
        value = (value or "").strip()
        if self.input is Input.NONE:
            if value:
                raise TaskInputError(f"The task {self.name} takes no input beside the image.")
            return self.prompt
        if not value:
            raise TaskInputError(f"The task {self.name} needs a {self.input} as input.")
        if self.input is Input.REGION:
            bins = locations.from_text(value)
            if locations.to_text(bins) != value or len(bins) != locations.BOX or max(bins) >= locations.BINS:
                raise TaskInputError("A region is four location tokens from <loc_0> to <loc_999>: x1, y1, x2, y2.")
        elif len(value) > MAX_TEXT:
            raise TaskInputError(
                f"The text for the task {self.name} has {len(value):,} characters; at most {MAX_TEXT:,}."
            )
        elif _CONTROL_TOKEN.search(value):
            raise TaskInputError(f"The text for the task {self.name} must not hold tokens such as <loc_0> or </s>.")
        return self.prompt.replace("{input}", value)


# Budgets: a box is its label and four tokens, a quad eight, a polygon often a hundred points and more.
TASKS = (
    Task("caption", "<CAPTION>", "What does the image describe?", Input.NONE, Answer.TEXT, 64),
    Task(
        "detailed-caption",
        "<DETAILED_CAPTION>",
        "Describe in detail what is shown in the image.",
        Input.NONE,
        Answer.TEXT,
        192,
    ),
    Task(
        "more-detailed-caption",
        "<MORE_DETAILED_CAPTION>",
        "Describe with a paragraph what is shown in the image.",
        Input.NONE,
        Answer.TEXT,
        384,
    ),
    Task(
        "detect",
        "<OD>",
        "Locate the objects with category name in the image.",
        Input.NONE,
        Answer.LABELLED_BOXES,
        512,
    ),
    Task(
        "dense-region-caption",
        "<DENSE_REGION_CAPTION>",
        "Locate the objects in the image, with their descriptions.",
        Input.NONE,
        Answer.LABELLED_BOXES,
        512,
    ),
    Task(
        "region-proposal",
        "<REGION_PROPOSAL>",
        "Locate the region proposals in the image.",
        Input.NONE,
        Answer.BOXES,
        512,
    ),
    Task(
        "ground",
        "<CAPTION_TO_PHRASE_GROUNDING>",
        "Locate the phrases in the caption: {input}",
        Input.TEXT,
        Answer.PHRASES,
        512,
    ),
    Task(
        "open-vocabulary-detection",
        "<OPEN_VOCABULARY_DETECTION>",
        "Locate {input} in the image.",
        Input.TEXT,
        Answer.BOXES_OR_POLYGONS,
        512,
    ),
    Task(
        "referring-segmentation",
        "<REFERRING_EXPRESSION_SEGMENTATION>",
        "Locate {input} in the image with mask",
        Input.TEXT,
        Answer.POLYGONS,
        1024,
    ),
    Task(
        "region-segmentation",
        "<REGION_TO_SEGMENTATION>",
        "What is the polygon mask of region {input}",
        Input.REGION,
        Answer.POLYGONS,
        1024,
    ),
    Task("region-category", "<REGION_TO_CATEGORY>", "What is the region {input}?", Input.REGION, Answer.TEXT, 64),
    Task(
        "region-description",
        "<REGION_TO_DESCRIPTION>",
        "What does the region {input} describe?",
        Input.REGION,
        Answer.TEXT,
        64,
    ),
    Task("region-text", "<REGION_TO_OCR>", "What text is in the region {input}?", Input.REGION, Answer.TEXT, 128),
    Task("read", "<OCR>", "What is the text in the image?", Input.NONE, Answer.TEXT, 512),
    Task(
        "read-regions",
        "<OCR_WITH_REGION>",
        "What is the text in the image, with regions?",
        Input.NONE,
        Answer.QUADS,
        1024,
    ),
)

_BY_NAME = {key: task for task in TASKS for key in (task.name, task.token)}


def find(name: str) -> Task:
    """The task of this name (`caption`) or token (`<CAPTION>`). Raises `UnknownTask`, naming those there are."""
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(task.name for task in TASKS)
        raise UnknownTask(f"There is no task {name!r}; there are {known}.") from None


def fingerprint() -> str:
    """SHA-256 of every task's token and prompt: a model answers only the sentences that it was trained on."""
    return hashlib.sha256("\n".join(f"{task.token} {task.prompt}" for task in TASKS).encode()).hexdigest()
