"""An answer as an HTTP response: in the form that was asked for, and where it comes from in its headers.

Whatever the form, the headers tell which model answered (`X-Florence-Model`, `-Adapter`, `-Artifact`, `-Version`),
about which bytes (`X-Florence-Image-Sha256`), whether the answer was cut (`X-Florence-Truncated`), how long each stage
took (`Server-Timing`, which browsers show) and whether it was remembered (`Cache-Status`, RFC 9211).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from .. import schemas
from ..formats import Format, render

HEADERS = {
    "X-Florence-Model": "Name of the artifact, percent-encoded.",
    "X-Florence-Adapter": "Name of the adapter in it, if there is one, percent-encoded.",
    "X-Florence-Artifact": "The sha256 of the artifact's manifest.",
    "X-Florence-Version": "Version of florence-lambda.",
    "X-Florence-Image-Sha256": "Of the image's bytes.",
    "X-Florence-Truncated": "true or false: whether the answer was cut.",
    "Server-Timing": "Milliseconds of each stage.",
    "Cache-Status": "Whether the answer was remembered (RFC 9211).",
}


async def respond(answer: schemas.Answer, form: Format = Format.NATIVE, image_id: int = 0) -> JSONResponse:
    """The response to a question."""
    if form is Format.HF:  # a mask of 24 megapixels takes a tenth of a second
        rendered = await anyio.to_thread.run_sync(render, answer, form)
    else:
        rendered = render(answer, form, image_id)
    return JSONResponse(plain(rendered), headers=provenance(answer))


def plain(rendered: BaseModel | list[Any]) -> Any:
    """What `json` writes."""
    if isinstance(rendered, list):
        return [plain(each) for each in rendered]
    return rendered.model_dump(mode="json", exclude_none=True)


def provenance(answer: schemas.Answer) -> Mapping[str, str]:
    """The headers of an answer."""
    spent = answer.milliseconds.model_dump()
    return origin(answer.model, answer.version, answer.image, answer.truncated) | {
        "Server-Timing": ", ".join(f"{stage};dur={0 if answer.cached else took}" for stage, took in spent.items()),
        "Cache-Status": "florence; hit" if answer.cached else "florence; fwd=miss",
    }


def origin(
    model: schemas.Model, version: str | None, image: schemas.Image | None = None, truncated: bool | None = None
) -> dict[str, str]:
    """Those that tell what answered, and about which image, where it is one."""
    headers = {
        "X-Florence-Model": quote(model.name),
        "X-Florence-Adapter": model.adapter and quote(model.adapter),
        "X-Florence-Artifact": model.artifact,
        "X-Florence-Version": version,
        "X-Florence-Image-Sha256": image and image.sha256,
        "X-Florence-Truncated": None if truncated is None else str(truncated).lower(),
    }
    return {name: value for name, value in headers.items() if value}
