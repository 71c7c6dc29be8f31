package gateway.pins_test

call(changed) := {
	"phase": "call",
	"time": "2026-11-22T12:00:00Z",
	"principal": {"groups": ["clinicians"]},
	"upstream": {"name": "clinic", "labels": {}},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient", "arguments": {}, "params": {}},
	"tool": {"name": "read_patient", "pin": "a", "annotations": {"readOnlyHint": true}, "changed": changed},
	"facts": {},
}

decided(document, setting) := decision if {
	pinned := object.union(
		object.remove(data.gateway.defaults, ["guards"]),
		{"guards": {}, "changed_tools": setting},
	)
	decision := data.gateway.call.decision with input as document with data.gateway.settings as pinned
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_a_tool_as_it_was_accepted_is_called_whatever_the_setting if {
	every setting in ["hide", "deny", "require_approval", "ignore", "nonsense"] {
		decided(call(false), setting) == {"effect": "allow"}
	}
}

test_rug_pull_a_changed_tool_is_not_called if {
	every setting in ["hide", "deny", "nonsense", ["ignore"], null] {
		decision := decided(call(true), setting)
		decision.effect == "deny"
		codes(decision) == {"tool_changed"}
	}
}

test_a_changed_tool_is_not_called_as_shipped if {
	decision := data.gateway.call.decision with input as call(true) with data.gateway.settings as data.gateway.defaults
	decision.effect == "deny"
}

test_a_changed_tool_can_be_held_for_approval if {
	decision := decided(call(true), "require_approval")
	decision.effect == "require_approval"
	decision.approval.groups == ["privacy-officers"]
}

test_an_approved_call_of_a_changed_tool_runs if {
	decided(object.union(call(true), {"approval": {"id": "ap"}}), "require_approval").effect == "allow"
}

test_an_approval_does_not_release_a_changed_tool_that_is_denied if {
	decided(object.union(call(true), {"approval": {"id": "ap"}}), "deny").effect == "deny"
}

test_changes_can_be_ignored if {
	decided(call(true), "ignore").effect == "allow"
}

test_what_the_role_may_not_do_stays_refused_beside_the_change if {
	asked := object.union(call(true), {"principal": {"groups": ["nobody"]}})
	decision := decided(asked, "ignore")
	decision.effect == "deny"
	codes(decision) == {"no_role"}
}

listing := {
	"phase": "catalogue",
	"principal": {"groups": ["analysts"]},
	"upstream": {"name": "clinic", "labels": {}},
	"catalogue": {"kind": "tools", "items": [
		{"name": "run_sql", "annotations": {}, "changed": false},
		{"name": "read_patient", "annotations": {}, "changed": true},
	]},
}

visible(setting) := names if {
	decision := data.gateway.catalogue.decision with input as listing
		with data.gateway.settings as object.union(data.gateway.defaults, {"changed_tools": setting})
	names := {name | some name in decision.visible}
}

test_a_changed_tool_is_hidden_unless_told_otherwise if {
	every setting in ["hide", "nonsense", null] {
		visible(setting) == {"run_sql"}
	}
}

test_a_changed_tool_is_offered_where_calls_say_why_they_are_refused if {
	every setting in ["deny", "require_approval", "ignore"] {
		visible(setting) == {"run_sql", "read_patient"}
	}
}
