import socket

import pytest

from kdzoo.serving.address import check_address
from zoo import InputError


@pytest.fixture
def busy_port():
    """A port of 127.0.0.1 on which another process could listen."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_must_be_free_on_every_address_of_the_host(host, busy_port):
    with pytest.raises(InputError, match=rf"free to listen on.* Received: {host}:{busy_port}: Address already in use"):
        check_address(host, busy_port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_is_accepted_at_once_after_its_server_ended(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the side that closes first keeps the connection for minutes
        client.close()
    assert check_address(host, port) == f"{host}:{port}"
    assert check_address(host, 0) == f"{host}:0"


def test_ipv6_addresses_have_brackets():
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6")
    assert check_address("::1", 0) == check_address("[::1]", 0) == "[::1]:0"


@pytest.mark.parametrize(
    "host", ["", "no-such-host.invalid", "localhost:8500", "x" * 300, "a..b", "unix:/tmp/x", "nul\0", "192.0.2.1"]
)
def test_a_host_must_be_of_this_machine(host):
    with pytest.raises(InputError, match=r"host .*must be .* Received: "):
        check_address(host, 0)
