import pytest

from kdzoo.experiments import roles
from zoo import InputError


@pytest.mark.parametrize("port", ["eighty", "0", "65536", "-1"])
def test_the_port_of_a_chief_must_be_one(port, monkeypatch):
    for name, value in zip(roles.VARIABLES, ("chief", "127.0.0.1", port), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"KERASTUNER_ORACLE_PORT must be a whole number .* Received: {port}"):
        roles.role()
