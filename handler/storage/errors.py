"""The errors of storage.

::

    FlorenceError                (of the core)
    ├── InputError                   (of the core) the caller can mend it
    │   ├── BucketNotAllowed             a request names a bucket that is not on the list
    │   ├── UnknownResult                nothing was uploaded under this id
    │   └── ImageError                   (of the core) the picture will never be answered
    │       └── ObjectGone                   deleted, replaced by another, or in an archive
    ├── NotSetUp                     a setting, a package or credentials are missing: names them
    ├── StorageRefused               S3 does not let this server do it, or knows no such bucket
    └── StorageUnavailable           S3 throttles or fails: later it may go well
    UnknownEvent                 an event of no form that is served here
    Contended                    other writers were faster each time: later it may go well
"""

from ..florence.errors import FlorenceError, ImageError, InputError


class ObjectGone(ImageError):
    """The object is not there: deleted, replaced by another, or in an archive."""


class BucketNotAllowed(InputError):
    """Requests may not name this bucket."""


class UnknownResult(InputError):
    """Nothing was uploaded under this id, or its result was deleted."""


class UnknownEvent(ValueError):
    """An event of no form that is served here; the message shows its keys."""


class NotSetUp(FlorenceError):
    """What was asked needs a setting, a package or credentials that are missing here. The message names them."""


class Contended(Exception):
    """Other writers were faster every time. Trying again later helps."""


class StorageRefused(FlorenceError):
    """S3 does not let this server do it, or knows no such bucket. Who runs the server can mend it."""


class StorageUnavailable(FlorenceError):
    """S3 throttles or fails. Trying again later helps."""
