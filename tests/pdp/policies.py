"""Small policies for the tests of the PDP: whole bundles, each with one thing about it."""

from gateway.core.policy import bundle
from gateway.core.policy.decision import Entrypoint

ASKED = {"principal": {"sub": "ada"}, "message": {"method": "ping"}}
"""The least that a call may be allowed on: somebody, and something."""
DENY = 'default decision := {"effect": "deny"}\n'


def package(entrypoint):
    return entrypoint.value.replace("/", ".").removesuffix(".decision")


def policy(call="", *, files=None):
    """A bundle that denies everything but what `call`, the body of package gateway.call, says."""
    sources = {f"{each.value}.rego": f"package {package(each)}\n{DENY}".encode() for each in Entrypoint}
    sources["gateway/call/decision.rego"] += call.encode()
    return bundle.read(bundle.build({**sources, **(files or {})}))


def allowing(number=1):
    """A bundle that allows everybody every call; another number makes another bundle."""
    decision = f'{{"effect": "allow", "labels": {{"number": {number}}}}}'
    return policy(f"decision := {decision} if {{\n\tinput.principal.sub\n\tinput.message.method\n}}\n")
