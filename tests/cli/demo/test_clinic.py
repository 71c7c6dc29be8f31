import pytest
from mcp import Client

from gateway.cli.demo import clinic, population


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("clinic") / "clinic.db"
    clinic.create(path)
    return path


@pytest.fixture
async def client(database):
    async with Client(clinic.server(database)) as connected:
        yield connected


async def test_sql_comes_back_as_columns_and_rows(client):
    result = await client.call_tool("run_sql", {"sql": "SELECT count(*) AS n FROM patients"})

    assert result.structured_content == {"columns": ["n"], "rows": [{"n": population.PATIENTS}], "row_count": 1}


async def test_a_broken_statement_is_told_to_the_model(client):
    result = await client.call_tool("run_sql", {"sql": "SELECT 1 FROM nowhere"})

    assert result.is_error
    assert "no such table" in result.content[0].text


async def test_one_patient_is_read_with_visits_notes_and_labs(client):
    mrn = population.generate().tables["patients"][0][1]

    record = (await client.call_tool("read_patient", {"mrn": mrn})).structured_content

    assert record["patient"]["mrn"] == mrn
    assert record["encounters"]
    assert record["notes"]


async def test_the_search_tells_how_far_it_is(client):
    told = []

    async def note(progress, total, message):
        told.append((progress, total))

    result = await client.call_tool("search_patients", {"text": "Papadakis", "limit": 2}, progress_callback=note)

    assert told == [(1, 2), (2, 2)]
    assert result.structured_content["row_count"] == 2


async def test_a_change_reaches_the_one_record_and_only_fields_that_may_change(client):
    mrn = population.generate().tables["patients"][1][1]

    changed = await client.call_tool("update_patient", {"mrn": mrn, "field": "allergies", "value": "latex"})
    refused = await client.call_tool("update_patient", {"mrn": mrn, "field": "ssn", "value": "0"})

    assert changed.structured_content == {"changed": 1}
    assert refused.is_error


async def test_tools_say_whether_they_only_read_and_what_they_return(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert {"run_sql", "read_patient", "search_patients", "update_patient"} == set(tools)
    assert {"read_patient", "search_patients"} == {
        name for name, tool in tools.items() if tool.annotations.read_only_hint
    }
    assert all(tool.output_schema["type"] == "object" for tool in tools.values())
