"""`[[login]]`: the OIDC providers through which people sign in to the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, did_you_mean, distinct, shown
from gateway.identity.code_flow import CodeFlowConfig
from gateway.identity.settings import IssuerConfig

LIFETIME_S = 8 * 3600.0
"""How long a login is good when nobody says: a working day."""
LONGEST_S = 24 * 3600
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")


def decode(
    top: Table, issuers: Iterable[IssuerConfig], base: Path, environ: Mapping[str, str]
) -> tuple[CodeFlowConfig, ...]:
    """Every `[[login]]`; each is through one of the issuers."""
    tables = top.optional_tables("login")
    known = {issuer.url for issuer in issuers}
    found = tuple(_login(table, known, base, environ) for table in tables)
    distinct(tables, "name", [each.name for each in found])
    return found


def _login(table: Table, known: set[str], base: Path, environ: Mapping[str, str]) -> CodeFlowConfig:
    issuer = table.need("issuer", values.issuer_url, "", fix='add issuer = "https://…", the url of an [[issuer]]')
    if issuer and issuer not in known:
        table.fault("issuer", f"is the url of no [[issuer]] ({shown(issuer)})", did_you_mean(issuer, known))
    name = table.need("name", values.upstream_name, "", fix='add name = "work"; it becomes a part of the callback URL')
    config = CodeFlowConfig(
        name=name,
        title=table.take("title", values.text, name),
        issuer=issuer,
        client_id=table.need("client_id", values.text, "", fix="add the id that the provider knows phigate by"),
        client_secret=secret(table, "client_secret", base, environ),
        scopes=table.take("scopes", _scopes, ("openid", "profile")),
        groups_claim=table.take("groups_claim", values.optional(values.claim_paths), None),
        lifetime_s=table.take("lifetime_s", values.seconds(60, LONGEST_S), LIFETIME_S),
    )
    table.finish()
    return config


def secret(table: Table, key: str, base: Path, environ: Mapping[str, str]) -> str | None:
    """A secret from the variable that `<key>_env` names, or the file of `<key>_file`; None when neither is there."""
    if table.has(f"{key}_env") and table.has(f"{key}_file"):
        table.fault(f"{key}_file", f"stands beside {key}_env", "remove one of them")
    from_file = table.take(f"{key}_file", values.optional(outside.secret_from_file(base)), None)
    return table.take(f"{key}_env", values.optional(outside.secret_from_environment(environ)), None) or from_file


def _scopes(value: Any) -> tuple[str, ...]:
    found = tuple(values.text(item) for item in values.array(value))
    for scope in found:
        if not _SCOPE.fullmatch(scope):
            raise Wrong(f"holds what is not a scope ({shown(scope)})", 'for example ["openid", "profile", "groups"]')
    if "openid" not in found:
        raise Wrong('lacks "openid", without which the provider does not say who signed in', 'add "openid"')
    return found
