package gateway.budgets_test

used(calls, rows, patients, fields) := {
	"calls": calls,
	"rows": rows,
	"patients": patients,
	"phi_fields": fields,
	"frees_up": "2026-11-22T13:00:00Z",
}

call(usage) := {
	"phase": "call",
	"time": "2026-11-22T12:00:00Z",
	"principal": {"groups": ["clinicians"]},
	"upstream": {"name": "clinic", "labels": {}},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient", "arguments": {}, "params": {}},
	"tool": {"name": "read_patient", "pin": "a", "annotations": {"readOnlyHint": true}, "changed": false},
	"facts": {},
	"usage": usage,
}

result(usage, rows, new_patients, classes) := {
	"phase": "result",
	"time": "2026-11-22T12:00:00Z",
	"principal": {"groups": ["clinicians"]},
	"upstream": {"name": "clinic", "labels": {}},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient"},
	"tool": {"name": "read_patient", "pin": "a", "annotations": {"readOnlyHint": true}, "changed": false},
	"facts": {},
	"result": {"kind": "success", "method": "", "is_error": false, "asks": []},
	"profile": {"classes": classes, "paths": [], "rows": rows, "patients": new_patients, "bytes": 9},
	"usage": {"P1D": object.union(usage.P1D, {"new_patients": new_patients})},
}

limits(over) := {"treatment": {"P1D": {"calls": 10, "rows": 100, "patients": 20, "phi_fields": 500, "over": over}}}

decided(document, over) := decision if {
	guards := {"budgets": limits(over)}
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
}

answered(document, over) := decision if {
	guards := {"budgets": limits(over)}
	decision := data.gateway.result.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_what_is_within_the_budget_is_allowed if {
	decided(call({"P1D": used(9, 99, 20, 499)}), "deny") == {"effect": "allow"}
}

test_a_call_is_refused_when_nothing_is_left if {
	codes(decided(call({"P1D": used(10, 0, 0, 0)}), "deny")) == {"budget_calls"}
	codes(decided(call({"P1D": used(0, 100, 0, 0)}), "deny")) == {"budget_rows"}
	codes(decided(call({"P1D": used(0, 0, 0, 500)}), "deny")) == {"budget_phi_fields"}
}

test_the_refusal_says_how_much_was_used_and_when_it_comes_back if {
	decision := decided(call({"P1D": used(0, 120, 0, 0)}), "deny")
	some reason in decision.reasons
	contains(reason.message, "120 of 100 rows used")
	contains(reason.message, "2026-11-22T13:00:00Z")
}

test_patients_seen_before_may_be_seen_again_when_no_new_one_may if {
	decided(call({"P1D": used(0, 0, 20, 0)}), "deny").effect == "allow"
	answered(result({"P1D": used(0, 0, 20, 0)}, 5, 0, {}), "deny").effect == "allow"
	codes(answered(result({"P1D": used(0, 0, 20, 0)}, 5, 1, {}), "deny")) == {"budget_patients"}
}

test_slow_extraction_the_result_that_would_go_beyond_the_budget_is_kept_in if {
	answered(result({"P1D": used(3, 90, 0, 0)}, 10, 0, {}), "deny").effect == "allow"
	codes(answered(result({"P1D": used(3, 90, 0, 0)}, 11, 0, {}), "deny")) == {"budget_rows"}
	codes(answered(result({"P1D": used(3, 0, 0, 480)}, 1, 0, {"SSN": 15, "NAME": 6}), "deny")) == {"budget_phi_fields"}
	codes(answered(result({"P1D": used(10, 0, 0, 0)}, 1, 0, {}), "deny")) == {"budget_calls"}
}

test_more_can_be_asked_of_reviewers if {
	decision := decided(call({"P1D": used(0, 100, 0, 0)}), "require_approval")
	decision.effect == "require_approval"
	decision.approval.groups == ["privacy-officers"]
	decided(call({"P1D": used(0, 0, 20, 0)}), "require_approval").effect == "require_approval"
}

test_what_was_approved_may_go_beyond_the_budget_and_its_result_too if {
	grant := {"approval": {"id": "ap"}}
	decided(object.union(call({"P1D": used(0, 100, 0, 0)}), grant), "require_approval").effect == "allow"
	answered(object.union(result({"P1D": used(0, 100, 0, 0)}, 9, 0, {}), grant), "require_approval").effect == "allow"
}

test_an_approval_for_another_reason_does_not_lift_a_budget_that_denies if {
	grant := {"approval": {"id": "ap"}}
	decided(object.union(call({"P1D": used(0, 100, 0, 0)}), grant), "deny").effect == "deny"
	answered(object.union(result({"P1D": used(0, 100, 0, 0)}, 9, 0, {}), grant), "deny").effect == "deny"
}

test_a_budget_that_nobody_counted_gives_nothing if {
	every usage in [{}, {"PT1H": used(0, 0, 0, 0)}, {"P1D": {}}, {"P1D": used("0", 0, 0, 0)}, {"P1D": null}] {
		codes(decided(call(usage), "deny")) == {"budget_unknown"}
		decided(call(usage), "require_approval").effect == "deny"
	}
}

test_a_limit_that_is_no_number_gives_nothing if {
	broken := {"budgets": {"treatment": {"P1D": {"rows": "1000"}}}}
	document := call({"P1D": used(0, 0, 0, 0)})
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": broken})
	decision.effect == "deny"
}

test_a_role_without_a_budget_is_not_limited if {
	document := object.union(call({"P1D": used(99, 999, 99, 9999)}), {"principal": {"groups": ["analysts"]}})
	decided(document, "deny").effect == "allow"
}

test_a_purpose_that_the_role_may_act_for_can_have_limits_of_its_own if {
	guards := {
		"budgets": {"treatment": {"P1D": {"rows": 10, "over": "deny"}}, "treatment/ETREAT": {"P1D": {"rows": 99, "over": "deny"}}},
		"purpose": {"roles": {"treatment": {"may": ["TREAT", "ETREAT"], "default": "TREAT"}}},
	}
	document := call({"P1D": used(0, 50, 0, 0)})
	usual := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
	codes(usual) == {"budget_rows"}
	wider := object.union(document, {"purpose": "ETREAT"})
	allowed := data.gateway.call.decision with input as wider
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
	allowed.effect == "allow"
}

test_a_purpose_that_nobody_checks_lifts_no_budget if {
	guards := {"budgets": {
		"treatment": {"P1D": {"rows": 10, "over": "deny"}},
		"treatment/ETREAT": {"P1D": {"rows": 99, "over": "deny"}},
	}}
	document := object.union(call({"P1D": used(0, 50, 0, 0)}), {"purpose": "ETREAT"})
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
	codes(decision) == {"budget_rows"}
}

test_who_has_used_up_everything_can_still_begin_a_session_and_list if {
	every method in ["initialize", "tools/list", "ping"] {
		document := object.union(call({"P1D": used(99, 999, 99, 9999)}), {"message": {"method": method, "name": ""}})
		decided(document, "deny").effect == "allow"
	}
}

test_asking_after_a_held_call_uses_nothing_up if {
	spent := {"P1D": used(10, 100, 20, 500)}
	poll := {"kind": "request", "method": "tasks/get", "name": "", "arguments": {}, "params": {"taskId": "t"}}
	decided(object.union(call(spent), {"message": poll}), "deny").effect == "deny"
	decided(object.union(call(spent), {"message": object.union(poll, {"held": true})}), "deny").effect == "allow"
}
