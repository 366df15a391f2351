"""Everything that ships in the Lambda image: the HTTP API, the storage trigger, the page and the command line."""

__version__ = "0.1.0"
