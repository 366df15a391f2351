"""The local server: the app that Lambda runs, under uvicorn on a port of this machine."""

import contextlib
import errno
import socket
import sys

from .settings import Settings, SettingsError


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves page and API until interrupted. Port 0 takes any free one; the address is printed.

    Raises `SettingsError` where the address cannot be had, `ArtifactError` where the model cannot be loaded.
    """
    with _listen(host, port) as listener:  # first, since it fails faster than a model loads
        import uvicorn

        from .api import create_app
        from .florence.predictor import Predictor

        predictor = Predictor(settings.artifact, settings.threads)
        predictor.self_test()
        manifest = predictor.manifest
        app = create_app(predictor, settings.cache_bytes, settings.storage)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        print(f"{manifest.name} ({manifest.precision}) from {settings.artifact}")
        if manifest.notice:
            print(manifest.notice)
        print(f"Serving at {_address(listener)} (Ctrl+C stops)")
        sys.stdout.flush()  # for whoever reads the address from a pipe
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn passes the signal on when it has shut down
            server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"Port {port} is in use; choose another with --port, or 0 for any free one.") from None
        raise SettingsError(f"Cannot listen on port {port} of {host}: {error.strerror}.") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  # every interface; this one surely
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
