"""What can be asked for beside the image: by the query, by the fields of a form, or in JSON.

One model for each route. A name that is not in it is refused: a misspelt option that silently does nothing is worse.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..florence.tasks import TASKS
from ..formats import Format
from ..questions import MAX_CLASSES, Detail
from ..serialise import Cut


def _split(value: Any) -> Any:
    """Names separated by commas, in one text or several -> each once; none where there is nothing."""
    if value is None:
        return []
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value  # for pydantic to refuse
    names = (name.strip() for part in parts for name in part.split(","))
    return list(dict.fromkeys(name for name in names if name))


def _without_limit(schema: dict[str, Any]) -> None:
    """A name that stands twice counts once: no list is too long by its length alone."""
    schema.pop("maxItems")


def _join(value: Any) -> Any:
    """A region as a list of numbers, as JSON may have it -> x1,y1,x2,y2."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Classes = Annotated[
    list[str],
    BeforeValidator(_split),
    Field(
        max_length=MAX_CLASSES,
        description=f"Look for these alone, whatever they are: at most {MAX_CLASSES} names, separated by commas.",
        json_schema_extra=_without_limit,
    ),
]
Region = Annotated[str, BeforeValidator(_join)]
Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]


class Options(BaseModel):
    """The base of all."""

    model_config = ConfigDict(extra="forbid")

    # What Hugging Face's clients call our options, in the `parameters` of their JSON.
    HF: ClassVar[dict[str, str]] = {"threshold": "min_score", "top_k": "max_objects", "candidate_labels": "classes"}


class Formatted(Options):
    """How the answer is to be written."""

    format: Literal["native", "hf", "coco", "rekognition"] = Field(
        default="native", description="Whose form the answer has."
    )

    @property
    def form(self) -> Format:
        """`format` as what it is."""
        return Format(self.format)


class Numbered(Formatted):
    """The same, where COCO is among the forms."""

    image_id: Whole = Field(default=0, ge=0, lt=2**53, description="The image's number, for `format=coco`.")


class Limited(Options):
    """Which objects to leave out."""

    min_score: float = Field(default=0, ge=0, le=1, description="Leave out objects with a lower score.")
    max_objects: Count | None = Field(default=None, description="Keep so many, the surest.")

    @property
    def cut(self) -> Cut:
        """The same for `serialise`."""
        return Cut(self.min_score, self.max_objects)


class CaptionOptions(Numbered):
    """Of /caption."""

    format: Literal["native", "hf", "coco"] = Field(default="native", description="Whose form the answer has.")
    detail: Detail = Field(default=Detail.BRIEF, description="A sentence, some sentences, or a paragraph.")


class DetectOptions(Limited, Numbered):
    """Of /detect."""

    classes: Classes = []


class AnalyzeOptions(Limited):
    """Of /analyze."""

    detail: Detail = Field(default=Detail.BRIEF, description="A sentence, some sentences, or a paragraph.")
    classes: Classes = []


class ClassifyOptions(Formatted):
    """Of /classify."""

    HF: ClassVar[dict[str, str]] = Options.HF | {"top_k": "max_labels"}

    classes: Classes = []
    min_score: float = Field(default=0, ge=0, le=1, description="Leave out labels with a lower score.")
    max_labels: Count | None = Field(default=None, description="Keep so many, the surest.")
    format: Literal["native", "hf", "rekognition"] = Field(default="native", description="Whose form the answer has.")


class GroundOptions(Limited, Numbered):
    """Of /ground."""

    text: str | None = Field(default=None, description="A caption, whose phrases are to be found. It must be there.")


class SegmentOptions(Limited, Numbered):
    """Of /segment: a text or a region."""

    text: str | None = Field(default=None, description="What is to be outlined, in words.")
    region: Region | None = Field(default=None, description="Or where it is: x1,y1,x2,y2 in pixels.")


class ReadOptions(Limited, Numbered):
    """Of /read."""

    regions: bool = Field(default=True, description="Tell where each piece of text is.")


class TaskOptions(Limited, Numbered):
    """Of /tasks/{task}."""

    input: str | None = Field(default=None, description="For those whose input is text.")
    region: Region | None = Field(default=None, description="For those whose input is a region: x1,y1,x2,y2 in pixels.")


class BatchOptions(Limited):
    """Of /batch."""

    task: Literal["analyze", *(task.name for task in TASKS)] = Field(  # type: ignore[valid-type]
        default="analyze", description="Caption and objects (`analyze`), or any task of GET /tasks."
    )
    input: str | None = Field(default=None, description="For tasks whose input is text.")
    region: Region | None = Field(default=None, description="For tasks whose input is a region: x1,y1,x2,y2 in pixels.")
