"""The two pages for people, `/` and `/docs`, with their scripts, styles and sample images.

Plain files without a build step. `/docs` renders `/openapi.json` with a script of its own: Swagger UI would add 2.6 MB
or a CDN, and needs inline scripts, which the policy below forbids.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FILES = Path(__file__).parent / "page"
SAMPLES = FILES / "samples"

HEADERS = {
    # Nothing from elsewhere, nothing inline; blob: is the image that the user chose.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # ask each time: a new version of the page must not meet an old script
}


def install(app: FastAPI) -> None:
    """Let `app` serve the pages."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(FILES / "index.html", headers=HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(FILES / "docs.html", headers=HEADERS)

    @app.get("/samples", include_in_schema=False)
    async def samples() -> list[str]:
        return sorted(path.name for path in SAMPLES.glob("*.png"))

    app.mount("/samples", StaticFiles(directory=SAMPLES))
    app.mount("/page", StaticFiles(directory=FILES))
