"""`[[issuer]]`: the identity providers whose access tokens are accepted."""

from __future__ import annotations

from gateway.config import values
from gateway.config.table import Table, distinct
from gateway.identity.settings import IssuerConfig


def decode(top: Table, *, loopback: bool) -> tuple[IssuerConfig, ...]:
    """Every `[[issuer]]`; `loopback`: whether the gateway listens on this machine alone."""
    tables = top.tables("issuer", fix="add [[issuer]] with the url of your OIDC provider")
    issuers = tuple(_issuer(table, loopback=loopback) for table in tables)
    distinct(tables, "url", [issuer.url for issuer in issuers])
    return issuers


def _issuer(table: Table, *, loopback: bool) -> IssuerConfig:
    url = table.need("url", values.issuer_url, "", fix='add url = "https://…", as the tokens\' iss claim has it')
    if url.startswith("http:") and not loopback:
        what = "is http on this machine, which is for trying out, but the gateway listens beyond it"
        table.fault("url", what, 'use the https issuer, or listen = "127.0.0.1:8080"')
    config = IssuerConfig(
        url=url,
        audience=table.take("audience", values.optional(values.text), None),
        algorithms=table.take("algorithms", values.algorithms, ("RS256", "PS256", "ES256", "EdDSA")),
        groups_claim=table.take("groups_claim", values.claim_path, ("groups",)),
        client_claim=table.take("client_claim", values.optional(values.text), None),
        clock_skew_s=table.take("clock_skew_s", values.seconds(0, 300), 30.0),
        jwks_max_age_s=table.take("jwks_max_age_s", values.seconds(1, 86_400), 600.0),
        jwks_stale_s=table.take("jwks_stale_s", values.seconds(0, 604_800), 3600.0),
        jwks_refetch_s=table.take("jwks_refetch_s", values.seconds(0.1, 3600), 10.0),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 60), 5.0),
    )
    table.finish()
    return config
