"""The pages on ingresses: what they say to write into phigate.toml is what the gateway takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import config
from gateway.store import keys
from tests.ingress.parts import DEPLOY, KINDS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "ingress"
REST = """
[policy]
bundle = "policies"
[[issuer]]
url = "https://idp.example"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_page_says_to_configure_is_a_configuration(kind, tmp_path):
    page = (PAGES / f"{kind}.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "policies").mkdir()
    keys.generate(tmp_path / "keys", origin="gateway.example/phigate")
    (tmp_path / "phigate.toml").write_text(block + REST)

    found = config.load(tmp_path / "phigate.toml", environ={}).gateway

    assert found.ingress.trusted_proxies
    assert found.drain_delay_s == 10
    assert found.public_url == "https://gateway.example"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_page_names_stands_in_the_file_that_it_is_about(kind):
    page = (PAGES / f"{kind}.md").read_text()
    file = (DEPLOY / KINDS[kind].file).read_text()
    changes = page[page.index("## To change") : page.index("## What bites")]
    named = {
        "nginx": ["client_max_body_size", "client_body_buffer_size", "ssl_verify_client", "$pool", "rate", "burst"],
        "envoy": ["max_request_bytes", "validation_context", "batch", "explicit_http_config"],
        "haproxy": ["req.body_size gt", "verify optional", "use_backend", "sc0_http_req_rate gt 500"],
    }[kind]
    for word in (*named, "gateway.example", "/etc/phigate"):
        assert word in changes or word in page
        assert word in file


def test_each_header_that_is_offered_is_written_by_an_ingress_that_is_shipped():
    for kind in KINDS.values():
        assert f'header = "{kind.header}"' in (DEPLOY / kind.file).read_text()
