"""What `phigate` says to whoever does not know it yet, or mistypes."""

import pytest

from gateway.__main__ import main


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    return ended.value.code, printed.out + printed.err


@pytest.mark.parametrize("words", [(), ("policy",), ("evidence",)])
def test_without_a_command_all_of_them_are_shown(capsys, words):
    assert said(capsys, *words) == (2, said(capsys, *words, "--help")[1])


@pytest.mark.parametrize(
    ("words", "meant"),
    [(("polcy",), "policy"), (("policy", "tset"), "test"), (("approvals", "list", "--state", "pendin"), "pending")],
)
def test_a_mistyped_word_is_answered_with_the_nearest(capsys, words, meant):
    code, told = said(capsys, *words)

    assert code == 2
    assert f"Did you mean '{meant}'?" in told
    assert "choose from" not in told


def test_a_word_that_is_near_to_none_is_answered_with_all(capsys):
    assert "choose from 'demo', 'init'" in said(capsys, "xyzzy")[1]


def test_each_command_stands_beside_what_it_does(capsys):
    assert "  emergency   emergency accesses and their reviews\n" in said(capsys, "--help")[1]


def test_the_version_is_told(capsys):
    assert said(capsys, "--version")[1].startswith("phigate ")
