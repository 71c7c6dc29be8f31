package gateway.egress_test

guards(effect) := {"egress": {"effect": effect, "free": ["DATE", "URL"]}}

call(classes) := {
	"phase": "call",
	"principal": {"groups": ["clinicians"]},
	"upstream": {"name": "web", "labels": {"baa": false}},
	"tool": {"name": "search", "annotations": {"readOnlyHint": true}, "changed": false},
	"message": {"kind": "request", "method": "tools/call", "name": "search"},
	"facts": {"arguments": {"classes": classes, "paths": []}},
}

decided(document, effect) := decision if {
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards(effect)})
}

codes(decision) := {reason.code | some reason in decision.reasons}

terms := object.union(data.gateway.defaults.approvals, {"phi_egress": {"groups": ["privacy-officers"], "quorum": 1, "expires_s": 60, "justification": "required"}})

test_phi_is_not_sent_where_there_is_no_contract if {
	every class in ["NAME", "SSN", "MRN", "PHI", "BLOB"] {
		decision := decided(call({class: 1}), "deny")
		decision.effect == "deny"
		codes(decision) == {"phi_egress"}
	}
}

test_what_holds_no_phi_is_sent if {
	decided(call({}), "deny").effect == "allow"
}

test_classes_that_the_settings_free_are_sent if {
	decided(call({"DATE": 3, "URL": 1}), "deny").effect == "allow"
	decided(call({"DATE": 3, "SSN": 1}), "deny").effect == "deny"
}

test_where_there_is_a_contract_everything_is_sent if {
	every labels in [{}, {"baa": true}] {
		document := json.patch(call({"SSN": 1}), [{"op": "replace", "path": "/upstream/labels", "value": labels}])
		decided(document, "deny").effect == "allow"
	}
}

test_a_label_that_is_not_plainly_true_is_no_contract if {
	every baa in [false, "no", "true", null, 1] {
		document := json.patch(call({"SSN": 1}), [{"op": "replace", "path": "/upstream/labels", "value": {"baa": baa}}])
		decided(document, "deny").effect == "deny"
	}
}

test_where_nobody_looked_nothing_is_sent if {
	every effect in ["deny", "require_approval"] {
		document := json.patch(call({}), [{"op": "replace", "path": "/facts", "value": {}}])
		decision := decided(document, effect)
		decision.effect == "deny"
		codes(decision) == {"phi_egress_unknown"}
	}
}

test_a_reviewer_may_let_it_go_where_the_settings_say_so if {
	decision := decided(call({"SSN": 1}), "require_approval") with data.gateway.defaults.approvals as terms
	decision.effect == "require_approval"
	codes(decision) == {"phi_egress"}
	approved := object.union(call({"SSN": 1}), {"approval": {"id": "x"}})
	decided(approved, "require_approval").effect == "allow" with data.gateway.defaults.approvals as terms
}

test_a_word_that_is_no_effect_denies if {
	every effect in ["alow", "", null, true] {
		decided(call({"SSN": 1}), effect).effect == "deny"
	}
}
