package gateway.purpose_test

guards := {"purpose": {"roles": {
	"treatment": {"may": ["TREAT", "ETREAT"], "default": "TREAT"},
	"analysis": {"may": ["HRESCH", "HOPERAT"], "masks": {"HRESCH": "limited_data_set"}},
}}}

call(group, purpose) := {
	"phase": "call",
	"time": "2026-01-05T12:00:00.000000Z",
	"principal": {"groups": [group]},
	"upstream": {"name": "clinic", "labels": {}},
	"purpose": purpose,
	"tool": {"name": "read_patient", "annotations": {"readOnlyHint": true}, "changed": false},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient"},
	"facts": {},
}

decided(document) := decision if {
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_a_declared_purpose_is_a_label_of_the_decision if {
	decided(call("clinicians", "ETREAT")) == {"effect": "allow", "labels": {"purpose": "ETREAT"}}
}

test_without_one_the_roles_own_purpose_holds if {
	decided(call("clinicians", "")).labels == {"purpose": "TREAT"}
}

test_a_role_without_a_purpose_of_its_own_must_declare_one if {
	decision := decided(call("analysts", ""))
	decision.effect == "deny"
	codes(decision) == {"purpose_missing"}
}

test_a_purpose_of_another_role_is_refused if {
	every purpose in ["TREAT", "treat", "HMARKT", " HRESCH", "nonsense"] {
		decision := decided(call("analysts", purpose))
		decision.effect == "deny"
		codes(decision) == {"purpose_not_permitted"}
	}
}

test_a_role_that_the_settings_leave_out_may_act_for_nothing if {
	document := object.union(call("engineers", "TREAT"), {"upstream": {"labels": {"phi": false}}})
	decided(document).effect == "deny"
}

test_the_protocol_itself_has_no_purpose if {
	document := object.union(call("analysts", ""), {"message": {"method": "tools/list", "name": ""}})
	decided(document).effect == "allow"
}

test_a_purpose_missing_from_the_input_is_refused if {
	document := json.remove(call("analysts", ""), ["purpose"])
	decided(document).effect == "deny"
}

test_without_its_settings_a_purpose_decides_nothing if {
	decision := data.gateway.call.decision with input as call("analysts", "nonsense")
		with data.gateway.settings as data.gateway.defaults
	decision == {"effect": "allow"}
}

result(group, purpose) := object.union(call(group, purpose), {
	"phase": "result",
	"result": {"kind": "success", "method": "", "is_error": false, "asks": [], "opens": []},
	"profile": {"classes": {"GEO": 1}, "paths": [], "rows": 1, "patients": 1, "bytes": 9},
})

masked(group, purpose) := {rule.select["class"]: rule.operator.name |
	decision := data.gateway.result.decision with input as result(group, purpose)
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards})
	some rule in decision.mask
}

test_the_purpose_chooses_the_mask_profile if {
	masked("analysts", "HRESCH").DATE == "keep"
	masked("analysts", "HOPERAT").DATE == "generalise"
}

test_a_purpose_that_the_role_may_not_have_chooses_nothing if {
	masked("analysts", "TREAT").DATE == "generalise"
}
