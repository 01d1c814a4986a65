"""Who may use a server: certificate and key of TLS, and tokens."""

import hmac
import os
import pathlib
import ssl
from typing import Any

from kdzoo.teachers.grpc_api import grpc
from zoo import InputError

HEALTH = "/grpc.health.v1.Health/"
LIMIT = 2**20  # bytes; a larger file is none of these


def load_credentials(cert: str, key: str) -> Any:
    """gRPC's credentials of a server.

    Args:
        cert: PEM file of its certificate, followed by those of the authorities between, if any.
        key: PEM file of its private key.

    Raises:
        InputError: if they are no such files, or do not belong together.
    """
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        _read(name, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise InputError(
            "tls_cert and tls_key must be PEM files of a certificate and its private key, without a password."
            f" Received: {cert}, {key}: {error}"
        ) from None
    return grpc.ssl_server_credentials([(pathlib.Path(key).read_bytes(), pathlib.Path(cert).read_bytes())])


def read_tokens(path: str) -> list[str]:
    """The tokens in a file, one a line.

    Raises:
        InputError: if there is none, or one is not of printable ASCII characters without spaces.
    """
    tokens = _read("token_file", path).decode("utf-8", "replace").split("\n")
    tokens = [token.strip() for token in tokens if token.strip()]
    if not tokens or not all(token.isascii() and token.isprintable() and " " not in token for token in tokens):
        raise InputError(
            "token_file must hold a token a line, of printable ASCII characters without spaces, for example the output"
            f" of openssl rand -hex 32. Received: {path}: {'another text' if tokens else 'nothing'}"
        )
    return tokens


def _read(name: str, path: str) -> bytes:
    try:
        with open(os.fspath(path), "rb") as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise OSError(None, f"more than {LIMIT} bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} must be a file that can be read. Received: {path!r}: {reason}") from None
    return content


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses requests without a token, but for health checks.

    Args:
        tokens: those that are accepted.
    """

    def __init__(self, tokens: list[str]):
        self._accepted = [f"Bearer {token}".encode() for token in tokens]

        async def refuse(request: Any, context: Any) -> None:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "A request must have the metadata authorization: Bearer TOKEN."
            )

        self._refuse = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Returns the handler of a request, or one that refuses it."""
        if handler_call_details.method.startswith(HEALTH):
            return await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata).get("authorization", "")
        given = given.encode() if isinstance(given, str) else given
        matches = [hmac.compare_digest(given, accepted) for accepted in self._accepted]  # all, in the same time
        if any(matches):
            return await continuation(handler_call_details)
        return self._refuse
