"""Small policies for the tests of the PDP: whole bundles, each with one thing about it."""

from gateway.core.policy import bundle
from gateway.core.policy.decision import Entrypoint

DENY = 'default decision := {"effect": "deny"}\n'


def package(entrypoint):
    return entrypoint.value.replace("/", ".").removesuffix(".decision")


def policy(call="", *, files=None):
    """A bundle that denies everything but what `call`, the body of package gateway.call, says."""
    sources = {f"{each.value}.rego": f"package {package(each)}\n{DENY}".encode() for each in Entrypoint}
    sources["gateway/call/decision.rego"] += call.encode()
    return bundle.read(bundle.build({**sources, **(files or {})}))


def allowing(number=1):
    """A bundle that allows calls; another number makes another bundle."""
    return policy(f'decision := {{"effect": "allow", "labels": {{"number": {number}}}}} if true\n')
