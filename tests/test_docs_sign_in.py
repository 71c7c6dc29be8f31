"""What docs/identity/sign-in.md and saml.md say: each configuration loads, and the command for the key makes it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from gateway import config
from gateway.identity.authority.authority import TOKEN_PATH
from gateway.identity.saml.reasons import Reason
from gateway.identity.saml.service import ACS_PATH, METADATA_PATH
from gateway.store import keys
from tests.saml_idp import needs_xmlsec1

PAGES = Path(__file__).parents[1] / "docs" / "identity"
HEAD = '[gateway]\npublic_url = "https://gateway.example"\n[policy]\nbundle = "policies"\n'
UPSTREAM = '[[upstream]]\nname = "ehr"\nurl = "https://ehr.example/mcp"\n'
ISSUER = '[[issuer]]\nurl = "https://idp.example"\n'
PAGE = (PAGES / "saml.md").read_text()
BLOCKS = [
    (page, number, block)
    for page in ("sign-in", "saml")
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```$", (PAGES / f"{page}.md").read_text(), re.M | re.S))
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with what the pages' commands made in it."""
    directory = tmp_path_factory.mktemp("sign-in")
    (directory / "policies").mkdir()
    (directory / "idp.xml").write_text("<EntityDescriptor/>")
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    (command,) = re.findall(r"^\$ (openssl .*)$", PAGE, re.M)
    subprocess.run(shlex.split(command), cwd=directory, check=True, capture_output=True)
    return directory


@needs_xmlsec1
@pytest.mark.parametrize("block", [each[2] for each in BLOCKS], ids=[f"{each[0]}-{each[1]}" for each in BLOCKS])
def test_each_configuration_is_one_that_loads(place, block):
    file = place / "phigate.toml"
    file.write_text(HEAD + UPSTREAM + ("" if "[[issuer]]" in block else ISSUER) + block)
    made = config.load(file, environ={"PATH": "/usr/bin:/bin", "LOGIN_SECRET": "synthetic"})

    assert made.logins or made.saml


def test_the_words_that_the_page_explains_are_ours():
    told = set(re.findall(r"`(saml_\w+)`", PAGE))

    assert told
    assert told <= {reason.value for reason in Reason}


def test_the_addresses_that_the_page_names_are_those_that_are_served():

    for path in (ACS_PATH, METADATA_PATH, TOKEN_PATH):
        assert f"https://gateway.example{path}" in PAGE
