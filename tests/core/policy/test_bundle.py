import gzip
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle
from gateway.core.policy.bundle import Manifest

FILES = {
    "gateway/call/call.rego": b"package gateway.call\n",
    "gateway/settings/data.json": b'{"rows": 5}',
    ".manifest": b'{"roots": ["gateway"]}',
}


def archive(entries, *, mode="w:gz"):
    """A tar of (name or TarInfo, content) pairs, made without the care that `build` takes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, content in entries:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def refusal(data):
    with pytest.raises(PolicyFault) as caught:
        bundle.read(data)
    return caught.value.detail


def test_what_was_built_is_read_back():
    built = bundle.read(bundle.build(FILES))

    assert [source.path for source in built.sources] == ["gateway/call/call.rego"]
    assert built.data == {"gateway": {"settings": {"rows": 5}}}
    assert built.manifest.roots == ("gateway",)
    assert built.manifest.revision.startswith("sha256:")


def test_the_same_files_make_the_same_bytes_in_whatever_order_they_come():
    assert bundle.build(FILES) == bundle.build(dict(reversed(FILES.items())))


def test_another_content_has_another_revision_and_digest():
    one = bundle.read(bundle.build(FILES))
    other = bundle.read(bundle.build({**FILES, "gateway/settings/data.json": b'{"rows": 6}'}))

    assert one.manifest.revision != other.manifest.revision
    assert one.digest != other.digest


def test_a_revision_of_ones_own_is_kept():
    assert bundle.read(bundle.build(FILES, revision="2026-01")).manifest.revision == "2026-01"


def test_sources_to_go_on_from_have_no_revision():
    built = bundle.read(bundle.build(FILES))

    again = bundle.build({**bundle.unrevised(built), "gateway/call/call.rego": b"package gateway.call\nx := 1\n"})

    assert bundle.read(again).manifest.revision != built.manifest.revision
    assert bundle.build(bundle.unrevised(built)) == built.archive


def test_only_policy_and_data_go_into_a_bundle():
    built = bundle.read(bundle.build({**FILES, "README.md": b"#", "schema/input.json": b"{}", "x.py": b""}))

    assert sorted(built.files) == sorted(FILES)


def test_any_gzip_reads_what_is_built():
    big = {**FILES, "gateway/big/data.json": json.dumps({"x": "y" * 200_000}).encode()}

    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle.build(big)))) as tar:
        assert "gateway/big/data.json" in tar.getnames()


def test_a_bundle_as_opa_writes_it_is_read():
    data = archive(
        [
            ("/data.json", b'{"gateway": {"settings": {"rows": 5}}}'),
            ("/gateway/call.rego", b"package gateway.call\n"),
            ("/.manifest", b'{"revision": "r1", "roots": ["gateway"], "rego_version": 1}'),
        ]
    )

    read = bundle.read(data)

    assert read.manifest == Manifest("r1", ("gateway",), {})
    assert read.data == {"gateway": {"settings": {"rows": 5}}}
    assert read.name == "policy"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.rego",
        "a/../../evil.rego",
        "/../evil.rego",
        "a//b.rego",
        "a/./b.rego",
        "c:\\x.rego",
        "a\nb.rego",
        "\u202ea.rego",
    ],
)
def test_a_name_that_could_climb_out_is_refused(name):
    assert "no file name for a bundle" in refusal(archive([(name, b"")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_is_refused(kind):
    entry = tarfile.TarInfo("a.rego")
    entry.type = kind
    entry.linkname = "/etc/passwd"

    assert "link or a device" in refusal(archive([(entry, b"")]))


def test_a_file_that_is_there_twice_is_refused():
    assert "twice" in refusal(archive([("a.rego", b""), ("/a.rego", b"package a\n")]))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked():
    bomb = gzip.compress(bytes(bundle.UNPACKED_MAX + 1))

    assert len(bomb) < bundle.ARCHIVE_MAX
    assert "unpacks to more than" in refusal(bomb)


def test_an_archive_beyond_the_limit_is_not_even_opened():
    assert "at most" in refusal(bytes(bundle.ARCHIVE_MAX + 1))


def test_more_files_than_a_bundle_may_have_are_refused():
    assert "one file more" in refusal(archive([(f"f{n}.txt", b"") for n in range(bundle.FILES_MAX + 1)]))


@pytest.mark.parametrize(
    "data",
    [b"", b"no", gzip.compress(b"no tar" * 200), bundle.build(FILES)[:-9], bundle.build(FILES) + b"x"],
    ids=["nothing", "no gzip", "no tar", "cut short", "more after it"],
)
def test_what_is_no_bundle_or_cut_short_is_refused(data):
    assert refusal(data)


@given(st.binary(max_size=2000))
def test_reading_bytes_of_any_kind_ends_in_a_bundle_or_a_policy_fault(data):
    for candidate in (data, gzip.compress(data, mtime=0)):
        try:
            bundle.read(candidate)
        except PolicyFault:
            continue


@given(st.integers(0, len(bundle.build(FILES)) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_changes_the_digest(position, flip):
    built = bundle.build(FILES)
    broken = bytes([*built[:position], built[position] ^ flip, *built[position + 1 :]])

    try:
        assert bundle.read(broken).digest != bundle.read(built).digest
    except PolicyFault:
        return


def test_a_source_that_is_not_utf8_or_too_long_is_refused():
    assert "not UTF-8" in refusal(archive([("a.rego", b"\xff")]))
    assert "larger than" in refusal(archive([("a.rego", b" " * (bundle.SOURCE_MAX + 1))]))


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"[]", "not a JSON object"),
        (b"{", ".manifest:1: not JSON"),
        (b'{"roots": []}', "at least one"),
        (b'{"roots": [1]}', "at least one"),
        (b'{"roots": ["a", "a/b"]}', "overlap"),
        (b'{"roots": ["a", ""]}', "overlap"),
        (b'{"roots": ["a", "a"]}', "overlap"),
        (b'{"revision": 1}', "`revision` is text"),
        (b'{"rego_version": 0}', "only Rego v1"),
        (b'{"file_rego_versions": {"/a.rego": 0}}', "only Rego v1"),
    ],
)
def test_a_manifest_that_cannot_be_kept_is_refused(manifest, told):
    assert told in refusal(archive([(".manifest", manifest)]))


def test_data_outside_the_roots_is_refused():
    data = archive([(".manifest", b'{"roots": ["gateway"]}'), ("other/data.json", b'{"x": 1}')])

    assert "outside the bundle's roots" in refusal(data)


def test_two_data_files_that_disagree_are_refused():
    data = archive([("a/data.json", b'{"b": {"x": 1}}'), ("a/b/data.json", b'{"x": 2}')])

    assert "another data file already" in refusal(data)


def test_a_value_where_another_file_has_a_directory_is_refused():
    data = archive([("a/data.json", b'{"b": 1}'), ("a/b/data.json", b'{"x": 2}')])

    assert "another data file already" in refusal(data)


def test_data_files_below_each_other_are_merged():
    data = archive([("a/data.json", b'{"b": {"x": 1}}'), ("a/b/data.json", b'{"y": 2}')])

    assert bundle.read(data).data == {"a": {"b": {"x": 1, "y": 2}}}


def test_yaml_data_is_data():
    read = bundle.read(archive([("a/data.yaml", b"x: [1, two, true]"), ("b/data.yml", b"{z: null}")]))

    assert read.data == {"a": {"x": [1, "two", True]}, "b": {"z": None}}


def test_the_data_of_a_directory_may_be_any_value():
    assert bundle.read(archive([("a/b/data.json", b"[1, 2]")])).data == {"a": {"b": [1, 2]}}
    assert "not an object" in refusal(archive([("data.json", b"[1, 2]")]))


@pytest.mark.parametrize("name", ["patch.json", "policy.wasm", "plan.json", "plan.pb", ".manifest.pb"])
def test_what_opa_would_carry_out_and_we_cannot_is_refused(name):
    assert name in refusal(archive([(name, b"{}")]))


def test_a_source_of_webassembly_is_refused_and_not_left_out():
    with pytest.raises(PolicyFault, match="WebAssembly"):
        bundle.build({**FILES, "policy.wasm": b""})


@pytest.mark.parametrize("name", [".manifest", ".signatures.json"])
def test_a_second_manifest_or_signature_below_the_top_is_refused(name):
    assert "only the bundle's top directory" in refusal(archive([(f"a/{name}", b"{}")]))


def test_a_manifest_member_that_opa_would_read_in_other_letters_is_refused():
    assert "is spelt 'roots'" in refusal(archive([(".manifest", b'{"Roots": ["gateway"]}')]))


def test_webassembly_in_the_manifest_is_refused():
    assert "--target rego" in refusal(archive([(".manifest", b'{"wasm": [{"entrypoint": "a", "module": "/x"}]}')]))


def test_a_slash_in_a_members_name_does_not_bring_data_under_a_root():
    data = archive([(".manifest", b'{"roots": ["gateway"]}'), ("data.json", b'{"gateway/x": 1}')])

    assert "outside the bundle's roots" in refusal(data)


def test_an_empty_object_on_the_way_to_a_root_lies_not_outside():
    data = archive([(".manifest", b'{"roots": ["a/b"]}'), ("data.json", b'{"a": {}}')])

    assert bundle.read(data).data == {"a": {}}


def test_a_broken_tar_header_is_not_taken_for_the_end():
    whole = bytearray(gzip.decompress(bundle.build(FILES)))
    second = whole.index(b"gateway/settings/data.json")
    whole[second + 148 : second + 156] = b"notasum\0"

    assert "broken header" in refusal(gzip.compress(bytes(whole)))


def test_a_name_in_any_letters_and_of_any_usual_length_comes_back_as_it_was():
    long = f"{'d' * 120}/{'e' * 120}/ärzte.rego"
    built = bundle.build({long: b"package a\n"})

    assert bundle.read(built).sources[0].path == long


def test_data_nested_beyond_measure_is_refused():
    deep = b'{"a":' * 200 + b"1" + b"}" * 200

    assert "nested deeper" in refusal(archive([("data.json", deep)]))
