import pytest

from gateway.cli.demo import story
from gateway.cli.demo.parts import DemoFault


def test_exactly_one_bit_of_the_word_in_the_entry_is_flipped(tmp_path):
    file = tmp_path / "copy"
    file.write_bytes(b"deny, {effect: deny} and deny")

    offset, before, after = story.flip(file, b"{effect: deny}", b"deny")

    assert (offset, before, after) == (15, "d", "e")
    assert file.read_bytes() == b"deny, {effect: eeny} and deny"


@pytest.mark.parametrize("content", [b"nothing of the kind", b"{deny} and {deny}"])
def test_an_entry_that_is_not_there_exactly_once_is_told(tmp_path, content):
    (tmp_path / "copy").write_bytes(content)

    with pytest.raises(DemoFault, match="differs from the story"):
        story.flip(tmp_path / "copy", b"{deny}", b"deny")


def test_what_differs_from_the_story_ends_it_with_what_came_instead():
    with pytest.raises(DemoFault, match=r"(?s)Expected: rain\. Instead:\nsun"):
        story.expect(False, "rain", "sun")
