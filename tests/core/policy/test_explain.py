"""The sources that tell what they do: probes change no answer, and say which expression a body stopped at."""

import orjson
import pytest

from gateway.core.policy import bundle, explain, samples
from gateway.core.policy.bundle import Source
from gateway.core.policy.syntax import Place
from gateway.pdp import loader
from gateway.pdp.engine import load

EVERY_FORM = """package q

import data.roles

default allow := false

allow if (input.x == 1)
bare if input.x == 1 # a comment
braced if { x := (1 + 2); x == (3) } # another; with a ; in it
text if { "a" in {"a"}; `x` == "x" }
fact := "s"
unbraced := "é" if input.y else := {"a": 1} if not input.z else := `r`
many if {
\tinput.x
\t\t==
\t\t1
}
function(x) := "a"
literal("a") := 1
literal("b") := y if y := 2
object[x] := y if some x, y in input.l
set contains "lit"
set contains item if { some item in input.l; item > 1 }
nested if every _, v in input.l { v > 0; every w in [1] { w <= v } }
negated if not not_there
not_there if input.nono
modified if input.x == 2 with input.x as 2
chosen := roles[input.role].rows if { true; input.role != "é" }
deep.er.path := 1
deep.er[name] := 2 if some name in {"t"}
called := {"v": function("x"), "n": count([i | some i in input.l; i > 1])}
loop if { some i; input.l[i] == 2 }
ending if trim("a ", " ") == "a"
wild if { input.l[_] == 2; _ = input.x }
"""
INPUT = {"x": 1, "l": [1, 2, 3], "role": "a"}
DATA = {"roles": {"a": {"rows": 5}}}


def run(text, asked=None, query="data.q", *, roots=None, values=True):
    """The query's answer without and with probes, and the stories of the rules by name."""
    plain = load((Source("q.rego", text),), DATA)
    probed = explain.instrument(orjson.loads(plain.get_ast_as_json()), values=values)
    watched = load(probed.sources, DATA)
    watched.set_gather_prints(True)
    answers = []
    for engine in (plain, watched):
        engine.set_input_json(orjson.dumps(INPUT if asked is None else asked).decode())
        answers.append(orjson.loads(engine.eval_query_as_json(query)))
    stories, own = explain.read(probed, watched.take_prints(), roots or [tuple(query.split("."))[1:]])
    return answers, {".".join(story.path[1:]): story for story in stories}, own


def trials(story):
    return [trial for _, found in story.parts for trial in found]


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("asked", [INPUT, {}, {"x": 2, "l": [], "y": True}, {"x": "1", "l": {"a": 1}, "role": "é"}])
def test_probes_change_no_answer_in_any_form_that_a_rule_can_have(asked, values):
    (plain, watched), _, _ = run(EVERY_FORM, asked, values=values)
    assert watched == plain


def test_probes_change_no_answer_of_the_shipped_library():
    shipped = bundle.read(loader.shipped())
    sources = tuple(source for source in shipped.sources if not source.is_test)
    plain = load(sources, shipped.data)
    probed = explain.instrument(orjson.loads(plain.get_ast_as_json()))
    watched = load(probed.sources, shipped.data)
    watched.set_gather_prints(True)
    for entrypoint, document in list(samples.samples())[::7]:
        answers = []
        for engine in (plain, watched):
            engine.set_input_json(orjson.dumps(document).decode())
            answers.append(engine.eval_query_as_json("data." + entrypoint.value.replace("/", ".")))
        assert answers[0] == answers[1]
        stories, own = explain.read(probed, watched.take_prints(), [tuple(entrypoint.value.split("/"))])
        assert stories[0].path == tuple(entrypoint.value.split("/"))
        assert own == ()


def test_a_body_stops_at_the_first_expression_that_does_not_hold_with_the_values_of_its_names():
    text = 'package q\na if {\n\tx := input.x\n\tx == 1\n\tinput.role == roles[0]\n\tinput.never\n}\nroles := ["b"]\n'
    _, stories, _ = run(text, query="data.q.a")
    (trial,) = trials(stories["a"])
    assert (trial.begun, trial.held) == (1, 0)
    assert trial.stop.step.text == "input.role == roles[0]"
    assert trial.stop.step.place == Place(5, 2)
    assert trial.stop.values == ({"input.role": ["a"], "roles[0]": ["b"]},)


def test_what_is_undefined_has_no_value():
    _, stories, _ = run("package q\na if input.nono.b == 1\n", query="data.q.a")
    assert trials(stories["a"])[0].stop.values == ({"input.nono.b": []},)


def test_an_else_chain_tells_each_branch_and_never_reaches_what_is_behind_the_one_that_holds():
    text = 'package q\na := "x" if input.x == 2 else := "y" if input.x == 1 else := "z"\n'
    _, stories, _ = run(text, query="data.q.a")
    assert [(trial.body.text, trial.begun, trial.held) for trial in trials(stories["a"])] == [
        ('a := "x"', 1, 0),
        ('else := "y"', 1, 1),
        ('else := "z"', 0, 0),
    ]


def test_of_an_iteration_a_few_different_values_are_kept():
    text = "package q\na if { some x in numbers.range(1, 50); x > 99 }\n"
    _, stories, _ = run(text, query="data.q.a")
    stop = trials(stories["a"])[0].stop
    assert (stop.step.text, stop.values) == ("x > 99", ({"x": [1]}, {"x": [2]}, {"x": [3]}))


def test_an_every_names_the_item_that_broke_it_and_the_expression():
    text = "package q\na if every v in input.l { v > 0; v < 3; v != 7 }\n"
    _, stories, _ = run(text, query="data.q.a")
    inner = trials(stories["a"])[0].stop.inner
    assert (inner.step.text, inner.values) == ("v < 3", ({"v": [3]},))


def test_an_every_that_breaks_earlier_than_for_the_items_before_is_told_by_where_it_broke():
    text = "package q\na if every v in [5, 0] { v > 1; v < 9 }\n"
    _, stories, _ = run(text, query="data.q.a")
    inner = trials(stories["a"])[0].stop.inner
    assert (inner.step.text, inner.values) == ("v > 1", ({"v": [0]},))


def test_the_stories_are_those_of_the_rules_that_the_query_reaches():
    text = "package q\na if b\nb if c(1)\nc(x) := x\nother if input.x\n"
    _, stories, _ = run(text, query="data.q.a")
    assert list(stories) == ["a", "b", "c"]
    assert stories["c"].function
    assert trials(stories["a"])[0].body.reaches == (("q", "b"),)


def test_a_rule_that_the_engine_did_not_come_to_was_not_begun():
    _, stories, _ = run("package q\na if { input.nono; b }\nb if input.x\n", query="data.q.a")
    assert (stories["a"].begun, stories["b"].begun) == (True, False)


def test_what_the_policy_prints_itself_is_told_apart_from_the_probes():
    _, _, own = run('package q\na if { print("phigate-probe", input.x); true }\n', query="data.q.a")
    assert own == ("q.rego:2: phigate-probe 1",)


def test_names_that_have_no_value_yet_are_not_asked_for():
    text = "package q\na if { some i; input.l[i] == 9 }\nb if [z | z := 1][0] == 2\n"
    (plain, watched), stories, _ = run(text)
    assert watched == plain
    assert [trials(stories[name])[0].stop.values for name in "ab"] == [
        ({},),
        ({},),
    ]


def test_an_expression_under_with_is_told_without_values_as_they_are_others_there():
    _, stories, _ = run("package q\na if input.x == 3 with input.x as 2\n", query="data.q.a")
    assert trials(stories["a"])[0].stop.values == ({},)
