package gateway.call_test

analyst := {"iss": "https://issuer.example", "sub": "a", "groups": ["staff", "analysts"]}

clinician := {"iss": "https://issuer.example", "sub": "c", "groups": ["clinicians"]}

engineer := {"iss": "https://issuer.example", "sub": "e", "groups": ["engineers"]}

call := {
	"phase": "call",
	"principal": analyst,
	"upstream": {"name": "clinic", "labels": {}},
	"tool": {"name": "run_sql", "annotations": {"readOnlyHint": false}},
	"message": {"kind": "request", "method": "tools/call", "name": "run_sql"},
	"facts": {"sql": {"understood": true, "statements": [{"kind": "select", "keyed": true, "limit": null}], "outputs": []}},
}

with_sql(statement) := object.union(
	call,
	{"facts": {"sql": {"understood": true, "statements": [statement], "outputs": []}}},
)

about(method, name) := object.union(call, {"message": {"kind": "request", "method": method, "name": name}, "facts": {}})

# The rules are tested by the settings as shipped, whatever a site has made of them.
decided(document) := decision if {
	decision := data.gateway.call.decision with input as document with data.gateway.settings as data.gateway.defaults
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_a_keyed_select_is_allowed if {
	decided(call) == {"effect": "allow"}
}

test_a_select_with_a_small_limit_is_allowed if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": 25})
	decided(asked).effect == "allow"
}

test_an_aggregate_is_allowed if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": null, "aggregate": true})
	decided(asked).effect == "allow"
}

test_a_threshold_that_is_no_number_bounds_nothing if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": 5})
	roles := object.union(data.gateway.defaults.roles, {"analysis": {"rows": "25"}})
	decision := decided(asked) with data.gateway.defaults.roles as roles
	decision.effect == "require_approval"
}

test_a_select_beyond_the_roles_rows_needs_approval if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": 26})
	decided(asked).effect == "require_approval"
}

test_a_bulk_select_needs_approval_on_the_terms_of_the_data if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": null})
	decision := decided(asked)
	decision.effect == "require_approval"
	codes(decision) == {"bulk_select"}
	decision.approval == {
		"phase": "call",
		"groups": ["privacy-officers"],
		"quorum": 1,
		"expires_s": 900,
		"justification": "optional",
	}
}

test_a_bulk_select_that_was_approved_is_allowed if {
	asked := object.union(
		with_sql({"kind": "select", "keyed": false, "limit": null}),
		{"approval": {"id": "x"}},
	)
	decided(asked).effect == "allow"
}

test_an_approval_does_not_open_what_is_denied if {
	asked := object.union(with_sql({"kind": "ddl", "keyed": false}), {"approval": {"id": "x"}})
	decided(asked).effect == "deny"
}

test_a_bulk_select_without_terms_in_the_data_is_denied if {
	asked := with_sql({"kind": "select", "keyed": false, "limit": null})
	decision := data.gateway.call.decision with input as asked
		with data.gateway.settings as object.remove(data.gateway.defaults, ["approvals"])
	decision.effect == "deny"
}

test_sql_that_was_not_understood_is_denied if {
	asked := object.union(call, {"facts": {"sql": {"understood": false, "statements": []}}})
	decision := decided(asked)
	decision.effect == "deny"
	"sql_not_understood" in codes(decision)
}

test_sql_facts_without_a_statement_are_denied if {
	asked := object.union(call, {"facts": {"sql": {"understood": true, "statements": []}}})
	decided(asked).effect == "deny"
}

test_sql_facts_of_an_unknown_shape_are_denied if {
	every sql in [{}, {"understood": "yes"}, {"understood": true}, "DROP", [1]] {
		document := json.patch(call, [{"op": "replace", "path": "/facts/sql", "value": sql}])
		decided(document).effect == "deny"
	}
}

test_a_schema_change_is_denied_to_every_role if {
	every who in [analyst, clinician, engineer] {
		every kind in ["ddl", "merge", "transaction", "pragma", "call", "other", "", "SELECT"] {
			asked := object.union(with_sql({"kind": kind, "keyed": true, "limit": 1}), {"principal": who})
			decided(asked).effect == "deny"
		}
	}
}

