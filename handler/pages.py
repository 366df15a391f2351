"""The two pages for people, `/` and `/docs`, with their scripts, styles and sample images.

Plain files without a build step. `/docs` renders `/openapi.json` with a script of its own: Swagger UI would add 2.6 MB
or a CDN, and needs inline scripts, which the policy below forbids.

The pages ask for their files below `page/VERSION/`, where VERSION is a hash of them all: browsers keep such a file for
good, so that a page that is opened again costs the function no further invocations, and a new version of the page never
meets an old script.
"""

import hashlib
import re
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES = Path(__file__).parent / "page"
SAMPLES = FILES / "samples"

HEADERS = {
    # Nothing from elsewhere, nothing inline; blob: is the image that the user chose.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # ask each time: it names the version of all other files
}
_VERSION = re.compile("[0-9a-f]{12}")
_ASK_AGAIN = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_KEEP = {**_ASK_AGAIN, "Cache-Control": "public, max-age=31536000, immutable"}


def install(app: FastAPI) -> None:
    """Let `app` serve the pages."""

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return _page("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _page("docs.html")

    @app.get("/samples", include_in_schema=False)
    async def samples() -> list[str]:
        return sorted(path.name for path in SAMPLES.glob("*.png"))

    app.mount("/samples", StaticFiles(directory=SAMPLES))
    app.mount("/page", _Versioned(directory=FILES))


def version() -> str:
    """A hash of the pages' files, samples apart."""
    whole = hashlib.sha256()
    for path in sorted(FILES.glob("*.*")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]


def _page(name: str) -> HTMLResponse:
    text = (FILES / name).read_text(encoding="utf-8")
    return HTMLResponse(text.replace('"page/', f'"page/{version()}/'), headers=HEADERS)


class _Versioned(StaticFiles):
    """Files that are found below a version, too, and are kept if it is this one.

    While one version of the function gives way to another, a page of the one may ask the other for its files.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        asked, _, rest = path.rpartition("/")
        response = await super().get_response(rest if _VERSION.fullmatch(asked) else path, scope)
        response.headers.update(_KEEP if asked == version() else _ASK_AGAIN)
        return response
