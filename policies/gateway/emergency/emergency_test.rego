package gateway.emergency_test

settings := {
	"roles": {"treatment": {"overrides": ["tool_changed", "too_many_rows", "budget_rows", "write"]}},
	"expires_s": 3600,
	"open_reviews": 1,
	"unreviewed": 3,
}

# Whatever else an organisation has switched on.
pinned := object.union(
	object.remove(data.gateway.defaults, ["guards", "emergency", "changed_tools"]),
	{"guards": {}, "emergency": settings, "changed_tools": "hide"},
)

claim := {"requested": true, "justified": true, "began": null, "open_reviews": 0, "unreviewed": 0}

call(group, emergency) := {
	"phase": "call",
	"time": "2026-11-22T12:00:00Z",
	"principal": {"groups": [group]},
	"upstream": {"name": "clinic", "labels": {}},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient", "arguments": {}, "params": {}},
	"tool": {"name": "read_patient", "pin": "a", "annotations": {"readOnlyHint": true}, "changed": true},
	"facts": {},
	"emergency": emergency,
}

writing(emergency) := object.union(
	call("clinicians", emergency),
	{"tool": {"annotations": {"readOnlyHint": false}, "changed": false}},
)

decided(document) := decision if {
	decision := data.gateway.call.decision with input as document with data.gateway.settings as pinned
}

codes(decision) := {reason.code | some reason in decision.reasons}

broke_glass(decision) if {
	decision.effect == "allow"
	decision.labels == {"emergency": true, "emergency_s": 3600}
}

test_an_emergency_overrides_what_the_settings_say_and_tells_what_it_was if {
	decision := decided(call("clinicians", claim))
	broke_glass(decision)
	codes(decision) == {"tool_changed"}
}

test_an_emergency_does_not_wait_for_an_approval if {
	decision := decided(writing(claim))
	broke_glass(decision)
	codes(decision) == {"write"}
}

test_a_program_without_a_person_breaks_no_glass if {
	document := object.union(call("clinicians", claim), {"principal": {"kind": "agent"}})
	decision := decided(document)
	decision.effect == "deny"
	codes(decision) == {"tool_changed", "emergency_not_covered"}
}

test_an_agent_that_acts_for_a_person_does if {
	document := object.union(call("clinicians", claim), {"principal": {"kind": "person", "chain": ["care-assistant"]}})
	broke_glass(decided(document))
}

test_no_glass_is_broken_for_what_is_allowed_anyway if {
	document := object.union(call("clinicians", claim), {"tool": {"changed": false}})
	decided(document) == {"effect": "allow"}
}

test_no_glass_is_broken_for_what_was_approved if {
	decided(object.union(writing(claim), {"approval": {"id": "ap"}})) == {"effect": "allow"}
}

test_without_settings_there_is_no_breaking_the_glass if {
	without := object.remove(pinned, ["emergency"])
	decision := data.gateway.call.decision with input as call("clinicians", claim) with data.gateway.settings as without
	decision.effect == "deny"
	codes(decision) == {"tool_changed", "emergency_not_covered"}
}

test_a_refusal_that_is_not_listed_stands if {
	document := object.union(call("clinicians", claim), {"message": {"method": "no/such"}})
	decision := decided(document)
	decision.effect == "deny"
}

test_one_refusal_that_is_not_listed_is_enough if {
	narrow := object.union(settings, {"roles": {"treatment": {"overrides": ["tool_changed"]}}})
	document := object.union(call("clinicians", claim), {"tool": {"annotations": {"readOnlyHint": false}}})
	pins := object.union(pinned, {"emergency": narrow})
	decision := data.gateway.call.decision with input as document with data.gateway.settings as pins
	decision.effect == "deny"
}

test_a_role_that_is_not_listed_breaks_no_glass if {
	decision := decided(call("analysts", claim))
	decision.effect == "deny"
	"emergency_not_covered" in codes(decision)
}

test_an_emergency_without_a_justification_is_none if {
	decision := decided(call("clinicians", object.union(claim, {"justified": false})))
	decision.effect == "deny"
	"emergency_unjustified" in codes(decision)
}

test_nobody_is_put_into_an_emergency_without_claiming_it if {
	every emergency in [{}, {"requested": false, "justified": true}, {"requested": "true", "justified": true}, null] {
		decided(call("clinicians", emergency)).effect == "deny"
	}
}

test_who_owes_a_review_is_locked_out_of_the_next_emergency if {
	owing := {"began": "2026-11-22T10:59:59Z", "open_reviews": 1, "unreviewed": 1}
	decision := decided(call("clinicians", object.union(claim, owing)))
	decision.effect == "deny"
	"emergency_locked" in codes(decision)
}

test_everybody_is_locked_out_when_nobody_reviews if {
	decided(call("clinicians", object.union(claim, {"unreviewed": 3}))).effect == "deny"
}

test_more_calls_belong_to_the_emergency_that_is_under_way if {
	owing := {"began": "2026-11-22T11:00:01Z", "open_reviews": 1, "unreviewed": 3}
	broke_glass(decided(call("clinicians", object.union(claim, owing))))
}

test_reviews_that_nobody_counted_are_not_taken_for_none if {
	every key in ["open_reviews", "unreviewed"] {
		decided(call("clinicians", object.union(claim, {key: "none"}))).effect == "deny"
		decided(call("clinicians", object.remove(claim, [key]))).effect == "deny"
	}
}

test_what_must_be_approved_still_waits_for_reviewers_when_the_glass_stays_whole if {
	decided(writing(object.union(claim, {"open_reviews": 9}))).effect == "require_approval"
}

result(emergency) := {
	"phase": "result",
	"time": "2026-11-22T12:00:00Z",
	"principal": {"groups": ["clinicians"]},
	"upstream": {"name": "clinic", "labels": {}},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient"},
	"tool": {"name": "read_patient", "pin": "a", "annotations": {"readOnlyHint": true}, "changed": false},
	"facts": {},
	"result": {"kind": "success", "method": "", "is_error": false, "asks": []},
	"profile": {"classes": {"SSN": 1}, "paths": [], "rows": 5000, "patients": 1, "bytes": 9},
	"emergency": emergency,
}

answered(document) := decision if {
	decision := data.gateway.result.decision with input as document with data.gateway.settings as pinned
}

test_the_result_of_an_emergency_may_be_more_than_the_role_has_and_is_masked_as_ever if {
	decision := answered(result({"granted": true}))
	decision.effect == "allow"
	decision.mask == data.gateway.defaults.masks.treatment.rules
}

test_a_result_is_an_emergencys_only_when_its_call_was if {
	every emergency in [{"granted": false}, {"requested": true, "justified": true}, {}, null] {
		answered(result(emergency)).effect == "deny"
	}
}

test_what_an_emergency_does_not_override_is_kept_in if {
	document := object.union(result({"granted": true}), {"profile": {"classes": {"BLOB": 1}}})
	answered(document).effect == "deny"
}
