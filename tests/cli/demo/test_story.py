import pytest

from gateway.cli.demo import story
from gateway.cli.demo.parts import DemoFault


def test_exactly_one_bit_of_the_last_occurrence_is_flipped(tmp_path):
    file = tmp_path / "copy"
    file.write_bytes(b"word, then word.")

    offset, before, after = story.flip(file, b"word")

    assert (offset, before, after) == (11, "w", "v")
    assert file.read_bytes() == b"word, then vord."


def test_a_word_that_is_not_there_is_told(tmp_path):
    (tmp_path / "copy").write_bytes(b"nothing of the kind")

    with pytest.raises(DemoFault, match="differs from the story"):
        story.flip(tmp_path / "copy", b"word")


def test_what_differs_from_the_story_ends_it_with_what_came_instead():
    with pytest.raises(DemoFault, match=r"(?s)Expected: rain\. Instead:\nsun"):
        story.expect(False, "rain", "sun")
