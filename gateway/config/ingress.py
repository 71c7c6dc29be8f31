"""`[gateway]` `trusted_proxies`, `forwarded_header` and `[gateway.mtls]`: what is believed of the ingress in front."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, did_you_mean, shown
from gateway.core.types import Json
from gateway.identity.mtls import CertificateHeader, MtlsSettings
from gateway.identity.peer import ForwardedHeader, Network

MAX_AUTHORITIES_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class IngressConfig:
    """What stands in front of the gateway."""

    trusted_proxies: tuple[Network, ...]
    """Networks whose peers are believed in what they say of their clients."""
    forwarded_header: ForwardedHeader
    mtls: MtlsSettings | None


def decode(gateway: Table, base: Path) -> IngressConfig:
    """The part of `[gateway]` that is about the ingress."""
    none: tuple[Network, ...] = ()
    trusted = gateway.take("trusted_proxies", _networks, none)
    config = IngressConfig(
        trusted_proxies=trusted,
        forwarded_header=gateway.take("forwarded_header", _forwarded_header, ForwardedHeader.X_FORWARDED_FOR),
        mtls=_mtls(gateway.table("mtls"), base) if gateway.has("mtls") else None,
    )
    gateway.belongs("trusted_proxies", "forwarded_header")
    if gateway.has("mtls") and not trusted:
        what = "needs trusted_proxies: a certificate in a header proves nothing unless a known ingress wrote it"
        gateway.fault("mtls", what, 'add trusted_proxies = ["10.0.0.0/8"], the network of your ingress')
    return config


def _mtls(table: Table, base: Path) -> MtlsSettings:
    settings = MtlsSettings(
        name=table.need("name", values.upstream_name, "", fix='add name = "agents"; issuers in evidence begin mtls:'),
        header=table.need(
            "header", _certificate_header, CertificateHeader.CLIENT_CERT, fix='add header = "client-cert"'
        ),
        authorities=table.need("ca", _authorities(base), (), fix='add ca = "agents-ca.pem"'),
        groups=table.take("groups", _groups, ()),
    )
    table.finish()
    return settings


def _networks(value: Any) -> tuple[Network, ...]:
    return tuple(_network(values.text(item)) for item in values.array(value))


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        fix = 'for example "10.0.0.0/8", "192.0.2.7" or "fd00::/8", with no bits set after the prefix'
        raise Wrong(f"holds what is not a network ({shown(text)})", fix) from None
    if network.prefixlen == 0:
        raise Wrong("trusts every address, so anybody could say who they are", "name the networks of your ingress")
    return network


def _forwarded_header(value: Any) -> ForwardedHeader:
    known = {each.value: each for each in ForwardedHeader}
    name = values.text(value).lower()
    if name not in known:
        raise Wrong(f"is not a header that is read ({shown(name)})", did_you_mean(name, known))
    return known[name]


def _certificate_header(value: Any) -> CertificateHeader:
    known = {each.value: each for each in CertificateHeader}
    name = values.text(value).lower()
    if name not in known:
        raise Wrong(f"is not a header that certificates are read from ({shown(name)})", did_you_mean(name, known))
    return known[name]


def _authorities(base: Path) -> Any:
    """The certificates in a PEM file, each of an authority."""

    def decode(value: Any) -> tuple[x509.Certificate, ...]:
        found = outside.path(base)(value)
        try:
            with found.open("rb") as file:
                data = file.read(MAX_AUTHORITIES_BYTES + 1)
            certificates = tuple(x509.load_pem_x509_certificates(data[:MAX_AUTHORITIES_BYTES]))
        except OSError as error:
            raise Wrong(f"cannot be read ({found}: {error.strerror})", "correct the path") from None
        except ValueError:
            raise Wrong(
                f"holds no certificates in PEM ({found})", "name a file of -----BEGIN CERTIFICATE-----"
            ) from None
        for certificate in certificates:
            if not _is_authority(certificate):
                fix = "name the certificate of the authority that issues them, not an agent's own"
                raise Wrong(f"holds a certificate that is no authority's ({found})", fix)
        return certificates

    return decode


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False


def _groups(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    def names(found: Json) -> tuple[str, ...]:
        return tuple(values.text(each) for each in values.array(found))

    return tuple((values.text(subject), names(found)) for subject, found in values.table(value).items())
