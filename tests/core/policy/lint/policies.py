"""What the tests of the lint share: a policy made of one source, what is found in it, what the engine makes of it."""

import orjson

from gateway.core.policy import lint
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.decision import Entrypoint
from gateway.pdp import child
from gateway.pdp import review as review_
from gateway.pdp.engine import load

DEFAULTS = 'default decision := {"effect": "deny"}'
ENTRYPOINTS = {
    f"{entrypoint.value}.rego": f"package {entrypoint.value.replace('/', '.').removesuffix('.decision')}\n{DEFAULTS}\n"
    for entrypoint in Entrypoint
}
PATH = "gateway/call/decision.rego"
CALL = ENTRYPOINTS[PATH]
DATA = {"gateway": {"settings": {"roles": {}, "masks": {}, "default": 1, "group": "x"}}}


def review(text, *, data=None, roots=("",), others=ENTRYPOINTS, path=PATH, schemas=lint.UNKNOWN):
    """Every finding when one source is `text`, warnings too."""
    sources = tuple(Source(name, content) for name, content in {**others, path: text}.items())
    data = DATA if data is None else data
    return review_.findings(sources, data, Manifest(roots=roots), schemas)


def found(body, **options):
    """The names of what is found in `body`, below the package and default of the entrypoint for calls."""
    return {finding.rule for finding in review(below_package(body), **options)}


def below_package(body):
    """`body` as a source: an entrypoint's default is added unless it has one itself, behind the imports."""
    imports = [line for line in body.split("\n") if line.startswith("import ")]
    rest = "\n".join(line for line in body.split("\n") if line not in imports)
    default = "" if "decision :=" in body else DEFAULTS + "\n"
    return "\n".join(["package gateway.call", *imports, default + rest, ""])


def answer(body, rule, *, data=None, document=None):
    """What the engine says of `data.gateway.call.<rule>`: its value, `<undefined>`, or the text of its error."""
    engine = load((Source("a.rego", below_package(body)),), data or {})
    engine.set_input_json(orjson.dumps(document or {}).decode())
    try:
        return orjson.loads(engine.eval_rule_as_json(f"data.gateway.call.{rule}"))
    except RuntimeError as fault:
        return str(fault).strip().rpartition("error: ")[2]


def end(body, rule, *, document=None, wall_s=1.0, memory=2**30):
    """How a child ended that asked the engine; None when it lived to answer. Killed after `wall_s` seconds."""
    asked = orjson.dumps([body, rule, document])
    try:
        child.run(answered, asked, wall_s=wall_s, memory=memory)
    except child.Stopped as stopped:
        return stopped.end
    return None


def answered(asked):
    """In the child: ask the engine."""
    body, rule, document = orjson.loads(asked)
    return orjson.dumps(answer(body, rule, document=document))
