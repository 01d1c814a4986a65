"""The address that a server listens on, checked before anything is loaded for it. Imports neither gRPC nor TensorFlow.

gRPC itself is content with one of a name's addresses: of localhost's two, the other may be another server's. And where
it cannot listen at all, it prints a line of its own.
"""

import errno
import os
import socket

from zoo import InputError


def check_address(host: str, port: int) -> str:
    """Checks that a server can listen on a port of all addresses that a host has on this machine.

    Args:
        host: name or IP address; an IPv6 address with or without brackets.
        port: from 0 to 65535; 0 stands for any free one.

    Returns:
        HOST:PORT in the form that gRPC parses.

    Raises:
        InputError: if the host has no address, none is of this machine, or the port of one is in use.
    """
    host = host.removeprefix("[").removesuffix("]")
    errors = [_try(address, port) for address in _resolve(host)]
    used = [error for error in errors if error and error.errno == errno.EADDRINUSE]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if used or all(errors):  # an address of a family that this machine lacks is no obstacle if there is another
        reason = os.strerror((used or errors)[0].errno)  # type: ignore[union-attr, arg-type]
        raise InputError(f"host and port must be free to listen on, of this machine. Received: {target}: {reason}")
    return target


def _resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    rule = "host must be a host name or an IP address, for example localhost or 0.0.0.0"
    if not host:
        raise InputError(f"{rule}. Received: nothing")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # a ValueError: of a name that is no text of DNS
        raise InputError(f"{rule}. Received: {host[:100]!r}: {error}") from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _try(address: tuple[socket.AddressFamily, str], port: int) -> OSError | None:
    """Binds a socket as gRPC does, and closes it. Returns the error, if any."""
    family, host = address
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # a server that has just ended is no obstacle
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except OSError as error:
        return error
    return None
