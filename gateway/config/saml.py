"""`[saml]` and `[[saml.idp]]`: people sign in with SAML, and programs turn assertions into tokens."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.config import outside, values
from gateway.config.login import LIFETIME_S, LONGEST_S
from gateway.config.table import Table, Wrong, distinct, shown
from gateway.identity.code_flow import CodeFlowConfig
from gateway.identity.saml.settings import IdpConfig, SamlConfig
from gateway.identity.settings import IssuerConfig

METADATA_PATH = "/saml/metadata"
MAKE = "openssl req -x509 -newkey rsa:3072 -nodes -days 1095 -subj /CN=phigate -keyout saml.key -out saml.crt"
"""Makes the key that signs our requests, and its certificate."""


def decode(
    top: Table,
    issuers: Iterable[IssuerConfig],
    logins: Iterable[CodeFlowConfig],
    base: Path,
    environ: Mapping[str, str],
    *,
    public_url: str,
) -> SamlConfig | None:
    """The table, None without one. `issuers` are those whose people may come in by SAML too."""
    if not top.has("saml"):
        return None
    table = top.table("saml")
    if importlib.util.find_spec("saml2") is None:
        top.fault("saml", "needs a library that is not installed", "pip install 'phigate[saml]'")
    key, certificate = _own_key(table, base)
    tables = table.tables("idp", fix="add [[saml.idp]] with the entity_id and metadata of your identity provider")
    idps = tuple(_idp(each, {issuer.url for issuer in issuers}, base) for each in tables)
    distinct(tables, "entity_id", [idp.entity_id for idp in idps])
    taken = [login.name for login in logins]
    distinct(tables, "name", [idp.name for idp in idps])
    for each, idp in zip(tables, idps, strict=True):
        if idp.name in taken:
            each.fault("name", f"is the name of a [[login]] too ({shown(idp.name)})", "give each way its own name")
    config = SamlConfig(
        entity_id=table.take("entity_id", entity_id, public_url + METADATA_PATH),
        key=key,
        certificate=certificate,
        xmlsec1=_xmlsec1(table, base, environ),
        clock_skew_s=table.take("clock_skew_s", values.seconds(0, 300), 30.0),
        refresh_s=table.take("refresh_s", values.seconds(1, 86_400), 3600.0),
        stale_s=table.take("stale_s", values.seconds(0, 604_800), 86_400.0),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 60), 5.0),
        identity_providers=idps,
    )
    table.finish()
    return config


def _own_key(table: Table, base: Path) -> tuple[bytes, bytes]:
    fix = f"make both: {MAKE}"
    key = table.need("key", _pem(base), b"", fix=f'add key = "saml.key"; {fix}')
    certificate = table.need("certificate", _pem(base), b"", fix=f'add certificate = "saml.crt"; {fix}')
    if key and certificate:
        try:
            private = serialization.load_pem_private_key(key, None)
            if not isinstance(private, RSAPrivateKey) or private.key_size < 2048:
                table.fault("key", "is not an RSA key of at least 2,048 bits", fix)
            elif x509.load_pem_x509_certificate(certificate).public_key() != private.public_key():
                table.fault("certificate", "is not of this key", fix)
        except (ValueError, TypeError):
            table.fault("key", "or certificate is not in PEM without a passphrase", fix)
    return key, certificate


def _idp(table: Table, issuers: set[str], base: Path) -> IdpConfig:
    entity = table.need("entity_id", entity_id, "", fix="add the entityID that stands in its metadata")
    name = table.need("name", values.upstream_name, "", fix='add name = "work"; it becomes a part of a URL')
    ways = [key for key in ("metadata_file", "metadata_url") if table.has(key)]
    if len(ways) != 1:
        what = "is missing" if not ways else "stands beside metadata_file"
        table.fault(ways[-1] if ways else "metadata_file", what, "give exactly one of metadata_file and metadata_url")
    principal_issuer = table.take("people_of", values.issuer_url, entity)
    if table.has("people_of") and principal_issuer not in issuers:
        table.fault("people_of", "is the url of no [[issuer]]", "write its url, character by character")
    config = IdpConfig(
        name=name,
        title=table.take("title", values.text, name),
        entity_id=entity,
        metadata_file=table.take("metadata_file", values.optional(_readable(base)), None),
        metadata_url=table.take("metadata_url", values.optional(_metadata_url), None),
        metadata_certificate=table.take("metadata_certificate", values.optional(_certificate(base)), None),
        groups_attribute=table.take("groups_attribute", values.optional(values.text), None),
        subject_attribute=table.take("subject_attribute", values.optional(values.text), None),
        principal_issuer=principal_issuer,
        lifetime_s=table.take("lifetime_s", values.seconds(60, LONGEST_S), LIFETIME_S),
    )
    table.finish()
    return config


def entity_id(value: Any) -> str:
    """A URI of at most 1,024 characters (SAML core §8.3.6), kept as written."""
    text = values.text(value)
    if len(text) > 1024 or ":" not in text or any(each.isspace() for each in text):
        raise Wrong("is not an entity id", 'write the URI as the metadata has it: "https://…" or "urn:…"')
    return text


def _metadata_url(value: Any) -> str:
    url = values.upstream_url(value)
    if values.is_plain_remote(url):
        raise Wrong("is http, so whoever is on the network could sign people in", "use https, or metadata_file")
    return url


def _readable(base: Path) -> Callable[[Any], Path]:
    def decode_path(value: Any) -> Path:
        found = outside.path(base)(value)
        _read(found)
        return found

    return decode_path


def _pem(base: Path) -> Callable[[Any], bytes]:
    return lambda value: _read(outside.path(base)(value))


def _certificate(base: Path) -> Callable[[Any], bytes]:
    def decode_certificate(value: Any) -> bytes:
        data = _read(outside.path(base)(value))
        try:
            x509.load_pem_x509_certificate(data)
        except ValueError:
            raise Wrong("is not a certificate in PEM", "export it from your identity provider") from None
        return data

    return decode_certificate


def _read(found: Path) -> bytes:
    try:
        with found.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise Wrong(f"names a file that cannot be read ({found}: {error.strerror})", "correct the path") from None


def _xmlsec1(table: Table, base: Path, environ: Mapping[str, str]) -> Path:
    """The program that checks signatures: as configured, or as installed."""
    find = outside.command(base, environ)
    found = table.take("xmlsec1", find, "")
    if not table.has("xmlsec1"):
        try:
            found = find("xmlsec1")
        except Wrong:
            what = "is not installed, and signatures are checked with it"
            table.fault("xmlsec1", what, "apt-get install xmlsec1, or write its full path")
    return Path(found)
