"""SAML identity providers, whose metadata is there, signed, soon over, or not to be believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli.doctor import saml
from gateway.cli.doctor.finding import Status
from tests import saml_idp
from tests.cli.doctor.conftest import bad
from tests.identity.saml.parts import config, idp
from tests.identity.saml.test_metadata import described
from tests.saml_idp import needs_xmlsec1, pair

pytestmark = needs_xmlsec1


async def check(one):
    return await saml.check(config(one), one)


async def test_a_real_identity_provider_is_well():
    with saml_idp.running() as real:
        (found,) = await check(idp(f"{real.url}/metadata"))

    assert found.status is Status.OK
    assert "1 signing certificate, and no end is stated" in found.text


async def test_metadata_without_the_wanted_signature_is_told_with_where_to_look(tmp_path):
    file = tmp_path / "idp.xml"
    file.write_text(described())

    found = bad(await check(replace(idp(file), metadata_certificate=pair("idp").certificate.encode())))

    assert found.status is Status.FAIL
    assert "is not signed, and a metadata_certificate is configured" in found.text
    assert found.fix == f"look at it: {file}"


@pytest.mark.parametrize(("days", "status", "said"), [
    (-1, Status.FAIL, "older than its validUntil"), (2, Status.WARN, "after that nobody can sign in"),
    (90, Status.OK, "valid until"),
])  # fmt: skip
async def test_the_end_of_metadata_is_told_before_it_comes(tmp_path, days, status, said):
    file = tmp_path / "idp.xml"
    until = datetime.now(UTC) + timedelta(days=days)
    file.write_text(described(until=f"{until:%Y-%m-%dT%H:%M:%SZ}"))

    (found,) = await check(idp(file))

    assert found.status is status
    assert said in found.text


async def test_an_identity_provider_that_is_down_is_told():
    with saml_idp.running() as real:
        url = f"{real.url}/metadata"

    found = bad(await check(idp(url)))

    assert "could not be had" in found.text
    assert found.fix == f"look at it: curl -i {url}"
