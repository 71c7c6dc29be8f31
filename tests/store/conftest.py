"""The store that a test runs on: most run on both engines, as the one suite of both."""

from __future__ import annotations

import pytest

from tests.fakes.evidence import URL_FILE, store_in


@pytest.fixture
def file(tmp_path):
    """A store in SQLite that is not there yet."""
    return tmp_path / "evidence.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    """A store that is not there yet, in SQLite or in PostgreSQL."""
    if request.param == "postgresql":
        (tmp_path / URL_FILE).write_text(request.getfixturevalue("database_url"))
    return store_in(tmp_path)
