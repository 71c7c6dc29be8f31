"""The configuration: what a good one becomes, and that every bad one is told in full, in its own words, at its line."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys

GOOD = """\
[gateway]
listen = "127.0.0.1:8080"

[policy]
bundle = "policies"

[[issuer]]
url = "https://idp.example"

[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""
ENVIRONMENT = {"PATH": os.environ["PATH"], "EHR_TOKEN": "Bearer upstream-secret", "DATABASE_URL": "postgres://secret"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory in which a good configuration is good."""
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    return directory


@pytest.fixture
def load(place):
    def loaded(text: str | bytes, **environ: str) -> config.Config:
        file = place / "phigate.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.load(file, environ={**ENVIRONMENT, **environ})

    return loaded


@pytest.fixture
def faults(load, place):
    """The faults of a configuration, each as (line, text)."""

    def found(text: str | bytes, **environ: str) -> list[tuple[int, str]]:
        with pytest.raises(ConfigFault) as raised:
            load(text, **environ)
        head, *rest = raised.value.detail.split("\n")
        assert head.startswith(f"{len(rest)} fault")
        told = []
        for line in rest:
            match = re.fullmatch(re.escape(str(place / "phigate.toml")) + r":(\d+): (.+)", line)
            assert match, line
            assert ". Fix: " in match[2]
            told.append((int(match[1]), match[2]))
        return told

    return found


def with_gateway(line: str) -> str:
    """The good configuration with this line on line 3, or on line 2 when it says where to listen."""
    listen = 'listen = "127.0.0.1:8080"\n'
    return GOOD.replace(listen, f"{line}\n" if line.startswith("listen") else f"{listen}{line}\n")


# What a good configuration becomes


def test_a_short_configuration_gets_safe_defaults(load, place):
    made = load(GOOD)
    assert (made.gateway.host, made.gateway.port) == ("127.0.0.1", 8080)
    assert made.gateway.public_url == "http://127.0.0.1:8080"
    assert made.gateway.allowed_hosts == {"127.0.0.1:8080", "localhost:8080"}
    assert made.gateway.allowed_origins == {"http://127.0.0.1:8080"}
    assert (made.gateway.hold_s, made.gateway.keepalive_s) == (45, 15)
    assert made.evidence.store == place / "evidence.db"
    assert made.evidence.keys == place / "keys"
    assert made.evidence.origin == "gateway.example/phigate"
    assert made.policy.bundle == place / "policies"
    assert made.issuers[0].algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    assert made.issuers[0].groups_claim == (("groups",),)
    assert made.resource("ehr") == "http://127.0.0.1:8080/mcp/ehr"


def test_the_public_url_decides_hosts_origins_and_resources(load):
    made = load(GOOD.replace('listen = "127.0.0.1:8080"', 'listen = "0.0.0.0:80"\npublic_url = "https://gw.example/"'))
    assert made.gateway.allowed_hosts == {"gw.example", "0.0.0.0"}
    assert made.gateway.allowed_origins == {"https://gw.example"}
    assert made.resource("ehr") == "https://gw.example/mcp/ehr"


@pytest.mark.parametrize(
    ("public", "host"),
    [("https://GW.Example:443/", "gw.example"), ("https://gw.example:8443", "gw.example:8443"),
     ("http://127.0.0.1:80", "127.0.0.1"), ("http://[::1]:8080", "[::1]:8080")],
)  # fmt: skip
def test_the_public_host_is_the_one_that_clients_write(load, public, host):
    made = load(with_gateway(f'public_url = "{public}"'))
    assert host in made.gateway.allowed_hosts
    assert made.gateway.public_url == f"{public.split(':')[0]}://{host}"
    assert made.gateway.public_url in made.gateway.allowed_origins


def test_the_usual_port_is_not_part_of_the_hosts(load):
    assert load(with_gateway('listen = "127.0.0.1:80"')).gateway.allowed_hosts == {"127.0.0.1", "localhost"}


def test_a_program_as_upstream_gets_only_the_variables_that_it_may_see(load, place):
    program = f'command = "{sys.executable}"\nargs = ["server.py", ""]\nenv = ["DATABASE_URL"]\ncwd = "policies"'
    upstream = load(GOOD.replace('url = "https://ehr.example/mcp"', program)).upstreams[0]
    assert upstream.command == (sys.executable, "server.py", "")
    assert upstream.environment == {"PATH": ENVIRONMENT["PATH"], "DATABASE_URL": ENVIRONMENT["DATABASE_URL"]}
    assert upstream.cwd == place / "policies"


def test_credentials_come_from_the_environment_and_from_files(load, place):
    (place / "secret").write_text("file-secret\n")
    more = 'headers_env = { Authorization = "EHR_TOKEN" }\nheaders_file = { X-Api-Key = "secret" }\n'
    assert load(GOOD + more).upstreams[0].headers == {
        "Authorization": "Bearer upstream-secret",
        "X-Api-Key": "file-secret",
    }


def test_secrets_are_not_in_the_repr(load):
    made = load(GOOD + 'headers_env = { Authorization = "EHR_TOKEN" }\n')
    assert "secret" not in repr(made)


def test_labels_and_sql_settings_are_taken_over(load):
    more = 'labels = { system = "ehr", tier = 1, phi = true, units = ["icu"] }\n'
    more += 'sql = { q = "sql" }\nsql_dialect = "tsql"\n'
    upstream = load(GOOD + more).upstreams[0]
    assert upstream.labels == {"system": "ehr", "tier": 1, "phi": True, "units": ["icu"]}
    assert (upstream.sql, upstream.sql_dialect) == ({"q": "sql"}, "tsql")


def test_what_is_fhir_is_taken_over(load):
    more = 'fhir_bases = ["https://ehr.example/r4", "fhir://"]\nfhir.search = "GET {type}?{params?}"\n'
    upstream = load(GOOD + more).upstreams[0]
    assert upstream.fhir_bases == ("https://ehr.example/r4", "fhir://")
    assert upstream.fhir["search"].fill({"type": "Patient"}, ()).steps == ("Patient",)


@pytest.mark.parametrize(
    ("written", "paths"),
    [('"roles"', [("roles",)]), ('"realm_access.roles"', [("realm_access", "roles")]),
     ('"https://acme.example/groups"', [("https://acme.example/groups",)]), ("[]", []),
     ('["groups", "realm_access.roles", ["resource_access", "my.app", "roles"]]',
      [("groups",), ("realm_access", "roles"), ("resource_access", "my.app", "roles")])],
)  # fmt: skip
def test_a_groups_claim_is_one_path_or_several(load, written, paths):
    made = load(GOOD.replace("[[upstream]]", f"groups_claim = {written}\n[[upstream]]"))
    assert made.issuers[0].groups_claim == tuple(paths)


GRAPH = """\
[issuer.graph]
token_url = "https://login.example/tenant/oauth2/v2.0/token"
client_id = "7d9e"
client_secret_env = "GRAPH_SECRET"

[[upstream]]"""


def test_a_directory_gets_its_secret_from_the_environment_or_a_file_and_never_shows_it(load, place):
    made = load(GOOD.replace("[[upstream]]", GRAPH), GRAPH_SECRET="graph-secret").issuers[0]
    assert (made.graph.url, made.graph.client_secret) == ("https://graph.microsoft.com/v1.0", "graph-secret")
    assert "graph-secret" not in repr(made)
    (place / "graph.secret").write_text("graph-secret\n")
    from_file = GRAPH.replace('client_secret_env = "GRAPH_SECRET"', 'client_secret_file = "graph.secret"')
    assert load(GOOD.replace("[[upstream]]", from_file)).issuers[0] == made


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("https://login", "http://login", "a secret would cross the network in the clear"),
        ("/token", "/token?a=b", "has a query"),
        ('client_id = "7d9e"\n', "", "graph.client_id: is missing"),
        ('client_secret_env = "GRAPH_SECRET"\n', "", "or client_secret_file is needed, and not both"),
        ("GRAPH_SECRET", "ANOTHER", "names the variable ANOTHER, which is not set"),
        ("GRAPH_SECRET", "graph secret", "must name environment variables"),
        ("client_secret_env", "client_secret", "is not a setting"),
    ],
)
def test_a_fault_of_a_directory_is_named_without_its_secret(faults, before, after, told):
    shown = " ".join(text for _, text in faults(GOOD.replace("[[upstream]]", GRAPH.replace(before, after)),
                                                GRAPH_SECRET="graph-secret"))  # fmt: skip
    assert told in shown
    assert "graph-secret" not in shown


def test_an_upstream_may_require_scopes(load):
    assert load(GOOD).upstreams[0].required_scopes == ()
    made = load(GOOD + 'required_scopes = ["mcp:read", "api://gateway/call", "mcp:read"]\n')
    assert made.upstreams[0].required_scopes == ("mcp:read", "api://gateway/call")


def test_an_aggregate_requires_what_any_of_its_upstreams_does(load):
    more = 'required_scopes = ["a", "b"]\n[[upstream]]\nname = "claims"\nurl = "http://127.0.0.1:1/mcp"\n'
    more += 'required_scopes = ["b", "c"]\n[[aggregate]]\nname = "all"\n'
    made = load(GOOD + more)
    assert made.scopes("all") == ("a", "b", "c")
    assert (made.scopes("ehr"), made.scopes("claims")) == (("a", "b"), ("b", "c"))


@pytest.mark.parametrize("scope", ['"a b"', "'a\"b'", "'a\\b'", '""', '"é"', "1"])
def test_what_is_no_scope_is_a_fault(faults, scope):
    [(_, told)] = faults(GOOD + f"required_scopes = [{scope}]\n")
    assert "required_scopes" in told


def test_several_issuers_and_upstreams_keep_their_order(load):
    more = '[[issuer]]\nurl = "https://b.example"\n[[upstream]]\nname = "claims"\nurl = "http://127.0.0.1:1/mcp"\n'
    made = load(GOOD + more)
    assert [issuer.url for issuer in made.issuers] == ["https://idp.example", "https://b.example"]
    assert [upstream.name for upstream in made.upstreams] == ["ehr", "claims"]


def test_an_http_issuer_on_this_machine_is_for_trying_out(load, faults):
    local = GOOD.replace("https://idp.example", "http://localhost:9000")
    assert load(local).issuers[0].url == "http://localhost:9000"
    public = local.replace('"127.0.0.1:8080"', '"0.0.0.0:8080"\npublic_url = "https://gw.example"')
    [(line, told)] = faults(public)
    assert line == 9
    assert "the gateway listens beyond it" in told


# What is refused


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('listen = "127.0.0.1:99999"', "port that is out of range (99999). Fix: use a port from 1 to 65535."),
        ('listen = "127.0.0.1:0"', "out of range"),
        ('listen = "127.0.0.1:²"', "must be host:port"),
        ('listen = "8080"', "must be host:port"),
        ('listen = ":8080"', "no usable host"),
        ("listen = 8080", "must be a text"),
        ('listen = "0.0.0.0:8080"', "gateway.public_url: is missing"),
        ('listen = "[::]:8080"', "gateway.public_url: is missing"),
        ('listen = "10.0.0.7:8080"', "gateway.public_url: is missing"),
        ('listen = "gw.example:8080"', "gateway.public_url: is missing"),
        ('public_url = "http://gw.example"', "tokens and PHI would cross the network in the clear"),
        ('public_url = "https://gw.example/path"', "must end after the host"),
        ('public_url = "https://gw.example?x"', "must end after the host"),
        ('public_url = "https://me:secret@gw.example"', "holds a user name or password"),
        ('public_url = "gw.example"', "not an absolute http or https URL"),
        ('public_url = "https://[::1"', "is not a URL"),
        ('public_url = "https://gw.example:70000"', "is not a URL"),
        ("workers = 0", "use 1 to 256"),
        ("workers = 1.0", "whole number"),
        ("workers = true", "whole number"),
        ("hold_s = -1", "use 0 to 3600"),
        ("hold_s = nan", "number of seconds"),
        ("hold_s = inf", "number of seconds"),
        ('hold_s = "45"', "number of seconds"),
        ("drain_s = 1979-05-27", "number of seconds"),
        ("max_request_bytes = 1", "use 1024 to"),
        ('allowed_hosts = ["*"]', "no wildcards"),
        ('allowed_hosts = ["https://gw.example"]', "is not a host"),
        ('allowed_hosts = "gw.example"', "must be an array"),
        ('allowed_origins = ["https://gw.example/"]', "is not an origin"),
        ('allowed_origins = ["null"]', "not an absolute http or https URL"),
        ('hold = 45', "gateway.hold: is not a setting. Fix: did you mean 'hold_s'?"),
        ('"a b" = 1', "gateway.a b: is not a setting"),
    ],
)  # fmt: skip
def test_a_fault_of_the_gateway_section_is_named_at_its_line(faults, line, told):
    [(number, text)] = faults(with_gateway(line))
    assert told in text
    assert number == (1 if "public_url: is missing" in told else 2 if line.startswith("listen") else 3)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "http://idp.example"', "whoever is on the network could issue tokens"),
        ('url = "https://idp.example/?a=b"', "has a query"),
        ('url = "https://idp.example/#x"', "fragment"),
        ('url = "ftp://idp.example"', "not an absolute http or https URL"),
        ('url = ""', "1 to 2,048 printable characters"),
        ('algorithms = ["none"]', "would accept unsigned tokens"),
        ('algorithms = ["NonE"]', "would accept unsigned tokens"),
        ('algorithms = ["RS256", "HS256"]', "would let every holder issue tokens"),
        ('algorithms = ["RS257"]', "did you mean 'RS2"),
        ("algorithms = []", "no token could ever be accepted"),
        ('algorithms = "RS256"', "must be an array"),
        ('groups_claim = "a..b"', "is not the path to a claim"),
        ("groups_claim = [[]]", "is not the path to a claim"),
        ('groups_claim = ["a", 1]', "must be a text"),
        ('groups_claim = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]', "names more than 8 claims"),
        ('subject_claim = ""', "1 to 2,048 printable characters"),
        ('other_audiences = "x"', "must be an array"),
        ("max_lifetime_s = 0", "use 1 to 2.592e+06"),
        ('require_at_jwt = "yes"', "must be true or false"),
        ("clock_skew_s = 3600", "use 0 to 300"),
        ("jwks_refetch_s = 0", "use 0.1 to 3600"),
        ('audiense = "x"', "did you mean 'audience'?"),
    ],
)  # fmt: skip
def test_a_fault_of_an_issuer_is_named_at_its_line(faults, line, told):
    text = GOOD.replace(
        'url = "https://idp.example"', line if line.startswith("url") else f'url = "https://a.b"\n{line}'
    )
    [(number, shown)] = faults(text)
    assert told in shown
    assert shown.startswith("issuer[1].")
    assert number == (8 if line.startswith("url") else 9)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "http://ehr.example/mcp"', "PHI would cross the network in the clear"),
        ('url = "https://a:b@ehr.example"', "put credentials in headers_env"),
        ('command = "nonesuch"', "is no program that can be run (nonesuch)"),
        ('command = "./nonesuch"', "is no program that can be run"),
        ('command = "./policies"', "is no program that can be run"),
        ('url = "https://a.b"\ncommand = "env"', "an upstream has exactly one of them"),
        ('url = "https://a.b"\nargs = ["x"]', "has no effect without command"),
        ('command = "env"\nheaders_env = { A = "EHR_TOKEN" }', "has no effect without url"),
        ('command = "env"\nenv = ["NOT_SET"]', "names the variable NOT_SET, which is not set"),
        ('command = "env"\nenv = ["A=b"]', "must name environment variables"),
        ('command = "env"\ncwd = "nonesuch"', "is not a directory"),
        ('command = "env"\nargs = [1]', "must be an array of texts"),
        ('url = "https://a.b"\nheaders_env = { Authorization = "NOT_SET" }', "which is not set"),
        ('url = "https://a.b"\nheaders_env = { "A B" = "EHR_TOKEN" }', "is not a header name"),
        ('url = "https://a.b"\nheaders_env = { Host = "EHR_TOKEN" }', "which the gateway writes itself"),
        ('url = "https://a.b"\nheaders_env = { Mcp-Session-Id = "EHR_TOKEN" }', "which the gateway writes itself"),
        ('url = "https://a.b"\nheaders_file = { X = "nonesuch" }', "names a file that cannot be read"),
        ('url = "https://a.b"\nheaders_file = { X = "policies" }', "names a file that cannot be read"),
        ('url = "https://a.b"\nlabels = { a = 1.5 }', "a value that policy cannot be told"),
        ('url = "https://a.b"\nlabels = { a = 9007199254740993 }', "a value that policy cannot be told"),
        ('url = "https://a.b"\nsql = { q = "sql" }', "upstream[1].sql_dialect: is missing"),
        ('url = "https://a.b"\nsql = { q = 1 }\nsql_dialect = "mysql"', "must be a text"),
        ('url = "https://a.b"\nsql_dialect = "postgresql"', "did you mean 'postgres'?"),
        ('url = "https://a.b"\nfhir.x = "FETCH {type}"', "begins with no method"),
        ('url = "https://a.b"\nfhir.x = 1', "must be a text"),
        ('url = "https://a.b"\nfhir_bases = ["ehr.example"]', "what no URL begins with"),
        ('url = "https://a.b"\nfhir_bases = ["https://a.b?x"]', "what no URL begins with"),
        ('url = "https://a.b"\nera = "moderne"', "did you mean 'modern'?"),
        ('url = "https://a.b"\nmax_response_bytes = 0', "use 1024 to"),
    ],
)  # fmt: skip
def test_a_fault_of_an_upstream_is_named_at_its_line(faults, line, told):
    [(number, shown)] = faults(GOOD.replace('url = "https://ehr.example/mcp"', line))
    assert told in shown
    assert shown.startswith("upstream[1].")
    assert number >= 10


def test_a_secret_that_was_written_in_the_place_of_a_variables_name_is_not_repeated(faults):
    [(_, told)] = faults(GOOD + 'headers_env = { A = "sk_live_4f9a" }\n')
    assert "names a variable that is not set" in told
    assert "sk_live" not in told


def test_a_secret_that_cannot_be_a_header_is_refused_without_being_shown(faults):
    [(_, told)] = faults(GOOD + 'headers_env = { A = "BAD" }\n', BAD="secret\r\nX-Evil: 1")
    assert "has a value that cannot be sent in a header (variable BAD)" in told
    assert "secret" not in told
    assert "Evil" not in told


@pytest.mark.parametrize("name", ["EHR", "a/b", "", "a b", "..", "-a", "a-", "é", "a" * 64])
def test_an_upstream_name_that_is_no_path_segment_is_refused(faults, name):
    [(number, told)] = faults(GOOD.replace('name = "ehr"', f'name = "{name}"'))
    assert number == 11
    assert told.startswith("upstream[1].name: must be 1 to ")


def test_what_stands_twice_is_refused_with_both_lines(faults):
    more = '[[issuer]]\nurl = "https://idp.example"\n[[upstream]]\nname = "ehr"\nurl = "https://other.example"\n'
    assert [(line, told.split(". ")[0]) for line, told in faults(GOOD + more)] == [
        (14, "issuer[2].url: is the same as on line 8"),
        (16, "upstream[2].name: is the same as on line 11"),
    ]


def test_a_file_with_nothing_in_it_is_told_all_that_is_missing(faults):
    told = " ".join(text for _, text in faults(""))
    for missing in ("policy.bundle: is missing", "issuer: is missing", "upstream: is missing"):
        assert missing in told


def test_a_section_of_the_wrong_kind_is_told(faults):
    told = " ".join(
        text for _, text in faults('gateway = 1\nissuer = {}\nupstream = ["a"]\npolicy = []\nevidence = ""\n')
    )
    for section in ("gateway: must be a table", "issuer: must be an array of tables", "upstream: must be an array"):
        assert section in told


def test_an_unknown_section_is_told_with_the_one_that_was_meant(faults):
    [(line, told)] = faults(GOOD + "[evidense]\nstore = 'a.db'\n")
    assert line == 13
    assert told == "evidense: is not a setting. Fix: did you mean 'evidence'?"


def test_what_is_not_toml_is_told_with_the_line(faults):
    assert faults("[gateway]\nlisten = \n")[0][0] == 2
    assert faults('a = 1\na = 2\n')[0][0] == 2  # fmt: skip
    assert "at the end of the file" in faults("[gateway]\nlisten = [")[0][1]


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"a = 1\0", b"a = " + b"[" * 50_000, b"#" * (1 << 21), b"a=" + b"9" * 5000]
)
def test_a_file_that_is_no_configuration_is_a_fault_and_no_traceback(faults, text):
    assert faults(text)


def test_a_file_that_is_not_there_is_a_fault(tmp_path):
    with pytest.raises(ConfigFault, match=r"There is no .*phigate init"):
        config.load(tmp_path / "nonesuch.toml")


def test_a_directory_instead_of_a_file_is_a_fault(tmp_path):
    with pytest.raises(ConfigFault, match="cannot be read"):
        config.load(tmp_path)


def test_a_missing_bundle_or_store_directory_is_a_fault(faults):
    text = GOOD.replace('"policies"', '"nonesuch"') + '[evidence]\nstore = "nonesuch/evidence.db"\n'
    assert [(line, told.split(" (")[0]) for line, told in faults(text)] == [
        (5, "policy.bundle: does not exist"),
        (14, "evidence.store: is in a directory that does not exist"),
    ]


def test_a_store_that_is_a_directory_is_a_fault(faults):
    [(_, told)] = faults(GOOD + '[evidence]\nstore = "policies"\n')
    assert "is a directory" in told


def test_missing_keys_are_a_fault_with_the_command_that_makes_them(faults, place):
    (place / "empty").mkdir(mode=0o700, exist_ok=True)
    assert "is not a directory" in faults(GOOD + '[evidence]\nkeys = "nonesuch"\n')[0][1]
    [(line, told)] = faults(GOOD + '[evidence]\nkeys = "empty"\n')
    assert line == 14
    assert "holds no keys" in told
    assert "phigate init" in told


def test_keys_that_others_can_read_are_refused_with_the_command_that_mends_it(faults, load, tmp_path):
    keys.generate(tmp_path / "keys", origin="gateway.example/phigate")
    text = GOOD + f'[evidence]\nkeys = "{tmp_path}/keys"\n'
    assert load(text)
    (tmp_path / "keys" / "log.key").chmod(0o640)
    (tmp_path / "keys").chmod(0o755)
    told = " ".join(told for _, told in faults(text))
    assert f"chmod 700 {tmp_path}/keys" in told
    assert f"chmod 600 {tmp_path}/keys/log.key" in told


def test_another_log_name_than_that_of_the_keys_is_refused(faults):
    [(line, told)] = faults(GOOD + '[evidence]\norigin = "other.example/log"\n')
    assert line == 14
    assert 'write origin = "gateway.example/phigate"' in told


def test_all_faults_are_named_at_once_in_the_order_of_their_lines(faults):
    text = GOOD.replace("8080", "0").replace("https", "gopher").replace("policies", "nonesuch").replace("ehr", "EHR", 1)
    found = faults(text)
    assert [line for line, _ in found] == [2, 5, 8, 11, 12]


# Lines and words


def test_lines_are_found_in_every_way_to_write_toml(faults):
    text = '''\
# a comment with [gateway] in it
"gateway" . listen = """
[policy]
not a host
"""
gateway.allowed_hosts = [
  "good.example", # ]
  "bad host",
]
[policy]
bundle = 'policies'
[[issuer]]
  url = "https://a.example" # [[issuer]]
  [[issuer]]
  url = "b"
[[ upstream ]]
name = "ehr"
url = "https://ehr.example"
[upstream.labels]
bad = 1.5
'''
    told = [(line, shown.split(":")[0]) for line, shown in faults(text)]
    assert told == [
        (2, "gateway.listen"),
        (6, "gateway.allowed_hosts"),
        (15, "issuer[2].url"),
        (19, "upstream[1].labels"),
    ]


odd_values = st.recursive(
    st.none().map(lambda _: "''") | st.booleans().map(lambda b: str(b).lower()) | st.integers().map(str)
    | st.floats().map(lambda f: repr(f)) | st.text(alphabet="ab/:.*[]#=\"'\\\n{} é\0").map(repr)
    | st.sampled_from(['"127.0.0.1:80"', '"https://a.b"', '"0.0.0.0:1"', "1979-05-27", "07:32:00", '"""x\n"""']),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    | st.lists(inner, max_size=2).map(lambda items: "{" + ", ".join(f"k{n} = {v}" for n, v in enumerate(items)) + "}"),
    max_leaves=4,
)  # fmt: skip
known = st.sampled_from(
    [
        *"listen public_url workers allowed_hosts store keys origin bundle reload_s url audience algorithms".split(),
        *"groups_claim subject_claim other_audiences max_lifetime_s graph name command args env cwd".split(),
        *"headers_env headers_file labels era".split(),
        *"sql sql_dialect allow_http required_scopes token_url client_secret_env".split(),
        *("x", '""', "'a b'", "a.b"),
    ]
)
headers = st.sampled_from(
    [
        "[gateway]",
        "[evidence]",
        "[policy]",
        "[[issuer]]",
        "[[upstream]]",
        "[upstream.labels]",
        "[issuer.graph]",
        "[x]",
        "",
        "[[gateway]]",
        "#",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(headers, st.builds("{} = {}".format, known, odd_values)), max_size=25).map("\n".join))
def test_no_configuration_causes_a_traceback(place, text):
    file = place / "random.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigFault) as raised:
        config.load(file, environ=ENVIRONMENT)
    assert raised.value.detail.count("\n") >= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_file_causes_a_traceback(place, data):
    file = place / "random.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigFault):
        config.load(file, environ=ENVIRONMENT)


def known_keys(faults) -> set[tuple[str, str]]:
    """Every section and key that the configuration has, by what it says to a word that nothing resembles."""
    odd = "q" * 30
    text = f"[gateway]\n{odd}=1\n[gateway.mtls]\n{odd}=1\n"
    text += f"[evidence]\n{odd}=1\n[policy]\n{odd}=1\n[policy.signing]\n{odd}=1\n"
    text += f"[[policy.signing.key]]\n{odd}=1\n[[issuer]]\n{odd}=1\n[issuer.graph]\n{odd}=1\n"
    text += f"[[upstream]]\n{odd}=1\n[upstream.credentials]\n{odd}=1\n[[aggregate]]\n{odd}=1\n"
    text += f"[authority]\n{odd}=1\n[[authority.client]]\n{odd}=1\n"
    text += f"[[login]]\n{odd}=1\n[saml]\n{odd}=1\n[[saml.idp]]\n{odd}=1\n"
    text += f"[metrics]\n{odd}=1\n[telemetry]\n{odd}=1\n"
    found = set()
    for _, told in faults(text):
        match = re.fullmatch(rf"([\w.\[\]]+)\.{odd}: .* known here: (.*)\.", told)
        if match:
            found |= {(match[1].replace("[1]", ""), key) for key in match[2].split(", ")}
    sections = {section for section, _ in found}
    return {(section, key) for section, key in found if f"{section}.{key}" not in sections}


def test_every_key_is_documented_and_every_documented_key_exists(faults):
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    documented = set()
    for section in re.split(r"^##+ (?=`\[)", page, flags=re.MULTILINE)[1:]:
        name = re.match(r"`\[+([\w.]+)\]+`", section)
        assert name
        documented |= {(name[1], key) for key in re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)}
    assert documented == known_keys(faults)
    assert len(documented) > 40


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[metrics]\nlisten = 9464", "metrics.listen: must be a text"),
        ('[metrics]\nlisten = "9464"', "metrics.listen: must be host:port"),
        ('[telemetry]\notlp_endpoint = "http://collector.example:4318"', "could be read on the way"),
        ('[telemetry]\notlp_endpoint = "collector:4318"', "is not an absolute http or https URL"),
        ('[telemetry]\notlp_endpoint = "https://who:secret@c.example"', "holds a user name or password"),
        ("[telemetry]\nsample_ratio = 0.5", "telemetry.sample_ratio: has no effect without otlp_endpoint"),
        ('[telemetry]\notlp_endpoint = "https://c.example"\nsample_ratio = 2', "sample_ratio: must be a share"),
        ('[telemetry]\notlp_endpoint = "https://c.example"\nsample_ratio = true', "sample_ratio: must be a share"),
        (
            '[telemetry]\notlp_endpoint = "https://c.example"\notlp_headers_env = { a = "MISSING" }',
            "MISSING, which is not",
        ),
    ],
    ids=lambda value: value.split("\n")[-1] if "\n" in value else "",
)
def test_what_is_wrong_with_metrics_and_traces_is_told(faults, line, told):
    assert [text for _, text in faults(f"{GOOD}\n{line}\n") if told in text]


def test_metrics_and_traces_are_off_unless_they_are_configured(load):
    found = load(GOOD).telemetry
    assert (found.metrics, found.otlp_endpoint) == (None, None)


def test_where_metrics_and_traces_go_and_no_secret_in_a_repr(load):
    table = '[telemetry]\notlp_endpoint = "https://c.example"\notlp_headers_env = { Authorization = "EHR_TOKEN" }\n'
    found = load(f'{GOOD}\n[metrics]\nlisten = "127.0.0.1:9464"\n{table}').telemetry
    assert found.metrics == ("127.0.0.1", 9464)
    assert found.otlp_headers == {"Authorization": "Bearer upstream-secret"}
    assert "upstream-secret" not in repr(found)


def test_traces_without_their_extra_are_a_fault_that_says_what_to_install(faults, monkeypatch):
    monkeypatch.setattr("gateway.config.telemetry._EXTRA", ("no_such_package.at_all",))
    [(_, told)] = faults(f'{GOOD}\n[telemetry]\notlp_endpoint = "https://c.example"\n')
    assert "pip install 'phigate[telemetry]'" in told


def test_an_unknown_form_of_logs_is_told_what_there_is(faults):
    assert "did you mean 'json'" in faults(with_gateway('log_format = "jsn"'))[0][1]


def test_every_dialect_is_one_that_the_sql_parser_knows():
    from sqlglot.dialects.dialect import Dialects

    from gateway.config.values import SQL_DIALECTS

    assert {dialect.value for dialect in Dialects} >= SQL_DIALECTS


# Where policy comes from, and whose signature it must have


SERVED = GOOD.replace(
    'bundle = "policies"',
    'url = "https://bundles.example/main.tar.gz"\n[[policy.signing.key]]\npublic_key = "bundles.pub"',
)


@pytest.fixture(scope="module", autouse=True)
def bundle_keys(place):
    """Public keys as operators have them, and what is none."""
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    for name, private in (
        ("bundles.pub", rsa.generate_private_key(65537, 2048)),
        ("weak.pub", rsa.generate_private_key(65537, 1024)),
        ("ec.pub", ec.generate_private_key(ec.SECP256R1())),
    ):
        (place / name).write_bytes(private.public_key().public_bytes(*kinds))
    (place / "no.pub").write_text("no key")


def test_a_bundle_server_with_its_key(load):
    made = load(SERVED.replace("[[policy", 'headers_env = { Authorization = "EHR_TOKEN" }\n[[policy')).policy

    assert made.bundle is None
    assert (made.server.url, made.server.min_delay_s) == ("https://bundles.example/main.tar.gz", 60.0)
    assert made.server.headers == {"Authorization": "Bearer upstream-secret"}
    assert "upstream-secret" not in repr(made)
    (key,) = made.verification.keys
    assert (key.id, key.algorithm, key.scope) == ("default", "RS256", "")


def test_a_directory_is_taken_unsigned_unless_there_is_a_key(load):
    assert load(GOOD).policy.verification is None
    key = '[[policy.signing.key]]\nid = "k1"\nalgorithm = "ES256"\npublic_key = "ec.pub"\nscope = "write"\n'
    (held,) = load(GOOD.replace("[[issuer]]", f"{key}[[issuer]]")).policy.verification.keys
    assert (held.id, held.algorithm, held.scope) == ("k1", "ES256", "write")


def test_unsigned_bundles_from_a_server_are_taken_only_when_that_is_said(load, faults):
    unsigned = SERVED.replace(
        '[[policy.signing.key]]\npublic_key = "bundles.pub"', "[policy.signing]\nrequired = false"
    )

    assert load(unsigned).policy.verification is None
    ((_, told),) = faults(SERVED.replace('[[policy.signing.key]]\npublic_key = "bundles.pub"', ""))
    assert "policy.signing.key: is missing, and bundles that come over a network must be signed" in told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[[policy", 'bundle = "policies"\n[[policy', "policy.url: and bundle: policy comes from exactly one"),
        ("[[policy", "reload_s = 1\n[[policy", "policy.reload_s: has no effect without bundle"),
        ("https://bundles", "http://bundles", "policy.url: is http, so credentials"),
        ("main.tar.gz", "main.tar.gz?sig=secret", "policy.url: has a query"),
        ("https://bundles", "https://me:pw@bundles", "policy.url: holds a user name"),
        ("[[policy", "min_delay_s = 300\n[[policy", "policy.min_delay_s: is more than max_delay_s"),
        ("[[policy", "long_polling_timeout_s = 0\n[[policy", "policy.long_polling_timeout_s: must be a whole number"),
        ("bundles.pub", "nowhere.pub", "public_key: cannot be read"),
        ("bundles.pub", "no.pub", "public_key: cannot be used"),
        ("bundles.pub", "weak.pub", "1024 bits"),
        ("bundles.pub", "ec.pub", "RS256 needs an RSA key"),
        ('"bundles.pub"', '"bundles.pub"\nalgorithm = "HS256"', "with whose key every gateway could sign"),
        ('"bundles.pub"', '"bundles.pub"\nalgorithm = "none"', "no algorithm that bundles are signed with"),
        ('"bundles.pub"', '"bundles.pub"\nkey_id = "x"', "key_id: is not a setting"),
        ('public_key = "bundles.pub"', "", "public_key: is missing"),
        ("[[policy.signing.key]]", "[policy.signing]\nrequired = false\n[[policy.signing.key]]", "false although"),
        (
            "[[issuer]]",
            '[[policy.signing.key]]\npublic_key = "bundles.pub"\n[[issuer]]',
            "more than one with the id 'default'",
        ),
    ],
)
def test_what_is_wrong_with_where_policy_comes_from_is_named(faults, before, after, told):
    found = faults(SERVED.replace(before, after, 1))

    assert any(told in text and ". Fix: " in text for _, text in found), found
    assert not any("secret" in text for _, text in found)
    assert all(line > 3 for line, _ in found)


def test_keys_of_a_directory_are_not_for_a_server(faults):
    ((_, told),) = faults(GOOD.replace("[[issuer]]", "max_delay_s = 5\n[[issuer]]"))
    assert "policy.max_delay_s: has no effect without url" in told


def test_where_evidence_and_policy_are_is_read_without_what_only_a_gateway_has(tmp_path):
    file = tmp_path / "phigate.toml"
    keys.generate(tmp_path / "keys", origin="a/phigate")
    (tmp_path / "policies").mkdir()
    upstream = '[[upstream]]\nname = "a"\ncommand = "no-such-program"\n'
    file.write_text(f'[evidence]\nstore = "e.db"\n[policy]\nbundle = "policies"\n{upstream}')

    assert config.evidence_at(file).store == tmp_path / "e.db"
    assert config.policy_at(file).bundle == tmp_path / "policies"
    with pytest.raises(ConfigFault, match="no-such-program"):
        config.load(file)


def test_faults_of_the_table_that_is_read_are_told(tmp_path):
    file = tmp_path / "phigate.toml"
    file.write_text('[evidence]\nstorage = "e.db"\n')

    with pytest.raises(ConfigFault, match=r"(?s)nothing was done.*storage"):
        config.evidence_at(file)
