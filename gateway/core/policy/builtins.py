"""The built-in functions that policy may call: what regorus 0.13.0 has, less what would make decisions differ.

A function that is in neither set does not exist for regorus, which finds that out only when a decision reaches it.
"""

from __future__ import annotations

NONDETERMINISTIC = frozenset(
    "http.send net.lookup_ip_addr opa.runtime rand.intn time.now_ns trace uuid.rfc4122".split()
)
"""What would answer differently when the decision is made again from its recorded input."""

PANICKING = frozenset("object.subset strings.count time.parse_ns".split())
"""What panics in regorus on some inputs: a denial, and a message on stderr that may quote the input."""

DETERMINISTIC = frozenset(
    """
    abs array.concat array.reverse array.slice base64.decode base64.encode base64.is_valid base64url.decode
    base64url.encode base64url.encode_no_pad bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor ceil concat
    contains count endswith floor format_int glob.match glob.quote_meta graph.reachable graph.reachable_paths
    hex.decode hex.encode indexof indexof_n intersection is_array is_boolean is_null is_number is_object is_set
    is_string json.filter json.is_valid json.marshal json.marshal_with_options json.match_schema json.patch
    json.remove json.unmarshal json.verify_schema lower max min net.cidr_contains net.cidr_expand net.cidr_is_valid
    numbers.range numbers.range_step object.filter object.get object.keys object.remove object.union
    object.union_n print product regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match
    regex.replace regex.split regex.template_match replace round semver.compare semver.is_valid sort split sprintf
    startswith strings.any_prefix_match strings.any_suffix_match strings.replace_n strings.reverse
    substring sum time.add_date time.clock time.date time.diff time.format time.parse_duration_ns
    time.parse_rfc3339_ns time.weekday to_number trim trim_left trim_prefix trim_right trim_space trim_suffix
    type_name union units.parse units.parse_bytes upper urlquery.decode urlquery.decode_object urlquery.encode
    urlquery.encode_object uuid.parse walk yaml.is_valid yaml.marshal yaml.unmarshal
    """.split()
)

DEPRECATED = frozenset(
    """
    all any cast_array cast_boolean cast_null cast_object cast_set cast_string net.cidr_overlap re_match set_diff
    """.split()
)
"""What OPA once had: `opa check` refuses it in Rego v1, and regorus has none of it."""

_BY_ARITY = {
    0: "opa.runtime time.now_ns",
    2: """
    array.concat bits.and bits.lsh bits.or bits.rsh bits.xor concat contains endswith format_int graph.reachable
    graph.reachable_paths indexof indexof_n json.filter json.marshal_with_options json.match_schema json.patch
    json.remove net.cidr_contains numbers.range object.filter object.remove object.subset object.union rand.intn
    regex.match regex.split semver.compare split sprintf startswith strings.any_prefix_match strings.any_suffix_match
    strings.count strings.replace_n time.diff time.parse_ns trim trim_left trim_prefix trim_right trim_suffix
    """,
    3: """
    array.slice glob.match numbers.range_step object.get regex.find_all_string_submatch_n regex.find_n regex.replace
    replace substring
    """,
    4: "regex.template_match time.add_date",
}
_COUNTED = {name: arity for arity, names in _BY_ARITY.items() for name in names.split()}

ARITY = {name: _COUNTED.get(name, 1) for name in DETERMINISTIC | NONDETERMINISTIC | PANICKING if name not in ("print",)}
"""How many arguments each takes; `print` takes any number."""

BOOLEAN = frozenset(
    """
    base64.is_valid contains endswith glob.match is_array is_boolean is_null is_number is_object is_set is_string
    json.is_valid net.cidr_contains net.cidr_is_valid object.subset print regex.is_valid regex.match
    regex.template_match semver.is_valid startswith strings.any_prefix_match strings.any_suffix_match walk yaml.is_valid
    """.split()
)
"""What answers with true or false (`walk`: with what it is given to bind), so that a call of it is a condition."""

ROOTS = frozenset(name.split(".")[0] for name in DETERMINISTIC | NONDETERMINISTIC | PANICKING)
"""The first words of their names."""
