"""Generated text -> captions, boxes, quads and polygons, as Microsoft's `Florence2PostProcesser` reads it.

The text is `Tokenizer.decode`'s: location tokens spelt out, `<s>`, `</s>` and `<pad>` left out. Whatever the model
wrote is read as far as it makes sense; nothing raises. Does not score: every object says which characters of the text
are its label and which its locations, so that the predictor can find their tokens.

What is read:

- Boxes: a text and four or more location tokens, four to a box; the boxes of one run share its label. A rest of fewer
  than four is dropped. Labels of boxes lose what is not ASCII, as Microsoft's do.
- Phrases: boxes, but for phrases that stand for nothing in the picture (`NOT_PHRASES`).
- Quads: a text and eight location tokens.
- Polygons: location tokens in pairs; `<sep>` parts the polygons of one object, `<poly>` and `</poly>` enclose an object
  where a label has several.

Where it differs from Microsoft's code and transformers' port, all of it malformed text:

- A label never begins inside a token, nor holds one. Theirs can be "loc_12>" or "car<sep>": where a label is missing
  they swallow the first location for it, and shift the box. Here what wants a label and has none is dropped.
- A line break is a character like any other; there it hides the object or the label's beginning.
- A polygon without a single point is dropped; there it is an empty list.
- A location has at most four digits; there any number, which can overflow.

Three that share an origin differ among themselves, too: transformers truncates coordinates to whole pixels, Microsoft's
code and transformers.js do not; Microsoft leaves the spaces around a quad's text; transformers.js reads no polygons,
keeps what `NOT_PHRASES` drops, and gives a box without a label the label before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from . import locations
from .locations import Size
from .tasks import Answer, Task

Span = tuple[int, int]  # [start, end) in characters of the text
Coordinates = tuple[float, ...]  # pixels, x and y alternating

# A grounded phrase of these is dropped: Microsoft's list, word for word (`_create_black_list_of_phrase_grounding`).
NOT_PHRASES = frozenset(
    (  # noqa: SIM905 - a list literal takes 72 lines
        "I|me|mine|myself|we|us|our|ours|ourselves|you|your|yours|yourself|yourselves|he|him|his|himself|she|her|hers|"
        "herself|it|its|itself|they|them|their|theirs|themselves|one|oneself|this|that|these|those|who|whom|whose|"
        "which|what|all|another|any|anybody|anyone|anything|each|everybody|everyone|everything|few|many|nobody|none|"
        "several|some|somebody|someone|something|each other|one another|the image|image|images|the|a|an|a group|"
        "other objects|lots|a set"
    ).split("|")
)

_LOCATION = locations.TOKEN.pattern.replace("(", "(?:")
_LOCATIONS = re.compile(f"(?:{_LOCATION})+")
_PARTS = re.compile(f"(?:{_LOCATION}|<sep>|<poly>|</poly>)+")
_OBJECT = re.compile(r"<poly>(.*?)</poly>")
_POLYGON = re.compile(rf"(?:{_LOCATION})+(?=<sep>|\Z)")
_MIN_PARTS = 4  # of a polygon's run, separators included


@dataclass(frozen=True)
class Found:
    """One object: a label, which may be empty, and either a box, a quad or polygons, in pixels."""

    label: str
    label_span: Span  # shared by the objects of one label; empty where there is none
    locations_span: Span  # from the object's first location token to its last
    box: Coordinates | None = None  # x1, y1, x2, y2
    quad: Coordinates | None = None  # four corners
    polygons: tuple[Coordinates, ...] | None = None


@dataclass(frozen=True)
class Parsed:
    """An answer's content: a text for `Answer.TEXT`, objects for the others."""

    text: str = ""
    objects: tuple[Found, ...] = ()


