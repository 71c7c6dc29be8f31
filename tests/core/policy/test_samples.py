import orjson

from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.samples import samples


def test_there_are_samples_for_every_entrypoint():
    assert {entrypoint for entrypoint, _ in samples()} == set(Entrypoint)


def test_a_sample_has_its_time_and_phase_and_can_be_put_to_policy():
    for entrypoint, document in samples():
        assert document["phase"] == entrypoint.name.lower()
        assert document["time"]
        assert orjson.loads(orjson.dumps(document)) == document
