import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import archive

segments = st.text(st.characters(exclude_characters="/\\", exclude_categories=["C", "Z"]), min_size=1, max_size=60)
paths = st.lists(segments.filter(lambda part: part not in (".", "..")), min_size=1, max_size=8).map("/".join)
contents = st.dictionaries(paths, st.binary(max_size=2000), max_size=6)


@given(contents)
def test_what_was_packed_is_unpacked_whatever_it_is_called(files):
    assert archive.unpack(archive.pack(files)) == dict(sorted(files.items()))


@given(contents)
def test_the_order_of_the_files_does_not_count(files):
    assert archive.pack(files) == archive.pack(dict(reversed(files.items())))


@pytest.mark.parametrize("path", ["../a", "/../a", "a/../b", "a//b", "", "a\\b", "a\nb", "x" * (archive.PATH_MAX + 1)])
def test_a_path_that_could_not_be_read_back_is_not_written(path):
    with pytest.raises(PolicyFault, match="no file name for a bundle"):
        archive.pack({path: b""})


def test_names_as_opa_and_tar_write_them_are_the_same_names():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in ("/a.rego", "./b.rego", "c/d.rego"):
            tar.addfile(tarfile.TarInfo(name))

    assert list(archive.unpack(out.getvalue())) == ["a.rego", "b.rego", "c/d.rego"]


def test_attack_a_path_in_a_further_header_is_checked_as_well():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("fine.rego")
        entry.pax_headers = {"path": "../../evil.rego"}
        tar.addfile(entry)

    with pytest.raises(PolicyFault, match="no file name for a bundle"):
        archive.unpack(out.getvalue())


def test_attack_a_sparse_file_is_no_plain_file():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("big.rego")
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000000"}
        entry.size = 512
        tar.addfile(entry, io.BytesIO(b"1\n0\n1000000000000\n".ljust(512, b"\0")))

    with pytest.raises(PolicyFault, match=r"link or a device|cannot be read|cut short"):
        archive.unpack(out.getvalue())
