"""The errors of the core.

::

    FlorenceError
    ├── InputError               the caller can mend it
    │   ├── ImageError
    │   │   ├── NotAnImage           no known image format in these bytes
    │   │   ├── UnsupportedFormat    an image, of a format outside the allow-list
    │   │   ├── ImageTooLarge        more bytes or pixels than allowed
    │   │   └── DamagedImage         the header is fine, the pixels cannot be read
    │   └── TaskError
    │       ├── UnknownTask          no such task
    │       └── TaskInputError       a task's input is missing, not wanted or malformed
    ├── OutOfTime                too little time is left to look at the image; later it may be answered
    └── ArtifactError            the model's files cannot be used: names the file and the mend

Every message is one sentence that a user can act on. The core never raises an HTTP exception: `handler.problems`
translates.
"""


class FlorenceError(Exception):
    """Base of every error that the core raises on purpose."""


class InputError(FlorenceError):
    """What the caller sent cannot be answered; sending it again unchanged will fail again."""


class ImageError(InputError):
    """The image cannot be used."""


class NotAnImage(ImageError):
    """The bytes are no image of any known format."""


class UnsupportedFormat(ImageError):
    """An image, but of a format that is not on the allow-list."""


class ImageTooLarge(ImageError):
    """The image has more bytes or pixels than allowed."""


class DamagedImage(ImageError):
    """The image's format is known, but its pixels cannot be read."""


class TaskError(InputError):
    """The task cannot be run as asked."""


class UnknownTask(TaskError):
    """There is no such task."""


class TaskInputError(TaskError):
    """A task's input is missing, not wanted, or malformed."""


class OutOfTime(FlorenceError):
    """The deadline is too near to begin; the same question may be answered another time."""


class ArtifactError(FlorenceError):
    """The model's files are missing, damaged or of another version."""
