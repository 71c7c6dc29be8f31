"""`[[issuer]]`: the identity providers whose access tokens are accepted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.config import outside, values
from gateway.config.table import Table, distinct
from gateway.identity.settings import MAX_GROUPS, GraphConfig, IssuerConfig

GRAPH = "https://graph.microsoft.com/v1.0"
"""Microsoft's; national clouds have their own."""


def decode(top: Table, base: Path, environ: Mapping[str, str], *, loopback: bool) -> tuple[IssuerConfig, ...]:
    """Every `[[issuer]]`; `loopback`: whether the gateway listens on this machine alone."""
    # With both, clients get tokens of our own for SAML assertions, and need nobody else's.
    alone = top.has("saml") and top.has("authority")
    fix = "add [[issuer]] with the url of your OIDC provider"
    tables = top.optional_tables("issuer") if alone else top.tables("issuer", fix=fix)
    issuers = tuple(_issuer(table, base, environ, loopback=loopback) for table in tables)
    distinct(tables, "url", [issuer.url for issuer in issuers])
    return issuers


def _issuer(table: Table, base: Path, environ: Mapping[str, str], *, loopback: bool) -> IssuerConfig:
    url = table.need("url", values.issuer_url, "", fix='add url = "https://…", as the tokens\' iss claim has it')
    if url.startswith("http:") and not loopback:
        what = "is http on this machine, which is for trying out, but the gateway listens beyond it"
        table.fault("url", what, 'use the https issuer, or listen = "127.0.0.1:8080"')
    config = IssuerConfig(
        url=url,
        audience=table.take("audience", values.optional(values.text), None),
        algorithms=table.take("algorithms", values.algorithms, ("RS256", "PS256", "ES256", "EdDSA")),
        groups_claim=table.take("groups_claim", values.claim_paths, (("groups",),)),
        client_claim=table.take("client_claim", values.optional(values.text), None),
        clock_skew_s=table.take("clock_skew_s", values.seconds(0, 300), 30.0),
        jwks_max_age_s=table.take("jwks_max_age_s", values.seconds(1, 86_400), 600.0),
        jwks_stale_s=table.take("jwks_stale_s", values.seconds(0, 604_800), 3600.0),
        jwks_refetch_s=table.take("jwks_refetch_s", values.seconds(0.1, 3600), 10.0),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 60), 5.0),
        only_agents=table.take("only_agents", values.boolean, False),
        subject_claim=table.take("subject_claim", values.text, "sub"),
        other_audiences=table.take("other_audiences", values.optional(values.each(values.text)), None),
        require_at_jwt=table.take("require_at_jwt", values.boolean, False),
        max_lifetime_s=table.take("max_lifetime_s", values.seconds(1, 2_592_000), 86_400.0),
        short_scopes=table.take("short_scopes", values.boolean, False),
        max_groups=table.take("max_groups", values.whole(1, MAX_GROUPS), MAX_GROUPS),
        graph=_graph(table.table("graph"), base, environ) if table.has("graph") else None,
    )
    table.finish()
    return config


def _graph(table: Table, base: Path, environ: Mapping[str, str]) -> GraphConfig:
    if table.has("client_secret_env") == table.has("client_secret_file"):
        what = "or client_secret_file is needed, and not both"
        table.fault("client_secret_env", what, "name the variable or the file that holds the secret")
    from_environment = table.take("client_secret_env", outside.secret_from_environment(environ), "")
    from_file = table.take("client_secret_file", outside.secret_from_file(base), "")
    config = GraphConfig(
        url=table.take("url", values.service_url, GRAPH).rstrip("/"),
        token_url=table.need("token_url", values.service_url, "", fix="add the token endpoint of your tenant"),
        client_id=table.need("client_id", values.text, "", fix="add the application's client id"),
        client_secret=from_environment or from_file,
        cache_s=table.take("cache_s", values.seconds(1, 3600), 300.0),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 60), 5.0),
    )
    table.finish()
    return config
