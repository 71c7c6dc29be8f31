"""Interop with OPA: bundles that it built and signed are read here, and ours are still the ones that it verified."""

import hashlib
import json
from pathlib import Path

import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import signature
from gateway.pdp import loader, signing
from gateway.pdp.engine import load

VECTORS = Path(__file__).parents[1] / "vectors" / "opa"
KEYS = VECTORS / "keys"

SIGNED = {
    "rs256": ("rsa.pub", "RS256", "default", ""),
    "es256-key-id": ("ec.pub", "ES256", "k1", ""),
    "hs256": ("secret.txt", "HS256", "default", ""),
    "ps512-scope": ("rsa.pub", "PS512", "default", "write"),
    "yaml-signed": ("rsa.pub", "RS256", "default", ""),
}
OURS = {
    "": None,
    "-rs256": ("rsa.pem", "RS256", None),
    "-rs384": ("rsa.pem", "RS384", KEYS / "claims.json"),
    "-hs256": ("secret.txt", "HS256", None),
}


def opas(name):
    return loader.read(VECTORS / f"{name}.tar.gz")


def trust(name, **changes):
    key, algorithm, key_id, scope = SIGNED[name]
    given = {"key_id": key_id, "scope": scope, **changes}
    return signing.verification(str(KEYS / key), algorithm, **given)


@pytest.mark.parametrize("name", ["plain", "yaml-built", *SIGNED])
def test_what_opa_built_is_read_as_its_source_is(name):
    built = opas(name)
    source = loader.read(VECTORS / "source" / ("yaml" if name.startswith("yaml") else "plain"))

    assert built.data == source.data
    assert set(built.manifest.roots) == set(source.manifest.roots)
    engine = load(built.sources, built.data)
    engine.set_input_json('{"rows": 3, "ward": "1a"}')
    assert json.loads(engine.eval_rule_as_json("data.gateway.call.decision")) == {"effect": "allow"}
    engine.set_input_json('{"rows": 3, "ward": "7b"}')
    assert json.loads(engine.eval_rule_as_json("data.gateway.call.decision")) == {"effect": "deny"}


@pytest.mark.parametrize("name", SIGNED)
def test_what_opa_signed_verifies_and_nothing_else_does(name):
    files = opas(name).files

    assert signature.verify(files, trust(name)).algorithm == SIGNED[name][1]
    for path in files:
        if path != bundles.SIGNATURES:
            altered = files[path].replace(b"o", b"0", 1)
            with pytest.raises(PolicyFault, match="is not what was signed"):
                signature.verify({**files, path: altered}, trust(name))
    with pytest.raises(PolicyFault, match="scope"):
        signature.verify(files, trust(name, scope="other"))


@pytest.mark.parametrize("name", SIGNED)
def test_the_structured_files_of_opa_may_be_written_anew(name):
    files = opas(name).files
    value = json.loads(files[".manifest"])
    again = json.dumps(dict(reversed(value.items())), indent=4).encode()

    assert again != files[".manifest"]
    assert signature.verify({**files, ".manifest": again}, trust(name))


@pytest.mark.parametrize(("source", "how"), [(source, how) for source in ("plain", "yaml") for how in OURS])
def test_what_we_build_and_sign_is_still_what_opa_verified(source, how):
    files = bundles.parts(loader.sources(VECTORS / "source" / source))
    if OURS[how] is not None:
        key, algorithm, claims = OURS[how]
        files = signing.signer(str(KEYS / key), algorithm, key_id="default", claims=claims).signed(files)

    built = bundles.pack(files)

    assert hashlib.sha256(built).hexdigest() == json.loads((VECTORS / "ours.json").read_text())[source + how]