def parse(task: Task, text: str, size: Size) -> Parsed:
    """What the text says, for an image of this width and height in pixels.

    The coordinates are the centres of the model's bins, unclamped and unordered, as it wrote them.
    """
    match task.answer:
        case Answer.TEXT:
            return Parsed(text=text.strip())
        case Answer.BOXES:
            objects = _boxes(text, size, labelled=False)
        case Answer.LABELLED_BOXES:
            objects = _boxes(text, size)
        case Answer.PHRASES:
            objects = _boxes(text, size, without=NOT_PHRASES)
        case Answer.QUADS:
            objects = _quads(text, size)
        case Answer.POLYGONS:
            objects = _polygons(text, size, labelled=False)
        case Answer.BOXES_OR_POLYGONS:
            objects = _polygons(text, size) if "<poly>" in text else _boxes(text, size)
    return Parsed(objects=tuple(objects))


def _boxes(text: str, size: Size, labelled: bool = True, without: frozenset[str] = frozenset()) -> Iterator[Found]:
    for before, run in _runs(_LOCATIONS, text):
        label_span = _label(text, before) if labelled else (run[0], run[0])
        label = text[slice(*label_span)]
        if label in without or (labelled and not label):
            continue
        ascii_label = label.encode("ascii", "ignore").decode("ascii")
        for bins, span in _take(locations.BOX, text, run):
            yield Found(ascii_label, label_span, span, box=_pixels(bins, size))


def _quads(text: str, size: Size) -> Iterator[Found]:
    for before, run in _runs(_LOCATIONS, text):
        label_span = _trim(text, before)  # what is read off a picture may hold a "<"
        label, corners = text[slice(*label_span)], _take(locations.QUAD, text, run)
        if label and corners:
            bins, span = corners[0]
            yield Found(label, label_span, span, quad=_pixels(bins, size))


def _polygons(text: str, size: Size, labelled: bool = True) -> Iterator[Found]:
    for before, run in _runs(_PARTS, text):
        label_span = _label(text, before) if labelled else (run[0], run[0])
        label = text[slice(*label_span)]
        if text.count("<", *run) < _MIN_PARTS or (labelled and not label):
            continue
        enclosed = text.find("<poly>", *run) >= 0 and text.find("</poly>", *run) >= 0
        for object_span in [match.span(1) for match in _OBJECT.finditer(text, *run)] if enclosed else [run]:
            polygons = [(_pairs(match.group()), match.span()) for match in _POLYGON.finditer(text, *object_span)]
            polygons = [(bins, span) for bins, span in polygons if bins]
            if polygons:
                span = polygons[0][1][0], polygons[-1][1][1]
                yield Found(label, label_span, span, polygons=tuple(_pixels(bins, size) for bins, _ in polygons))


def _runs(unit: re.Pattern[str], text: str) -> Iterator[tuple[Span, Span]]:
    """Each run of tokens, with the text between it and the run before."""
    end = 0
    for match in unit.finditer(text):
        yield (end, match.start()), match.span()
        end = match.end()


def _label(text: str, span: Span) -> Span:
    """The label at the end of this text: what follows its last "<" or ">", without the spaces around it."""
    start, end = span
    return _trim(text, (max(start, text.rfind("<", *span) + 1, text.rfind(">", *span) + 1), end))


def _trim(text: str, span: Span) -> Span:
    start, end = span
    stripped = text[start:end].lstrip()
    start = end - len(stripped)
    return start, start + len(stripped.rstrip())


def _take(count: int, text: str, run: Span) -> list[tuple[list[int], Span]]:
    """A run's locations, `count` at a time, each with its span; the rest is dropped."""
    tokens = list(locations.TOKEN.finditer(text, *run))
    groups = [tokens[i : i + count] for i in range(0, len(tokens) - count + 1, count)]
    return [([int(token[1]) for token in group], (group[0].start(), group[-1].end())) for group in groups]


def _pairs(run: str) -> list[int]:
    """Bins of whole points: without the last one of an odd number."""
    bins = locations.from_text(run)
    return bins[: len(bins) // 2 * 2]


def _pixels(bins: list[int], size: Size) -> Coordinates:
    return tuple(locations.to_pixels(bins, size))
