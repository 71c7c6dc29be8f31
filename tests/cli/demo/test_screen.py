import io

from rich.console import Console

from gateway.cli.demo.screen import WIDTH, Screen


def shown(draw):
    """What `draw` puts on a screen that is no terminal."""
    file = io.StringIO()
    draw(Screen(Console(file=file, highlight=False, width=300)))
    return file.getvalue()


def test_everything_fits_a_readme():
    text = shown(
        lambda screen: (screen.heading("A call"), screen.say("words " * 60), screen.verdict("held", "x " * 90, ""))
    )

    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.strip().startswith("1. A call ──")


def test_a_command_is_never_broken_over_lines():
    long = "phigate " + "--option value " * 20

    assert f"  $ {long}".rstrip() in shown(lambda screen: screen.command(long))


def test_two_values_stand_side_by_side():
    text = shown(lambda screen: screen.beside(("held", {"a": "secret"}), ("given", {"a": "[REDACTED]"})))

    (row,) = [line for line in text.splitlines() if '"a"' in line]
    assert row.index('"secret"') < row.index('"[REDACTED]"')


def test_rows_that_are_not_shown_are_counted():
    assert "… and 3 more rows" in shown(lambda screen: screen.rows([{"n": n} for n in range(5)], show=2))


def test_brackets_in_json_are_not_taken_for_markup():
    assert "[bold]" in shown(lambda screen: screen.json({"a": "[bold]"}))
