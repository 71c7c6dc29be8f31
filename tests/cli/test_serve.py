"""What `phigate serve` says to whoever starts it."""

import re
import socket

import pytest

from gateway import config
from gateway.cli import serve
from gateway.cli.main import main
from gateway.core.errors import ConfigFault


@pytest.fixture
def file(tmp_path, capsys):
    options = ("--upstream-url", "http://127.0.0.1:9/mcp", "--upstream-name", "notes")
    assert main(["init", str(tmp_path), "--issuer", "http://127.0.0.1:9", *options]) == 0
    capsys.readouterr()
    return tmp_path / "phigate.toml"


def test_it_is_told_what_is_at_which_address(file):
    assert serve._served(config.load(file)) == [
        "listens on http://127.0.0.1:8080; stop it with Ctrl-C",
        "agents reach notes at http://127.0.0.1:8080/mcp/notes",
        "people review what waits at http://127.0.0.1:8080/approvals",
    ]


def test_a_port_in_use_is_told_once_with_what_to_do(file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"Cannot listen on 127.0.0.1:{port}: Address already in use. Stop what uses this port, or change"
        with pytest.raises(ConfigFault, match=re.escape(told)):
            serve._listen(config.load(file), "127.0.0.1", port)


def test_a_configuration_that_is_not_there_is_told_in_one_sentence(tmp_path, capsys):
    file = tmp_path / "phigate.toml"

    assert main(["serve", "-c", str(file)]) == 2

    told = f"phigate: There is no {file}. Name yours with -c, or make one with `phigate init`.\n"
    assert capsys.readouterr().err == told