test_one_bad_statement_among_good_ones_denies if {
	statements := [{"kind": "select", "keyed": true}, {"kind": "ddl", "keyed": true}]
	asked := object.union(call, {"facts": {"sql": {"understood": true, "statements": statements, "outputs": []}}})
	decided(asked).effect == "deny"
}

test_an_analyst_may_not_write if {
	every kind in ["insert", "update", "delete"] {
		decision := decided(with_sql({"kind": kind, "keyed": true}))
		decision.effect == "deny"
		codes(decision) == {"write"}
	}
}

test_a_clinicians_keyed_write_needs_approval if {
	asked := object.union(with_sql({"kind": "update", "keyed": true}), {"principal": clinician})
	decision := decided(asked)
	decision.effect == "require_approval"
	codes(decision) == {"write"}
}

test_an_update_of_every_row_is_denied if {
	asked := object.union(with_sql({"kind": "update", "keyed": false, "limit": 1}), {"principal": clinician})
	decision := decided(asked)
	decision.effect == "deny"
	codes(decision) == {"sql_unbounded_write"}
}

test_a_tool_that_says_it_only_reads_is_allowed if {
	asked := object.union(about("tools/call", "read_patient"), {"tool": {"annotations": {"readOnlyHint": true}}})
	document := json.remove(asked, ["facts/sql"])
	decided(document).effect == "allow"
}

test_a_tool_without_annotations_writes if {
	every tool in [null, {"annotations": {}}, {"annotations": null}, {"annotations": {"readOnlyHint": "true"}}] {
		document := json.patch(call, [
			{"op": "replace", "path": "/tool", "value": tool},
			{"op": "replace", "path": "/facts", "value": {}},
		])
		decided(document).effect == "deny"
	}
}

test_what_the_data_says_of_a_tool_counts_more_than_its_annotations if {
	document := json.patch(call, [
		{"op": "replace", "path": "/tool", "value": {"annotations": {"readOnlyHint": true}}},
		{"op": "replace", "path": "/facts", "value": {}},
	])
	settings := {"clinic": {"run_sql": "write"}}
	decided(document).effect == "deny" with data.gateway.defaults.tools as settings
}

test_a_tool_that_writes_sql_writes_whatever_else_is_said if {
	asked := with_sql({"kind": "delete", "keyed": true})
	settings := {"clinic": {"run_sql": "read"}}
	decided(asked).effect == "deny" with data.gateway.defaults.tools as settings
}

test_a_withdrawn_tool_is_denied if {
	settings := {"clinic": {"read_patient": "deny"}}
	document := json.patch(call, [
		{"op": "replace", "path": "/message/name", "value": "read_patient"},
		{"op": "replace", "path": "/facts", "value": {}},
	])
	decision := decided(document) with data.gateway.defaults.tools as settings
	decision.effect == "deny"
	codes(decision) == {"tool_denied"}
}

test_protocol_methods_are_open_to_every_role if {
	every who in [analyst, clinician, engineer] {
		every method in ["initialize", "ping", "tools/list", "server/discover", "logging/setLevel"] {
			asked := object.union(about(method, ""), {"principal": who})
			decided(asked).effect == "allow"
		}
	}
}

test_nobody_without_a_role_may_do_anything if {
	every groups in [[], ["visitors"], ["clinician"]] {
		every method in ["initialize", "ping", "tools/list", "tools/call"] {
			document := json.patch(about(method, "x"), [{"op": "replace", "path": "/principal/groups", "value": groups}])
			decision := decided(document)
			decision.effect == "deny"
		}
	}
}

test_a_tool_call_without_an_id_escapes_no_guard if {
	settings := {"clinic": {"run_sql": "read"}}
	asked := object.union(call, {"message": {"kind": "notification", "method": "tools/call", "name": "run_sql"}})
	decision := decided(object.remove(asked, ["facts"]))
		with data.gateway.defaults.tools as settings
	decision.effect == "deny"
	codes(decision) == {"not_granted"}
}

test_tasks_are_for_those_who_may_call_some_tool if {
	every method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
		decided(about(method, "")).effect == "allow"
		for_nobody := json.patch(about(method, ""), [{"op": "replace", "path": "/principal/groups", "value": ["auditors"]}])
		decided(for_nobody).effect == "deny"
		for_engineers := object.union(about(method, ""), {"principal": engineer})
		decided(for_engineers).effect == "deny"
	}
}

