"""The errors of storage.

::

    ImageError                   (of the core) the picture will never be answered
    └── ObjectGone                   deleted, replaced by another, or in an archive
    InputError                   (of the core) the caller can mend it
    └── BucketNotAllowed             a request names a bucket that is not on the list
    UnknownEvent                 an event of no form that is served here
    NotSetUp                     a setting or a package is missing: names it
    Contended                    other writers were faster each time: later it may go well
    StorageUnavailable           S3 throttles or fails: later it may go well
"""

from ..florence.errors import ImageError, InputError


class ObjectGone(ImageError):
    """The object is not there: deleted, replaced by another, or in an archive."""


class BucketNotAllowed(InputError):
    """Requests may not name this bucket."""


class UnknownEvent(ValueError):
    """An event of no form that is served here; the message shows its keys."""


class NotSetUp(Exception):
    """What was asked needs a setting or a package that is missing here. The message names it."""


class Contended(Exception):
    """Other writers were faster every time. Trying again later helps."""


class StorageUnavailable(Exception):
    """S3 throttles or fails. Trying again later helps."""
