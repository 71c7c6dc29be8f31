"""`phigate policy diff`: what a candidate would have decided otherwise, told by rule and principal, with samples."""

import json
from html.parser import HTMLParser

import pytest

from gateway.cli.main import main
from gateway.cli.policy import report

from .traffic import ANN, BOB, PATIENT, fill, options, policy

PROFILE = {"classes": {"SSN": 2, "NAME": 2}, "paths": ["$.rows[*].name", "$.rows[*].ssn"], "rows": 2}
ROLE = '"rule": "gateway.roles"'
CALL = f"""decision := {{"effect": "deny", "reasons": [{{"code": "no_role", "message": "m", {ROLE}}}]}} if {{
    input.principal.sub == "eve@clinic.example"
}} else := {{"effect": "allow"}} if {{
    input.principal.sub
    input.message.method
}}
"""
ASKED = "{\n    input.principal.sub\n    input.message.method\n}"
CHIEFS_ONLY = '"reasons": [{"code": "chiefs_only", "message": "m", "rule": "gateway.grants"}]'
STRICT = f"""decision := {{"effect": "deny", {CHIEFS_ONLY}}} if {{
    "analysts" in input.principal.groups
    input.message.method == "tools/call"
}} else := {{"effect": "allow"}} if {{
    input.principal.sub
    input.message.method
}}
"""
WHOLE = "{\n    input.principal.sub\n    input.result.kind\n}"
RULE = '{"select": {"class": "PHI"}, "operator": {"name": "redact"}}'
MASKING = f'decision := {{"effect": "allow", "mask": [{RULE}]}} if {WHOLE}\n'
SSN_ONLY = MASKING.replace("PHI", "SSN")
ITEMS = 'some item in input.catalogue.items; item.name != ""'
LISTING = f'decision := {{"effect": "allow", "visible": [item.name | {ITEMS}]}} if input.principal.sub\n'
HIDING = LISTING.replace(ITEMS, f'{ITEMS}; item.name != "write"')
BASE = policy(CALL, MASKING, LISTING)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Ann's and Bob's calls and listings of one day, decided by BASE."""
    place = tmp_path_factory.mktemp("day")

    async def script(traffic):
        await traffic.activate(BASE)
        calls = [await traffic.call(who, profile=PROFILE) for who in (ANN, ANN, BOB)]
        listing = await traffic.call(BOB, items=["read", "write"])
        return {"calls": calls, "listing": listing, "ann": traffic.keys.actor(ANN)}

    return place, fill(place, script)


@pytest.fixture
def candidate(tmp_path):
    """Writes a candidate and returns its path."""

    def write(*bodies):
        path = tmp_path / "candidate.tar.gz"
        path.write_bytes(policy(*bodies).archive)
        return str(path)

    return write


def diffing(capsys, place, *arguments):
    code = main(["policy", "diff", *options(place), "--format", "json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def by_kind(told):
    return {change["kind"]: change for change in told["changes"]}


def test_the_policy_that_decided_changes_nothing(day, candidate, capsys):
    place, _ = day
    same = candidate(CALL, MASKING, LISTING)

    code, told = diffing(capsys, place, same)

    assert (code, told["decisions"], told["changed"], told["changes"]) == (0, 9, 0, [])
    assert main(["policy", "diff", *options(place), same]) == 0
    assert "9 decisions: the candidate changes none." in capsys.readouterr().out


def test_what_is_newly_denied_is_told_by_rule_principal_upstream_and_tool_with_samples(day, candidate, capsys):
    place, recorded = day

    code, told = diffing(capsys, place, candidate(STRICT, MASKING, LISTING), "--samples", "1")

    assert code == 0
    assert by_kind(told) == {
        "newly-denied": {
            "kind": "newly-denied",
            "loosens": False,
            "decisions": 2,
            "exchanges": 2,
            "by_rule": [{"rule": "gateway.grants: chiefs_only", "decisions": 2, "samples": recorded["calls"][:1]}],
            "by_principal": [{"principal": f"{recorded['ann'][:12]} (analysts)", "decisions": 2}],
            "by_upstream": [{"upstream": "clinic", "decisions": 2}],
            "by_tool": [{"tool": "run_sql", "decisions": 2}],
        }
    }


def test_what_would_no_longer_be_masked_is_told_by_class(day, candidate, capsys):
    place, _ = day

    _, told = diffing(capsys, place, candidate(CALL, SSN_ONLY, LISTING))

    assert list(by_kind(told)) == ["newly-unmasked", "otherwise"]  # The listing's result holds no PHI.
    (rule,) = by_kind(told)["newly-unmasked"]["by_rule"]
    assert (rule["rule"], rule["decisions"]) == ("mask: NAME", 3)


def test_a_result_whose_call_would_be_denied_is_not_counted_as_unmasked(day, candidate, capsys):
    place, _ = day

    _, told = diffing(capsys, place, candidate(STRICT, SSN_ONLY, LISTING))

    assert by_kind(told)["newly-denied"]["decisions"] == 2
    assert by_kind(told)["newly-unmasked"]["decisions"] == 1
    assert told["moot"] == 2


def test_what_a_listing_would_hide_is_told_and_the_other_way_round_what_it_would_show(day, candidate, capsys, tmp_path):
    place, recorded = day
    hiding = candidate(CALL, MASKING, HIDING)

    _, told = diffing(capsys, place, hiding)

    assert by_kind(told)["newly-hidden"]["by_rule"] == [
        {"rule": "catalogue: tools", "decisions": 1, "samples": [recorded["listing"]]}
    ]
    (tmp_path / "base.tar.gz").write_bytes(BASE.archive)
    _, back = diffing(capsys, place, str(tmp_path / "base.tar.gz"), "-b", hiding)
    assert list(by_kind(back)) == ["newly-visible"]


def test_approvals_that_are_dropped_or_added_are_told(day, candidate, capsys, tmp_path):
    place, _ = day
    terms = '"approval": {"groups": ["privacy"]}, "reasons": [{"code": "write", "message": "m"}]'
    asking = candidate(f'decision := {{"effect": "require_approval", {terms}}} if {ASKED}\n', MASKING, LISTING)

    _, told = diffing(capsys, place, asking)

    assert by_kind(told)["newly-needing-approval"]["decisions"] == 4
    (tmp_path / "base.tar.gz").write_bytes(BASE.archive)
    _, back = diffing(capsys, place, str(tmp_path / "base.tar.gz"), "--base", asking)
    (rule,) = by_kind(back)["no-longer-needing-approval"]["by_rule"]
    assert rule["rule"] == "write"


def test_a_range_is_compared_alone(day, candidate, capsys):
    place, recorded = day

    _, told = diffing(capsys, place, candidate(STRICT, MASKING, LISTING), "--exchange", recorded["calls"][0])

    assert (told["decisions"], told["changed"]) == (2, 1)
    assert told["made"]["filters"] == {"exchange": recorded["calls"][0]}


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [("newly-denied", 1), ("newly-allowed,newly-unmasked", 0), ("newly-allowed, newly-denied", 1), ("", 0)],
)
def test_it_fails_on_the_kinds_that_it_is_told_to_fail_on(day, candidate, capsys, fail_on, code):
    place, _ = day

    arguments = [candidate(STRICT, MASKING, LISTING), "--fail-on", fail_on]

    assert main(["policy", "diff", *options(place), *arguments]) == code
    assert ("must not change" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{nowhere}"], "cannot be read"),
        (["{good}", "-b", "{nowhere}"], "cannot be read"),
        (["{good}", "--fail-on", "sometimes"], "no kind of change"),
        (["{good}", "--samples", "-1"], "0 or more"),
        (["{good}", "--html", "{nowhere}/x.html"], "cannot be written"),
        (["{bad}"], "This policy may not decide"),
        (["{good}", "-b", "{bad}"], "This policy may not decide"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(day, candidate, tmp_path, capsys, arguments, said):
    place, _ = day
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(policy("f(x) := f(x)\n\ndecision := f(1) if true\n").archive)
    paths = {"nowhere": tmp_path / "nowhere", "good": candidate(CALL, MASKING, LISTING), "bad": bad}

    assert main(["policy", "diff", *options(place), *(argument.format(**paths) for argument in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_a_decision_on_record_that_cannot_be_read_is_told(tmp_path, candidate, capsys):
    async def script(traffic):
        await traffic.activate(BASE)
        await traffic.call(event=lambda event: event.replace(b"{", b"["))

    fill(tmp_path, script)
    _, told = diffing(capsys, tmp_path, candidate(CALL, MASKING, LISTING))

    assert [item["why"] for item in told["unreadable"]] == ["the body is not a decision event"]


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_whole_in_itself_and_says_what_changes_and_how_it_was_made(day, candidate, tmp_path, capsys):
    place, recorded = day
    file = tmp_path / "diff.html"

    code = main(["policy", "diff", *options(place), candidate(STRICT, SSN_ONLY, LISTING), "--html", str(file)])

    page = read(file.read_text())
    assert code == 0
    assert page.links == []
    assert "script" not in page.tags
    assert "svg" in page.tags
    for text in ("Newly denied", "Newly unmasked", "gateway.grants: chiefs_only", "mask: NAME"):
        assert text in page.text
    assert recorded["calls"][0] in page.text
    assert "leaves 0 to" in page.text
    told = capsys.readouterr().out
    for secret in (PATIENT, "ann@clinic.example"):
        assert secret not in file.read_text() + told


def test_nothing_in_a_report_is_markup():
    evil = "<script>alert(1)</script>\"'&"
    row = {"rule": evil, "principal": evil, "upstream": evil, "tool": evil, "decisions": 1, "samples": [evil]}
    groups = {name: [row] for name in ("by_rule", "by_principal", "by_upstream", "by_tool")}
    made = {
        "candidate": {"digest": evil, "revision": evil},
        "base": evil,
        "first": 0,
        "last": 1,
        "filters": {evil: evil},
    }
    made |= {"engine": evil, "at": evil, "seconds": 1, "processes": 1}
    change = {"kind": evil, "loosens": True, "decisions": 1, "exchanges": 1, **groups}
    trouble = [{"leaf": 1, "why": evil}]
    document = {"made": made, "decisions": 1, "changed": 1, "exchanges_changed": 1, "moot": 1, "stopped": trouble}

    page = read(report.page({**document, "unreadable": trouble, "changes": [change]}))

    assert "script" not in page.tags
    assert page.text.count(evil) >= 10


def test_a_long_table_is_cut_and_says_by_how_much():
    rows = [{"principal": str(number), "decisions": 1} for number in range(report.ROWS + 7)]
    change = {"kind": "newly-denied", "loosens": False, "decisions": 1, "exchanges": 1, "by_principal": rows}
    change |= {"by_rule": [], "by_upstream": [], "by_tool": []}
    made = {"candidate": "", "base": "", "first": 0, "last": 1, "filters": {}, "engine": "", "at": "", "seconds": 1}
    document = {"decisions": 1, "changed": 1, "exchanges_changed": 1, "moot": 0, "stopped": [], "unreadable": []}

    page = read(report.page({**document, "made": {**made, "processes": 1}, "changes": [change]}))

    assert "… 7 more" in page.text


def test_a_person_that_was_chosen_by_name_is_not_named_in_the_report(day, candidate, capsys):
    place, recorded = day
    same = candidate(CALL, MASKING, LISTING)

    _, named = diffing(capsys, place, same, "--principal", "ann@clinic.example")
    _, hidden = diffing(capsys, place, same, "--principal", recorded["ann"][:12])

    assert named["decisions"] == hidden["decisions"] == 4
    assert named["made"]["filters"] == {"principal": "one, given by name"}
    assert hidden["made"]["filters"] == {"principal": recorded["ann"][:12]}