# The upstream knows the gateway's one credential: its list would show everybody's tasks.
test_nobody_may_list_the_tasks_of_all if {
	decided(about("tasks/list", "")).effect == "deny"
}

completing(kind, name) := object.union(about("completion/complete", name), {"message": {"params": {"ref": {"type": kind}}}})

only_open := object.union(
	data.gateway.defaults.roles,
	{"analysis": {"upstreams": {"*": {"tool": [], "resource": ["notes://open/*"], "prompt": ["summary"]}}}},
)

test_a_completion_reads_what_it_completes if {
	every one in [["ref/prompt", "summary"], ["ref/resource", "notes://open/{id}"]] {
		decision := decided(completing(one[0], one[1]))
			with data.gateway.defaults.roles as only_open
		decision.effect == "allow"
	}
	every one in [["ref/prompt", "other"], ["ref/resource", "notes://sealed/{id}"], ["ref/tool", "summary"], ["", ""]] {
		decision := decided(completing(one[0], one[1]))
			with data.gateway.defaults.roles as only_open
		decision.effect == "deny"
	}
}

test_what_names_nothing_is_granted_to_nobody if {
	every method in ["tools/call", "resources/read", "prompts/get"] {
		decided(about(method, "")).effect == "deny"
	}
}

test_a_method_that_nobody_listed_is_denied if {
	decision := decided(about("tools/destroy", "x"))
	decision.effect == "deny"
	codes(decision) == {"not_granted"}
}

test_an_engineer_may_not_reach_an_upstream_that_holds_phi if {
	asked := object.union(call, {"principal": engineer})
	decision := decided(asked)
	decision.effect == "deny"
	"phi_upstream" in codes(decision)
}

test_an_engineer_may_use_an_upstream_labelled_free_of_phi if {
	asked := object.union(call, {"principal": engineer, "upstream": {"labels": {"phi": false}}})
	decided(asked).effect == "allow"
}

test_the_answer_to_a_question_that_upstreams_may_not_ask_is_denied if {
	asked := object.union(call, {"message": {"kind": "response", "method": "sampling/createMessage", "name": ""}})
	decided(asked).effect == "deny" with data.gateway.defaults.from_upstream.requests as ["ping"]
}

test_a_client_with_a_role_may_listen_for_what_concerns_no_call if {
	document := json.patch(call, [
		{"op": "replace", "path": "/message", "value": {"kind": "notification", "method": "(listen)", "name": ""}},
		{"op": "replace", "path": "/facts", "value": {}},
	])
	decided(document).effect == "allow"
	stranger := object.union(document, {"principal": {"groups": ["somebody"]}})
	decided(stranger).effect == "deny"
}

test_the_answer_to_a_ping_is_allowed if {
	document := json.patch(call, [
		{"op": "replace", "path": "/message", "value": {"kind": "response", "method": "ping", "name": ""}},
		{"op": "replace", "path": "/facts", "value": {}},
	])
	decided(document).effect == "allow"
}

test_grants_by_name_and_by_pattern if {
	roles := object.union(data.gateway.defaults.roles, {"analysis": {"upstreams": {"clinic": {"tool": ["read_*", "run_sql"]}}}})
	names := {name |
		some name in ["read_patient", "run_sql", "run_sql_all", "unread_x"]
		document := json.patch(call, [{"op": "replace", "path": "/message/name", "value": name}])
		decided(document).effect == "allow" with data.gateway.defaults.roles as roles
	}
	names == {"read_patient", "run_sql"}
}

test_an_empty_input_is_denied if {
	decided({}).effect == "deny"
}

test_a_word_that_is_no_verdict_denies if {
	roles := object.union(data.gateway.defaults.roles, {"treatment": {"writes": "alow"}})
	asked := object.union(with_sql({"kind": "update", "keyed": true}), {"principal": clinician})
	decided(asked).effect == "deny" with data.gateway.defaults.roles as roles
}

bulk_write := object.union(call, {
	"principal": clinician,
	"facts": {"sql": {
		"understood": true,
		"statements": [{"kind": "select", "keyed": false}, {"kind": "update", "keyed": true}],
		"outputs": [],
	}},
})

test_two_reasons_take_the_strictest_terms if {
	approvals := {
		"bulk_select": {"groups": ["privacy-officers", "chiefs"], "quorum": 2, "expires_s": 900, "justification": "optional"},
		"write": {"groups": ["chiefs"], "quorum": 1, "expires_s": 60, "justification": "required"},
	}
	decision := decided(bulk_write) with data.gateway.defaults.approvals as approvals
	decision.approval == {
		"phase": "call",
		"groups": ["chiefs"],
		"quorum": 2,
		"expires_s": 60,
		"justification": "required",
	}
}

test_reasons_that_no_group_may_approve_together_are_refused_and_say_what_to_set if {
	approvals := {
		"bulk_select": {"groups": ["privacy-officers"], "quorum": 1, "expires_s": 900, "justification": "optional"},
		"write": {"groups": ["chiefs"], "quorum": 1, "expires_s": 900, "justification": "optional"},
	}
	decision := decided(bulk_write) with data.gateway.defaults.approvals as approvals
	decision.effect == "deny"
	codes(decision) == {"bulk_select", "write", "nobody_approves"}
	some reason in decision.reasons
	endswith(reason.message, "name one in `settings.approvals` under each of bulk_select, write.")
}

test_a_reason_without_terms_is_not_released_on_the_terms_of_another if {
	every approvals in [{"write": {"groups": ["chiefs"]}}, {"write": {"groups": ["chiefs"]}, "bulk_select": {"groups": []}}] {
		decision := decided(bulk_write) with data.gateway.defaults.approvals as approvals
		decision.effect == "deny"
		codes(decision) == {"bulk_select", "write", "nobody_approves"}
	}
}

test_a_guard_that_holds_and_does_not_say_why_is_not_released_on_the_terms_of_another if {
	asked := object.union(with_sql({"kind": "update", "keyed": true}), {"principal": clinician})
	decision := decided(asked) with data.gateway.defaults.guards as {"hours": {}}
		with data.gateway.hours.verdict as "require_approval"
		with data.gateway.hours.reasons as set()
	decision.effect == "deny"
}

test_terms_that_only_name_groups_are_one_grant_within_a_quarter_of_an_hour if {
	approvals := {"bulk_select": {"groups": ["privacy-officers"]}}
	decision := decided(with_sql({"kind": "select", "keyed": false, "limit": null}))
		with data.gateway.defaults.approvals as approvals
	decision.approval == {
		"phase": "call",
		"groups": ["privacy-officers"],
		"quorum": 1,
		"expires_s": 900,
		"justification": "optional",
	}
}

output := {
	"name": "x",
	"fields": ["x"],
	"sources": ["family"],
	"classes": ["NAME"],
	"transformed": false,
	"unresolved": false,
}

with_outputs(outputs) := json.patch(call, [{"op": "replace", "path": "/facts/sql/outputs", "value": outputs}])

selecting(changes) := with_outputs([object.union(output, changes)])

test_a_renamed_column_that_can_be_masked_is_allowed if {
	every changes in [{}, {"transformed": true}, {"classes": ["NAME", "SSN"]}, {"classes": [], "fields": []}] {
		decided(selecting(changes)).effect == "allow"
	}
}

test_what_could_not_be_masked_by_its_name_is_denied if {
	every changes in [{"fields": []}, {"unresolved": true}, {"unresolved": true, "classes": [], "fields": []}] {
		decision := decided(selecting(changes))
		decision.effect == "deny"
		codes(decision) == {"sql_hidden_columns"}
		granted := object.union(selecting(changes), {"approval": {"id": "x"}})
		decided(granted).effect == "deny"
	}
}

test_a_role_that_sees_a_class_may_compute_with_it if {
	asked := object.union(selecting({"fields": [], "transformed": true}), {"principal": clinician})
	decided(asked).effect == "allow"
	hidden := object.union(selecting({"fields": [], "classes": ["SSN"]}), {"principal": clinician})
	decided(hidden).effect == "deny"
}

test_a_role_without_masks_may_select_as_it_likes if {
	masks := object.union(data.gateway.defaults.masks, {"safe_harbor": {"birth_years": false, "rules": []}})
	decision := decided(selecting({"unresolved": true}))
		with data.gateway.defaults.masks as masks
	decision.effect == "allow"
}

test_facts_that_do_not_tell_the_outputs_are_denied if {
	every outputs in [null, {}, "x", 1] {
		decided(with_outputs(outputs)).effect == "deny"
	}
	document := json.remove(call, ["facts/sql/outputs"])
	decided(document).effect == "deny"
}
