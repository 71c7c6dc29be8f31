package gateway.result_test

clinician := {"iss": "https://issuer.example", "sub": "c", "groups": ["clinicians"]}

analyst := {"iss": "https://issuer.example", "sub": "a", "groups": ["analysts"]}

engineer := {"iss": "https://issuer.example", "sub": "e", "groups": ["engineers"]}

success := {"kind": "success", "method": "", "is_error": false, "asks": [], "opens": []}

result := {
	"phase": "result",
	"time": "2026-01-05T12:00:00.000000Z",
	"principal": clinician,
	"upstream": {"name": "clinic", "labels": {}},
	"tool": {"name": "run_sql", "annotations": {}},
	"facts": {},
	"message": {"kind": "request", "method": "tools/call", "name": "run_sql"},
	"result": success,
	"profile": {"classes": {"NAME": 2, "SSN": 1}, "paths": ["$.rows[*].ssn"], "rows": 2, "patients": 2, "bytes": 99},
}

but(changes) := object.union(result, changes)

# The rules are tested by the settings as shipped, whatever a site has made of them.
decided(document) := decision if {
	decision := data.gateway.result.decision with input as document with data.gateway.settings as data.gateway.defaults
}

codes(decision) := {reason.code | some reason in decision.reasons}

masked(plan) := {rule.select["class"]: rule.operator.name | some rule in plan}

test_a_clinician_sees_names_and_the_end_of_an_ssn if {
	decision := decided(result)
	decision.effect == "allow"
	masks := masked(decision.mask)
	masks.SSN == "partial"
	not masks.NAME
	not masks.PHI
}

test_an_analyst_gets_safe_harbor_with_the_year_of_birth if {
	decision := decided(but({"principal": analyst}))
	decision.effect == "allow"
	masked(decision.mask) == {
		"BIRTH_DATE": "generalise",
		"ZIP": "generalise",
		"DATE": "generalise",
		"AGE": "generalise",
		"BLOB": "null",
		"PHI": "redact",
	}
	decision.mask[0].operator.as_of == substring(result.time, 0, 4)
}

test_every_profile_but_treatment_masks_whatever_phi_there_is if {
	every name, profile in data.gateway.defaults.masks {
		redacts_all(name, profile)
	}
}

redacts_all(name, _) if name == "treatment"

redacts_all(name, profile) if {
	name != "treatment"
	masked(profile.rules).PHI == "redact"
}

# The settings as they are here, not those that are shipped.
test_every_role_has_a_mask_profile if {
	every _, role in data.gateway.settings.roles {
		count(data.gateway.settings.masks[role.mask].rules) > 0
	}
}

test_a_role_whose_mask_profile_is_missing_gets_nothing if {
	roles := object.union(data.gateway.defaults.roles, {"treatment": {"mask": "no_such"}})
	decided(result).effect == "deny" with data.gateway.defaults.roles as roles
}

test_too_many_rows_are_withheld if {
	decision := decided(but({"profile": {"rows": 201}}))
	decision.effect == "deny"
	codes(decision) == {"too_many_rows"}
}

test_as_many_rows_as_the_role_may_have_are_allowed if {
	decided(but({"profile": {"rows": 200}})).effect == "allow"
}

test_many_rows_that_were_approved_are_allowed_and_masked if {
	asked := but({"principal": analyst, "profile": {"rows": 9000}, "approval": {"id": "x"}})
	decision := decided(asked)
	decision.effect == "allow"
	masked(decision.mask).PHI == "redact"
}

test_a_threshold_that_is_no_number_lets_no_row_through if {
	every rows in ["200", null, true, [], {}] {
		roles := object.union(data.gateway.defaults.roles, {"treatment": {"rows": rows}})
		decision := decided(result) with data.gateway.defaults.roles as roles
		decision.effect == "deny"
	}
}

test_a_long_listing_is_not_a_bulk_result if {
	asked := but({"message": {"method": "resources/list"}, "profile": {"rows": 5000}})
	decided(asked).effect == "allow"
}

test_a_bulk_result_that_comes_back_as_a_task_is_a_bulk_result if {
	every method in ["tasks/get", "tasks/result"] {
		asked := but({"message": {"method": method, "name": ""}, "profile": {"rows": 5000}})
		decision := decided(asked)
		decision.effect == "deny"
		codes(decision) == {"too_many_rows"}
	}
}

test_an_error_that_asks_the_user_to_open_a_url_is_an_elicitation if {
	error := {"kind": "error", "method": "", "is_error": true, "code": -32042, "asks": ["elicitation/create"], "opens": []}
	asked := but({"result": error})
	decision := decided(asked) with data.gateway.defaults.from_upstream.requests as ["ping"]
	decision.effect == "deny"
	codes(decision) == {"upstream_not_expected"}
}

test_without_a_profile_nothing_leaves if {
	every path in ["profile", "profile/rows"] {
		document := json.remove(result, [path])
		decided(document).effect == "deny"
	}
}

test_an_engineer_gets_no_phi if {
	decision := decided(but({"principal": engineer}))
	decision.effect == "deny"
	codes(decision) == {"phi_not_permitted"}
}

test_an_engineer_gets_what_holds_no_phi if {
	document := json.patch(but({"principal": engineer}), [{"op": "replace", "path": "/profile/classes", "value": {}}])
	decision := decided(document)
	decision.effect == "allow"
}

test_content_that_cannot_be_read_leaves_an_upstream_that_holds_no_phi if {
	document := but({"profile": {"classes": {"BLOB": 1}}, "upstream": {"name": "images", "labels": {"phi": false}}})
	decided(document).effect == "allow"
}

test_content_that_cannot_be_read_is_withheld_until_approved if {
	blob := but({"profile": {"classes": {"BLOB": 1}}})
	decision := decided(blob)
	decision.effect == "deny"
	codes(decision) == {"unreadable_content"}
	approved := object.union(blob, {"approval": {"id": "x"}})
	decided(approved).effect == "allow"
}

test_errors_reach_the_client_masked if {
	every kind in [{"kind": "error", "is_error": true, "code": 1, "asks": [], "opens": []}, {"kind": "success", "is_error": true, "asks": [], "opens": []}] {
		document := json.patch(result, [{"op": "replace", "path": "/result", "value": kind}])
		decision := decided(document)
		decision.effect == "allow"
		count(decision.mask) > 0
	}
}

# What the settings open is a site's own choice; that the rule closes the rest holds whatever they open.
test_sampling_elicitation_and_roots_are_closed if {
	every method in ["sampling/createMessage", "elicitation/create", "roots/list", "no/such"] {
		asked := but({"result": {"kind": "request", "method": method, "opens": []}})
		decision := decided(asked) with data.gateway.defaults.from_upstream.requests as ["ping"]
		decision.effect == "deny"
		codes(decision) == {"upstream_not_expected"}
	}
}

test_sampling_can_be_opened_by_name if {
	open := object.union(data.gateway.defaults.from_upstream, {"requests": ["sampling/createMessage"]})
	asked := but({"result": {"kind": "request", "method": "sampling/createMessage", "opens": []}})
	decision := decided(asked) with data.gateway.defaults.from_upstream as open
	decision.effect == "allow"
	count(decision.mask) > 0
}

test_a_modern_result_that_asks_for_sampling_is_closed_too if {
	asked := but({"result": {"asks": ["sampling/createMessage"], "opens": []}})
	decision := decided(asked) with data.gateway.defaults.from_upstream.requests as ["ping"]
	decision.effect == "deny"
	codes(decision) == {"upstream_not_expected"}
}

test_a_result_that_does_not_say_what_it_asks_is_withheld if {
	document := json.remove(result, ["result/asks"])
	decided(document).effect == "deny"
}

test_known_notifications_pass_masked_and_others_do_not if {
	progress := but({"result": {"kind": "notification", "method": "notifications/progress", "asks": [], "opens": []}})
	decision := decided(progress)
	decision.effect == "allow"
	count(decision.mask) > 0
	other := but({"result": {"kind": "notification", "method": "notifications/surprise"}})
	decided(other).effect == "deny"
}

test_of_what_describes_the_upstream_only_identifiers_are_masked if {
	every method in data.gateway.defaults.descriptive {
		asked := but({"principal": analyst, "message": {"method": method}})
		decision := decided(asked)
		decision.effect == "allow"
		masks := masked(decision.mask)
		object.keys(masks) == {class | some class in data.gateway.defaults.identifiers}
		object.keys(masks) & {"PHI", "NAME", "DATE", "URL", "BLOB"} == set()
		{operator | some operator in masks} == {"redact"}
	}
}

test_a_clinician_sees_in_a_listing_what_it_sees_in_results if {
	decision := decided(but({"message": {"method": "tools/list"}}))
	plan := masked(decision.mask)
	plan == {"SSN": "partial", "HEALTH_PLAN": "partial", "ACCOUNT": "redact", "LICENSE": "redact", "BIOMETRIC": "redact"}
}

test_a_listing_for_a_role_without_its_profile_is_withheld if {
	roles := object.union(data.gateway.defaults.roles, {"treatment": {"mask": "no_such"}})
	asked := but({"message": {"method": "tools/list"}})
	decided(asked).effect == "deny" with data.gateway.defaults.roles as roles
}

test_what_says_nothing_of_the_upstream_is_masked_like_any_result if {
	every method in ["ping", "logging/setLevel"] {
		decision := decided(but({"principal": analyst, "message": {"method": method}}))
		masked(decision.mask).PHI == "redact"
	}
}

test_a_notification_while_listing_tools_is_masked if {
	asked := but({
		"message": {"method": "tools/list"},
		"result": {"kind": "notification", "method": "notifications/message", "asks": [], "opens": []},
	})
	decision := decided(asked)
	count(decision.mask) > 0
}

test_an_error_while_listing_tools_is_masked if {
	asked := but({"message": {"method": "tools/list"}, "result": {"kind": "error", "asks": [], "opens": []}})
	decision := decided(asked)
	count(decision.mask) > 0
}

test_nobody_without_a_role_receives_anything if {
	document := json.patch(result, [{"op": "replace", "path": "/principal/groups", "value": ["visitors"]}])
	decision := decided(document)
	decision.effect == "deny"
	"no_role" in codes(decision)
}

test_an_empty_input_is_denied if {
	decided({}).effect == "deny"
}

output := {
	"name": "x",
	"fields": ["x"],
	"sources": ["zip"],
	"classes": ["ZIP"],
	"transformed": false,
	"unresolved": false,
}

of_sql(outputs) := {"facts": {"sql": {"understood": true, "statements": [{"kind": "select"}], "outputs": outputs}}}

test_sql_that_renames_nothing_is_masked_by_the_profile_alone if {
	decision := decided(but(of_sql([])))
	decision == decided(result)
	decision.effect == "allow"
}

selected(who, changes) := but(object.union(of_sql([object.union(output, changes)]), {"principal": who}))

fields(plan) := {rule.select.field: rule.operator | some rule in plan; rule.select.field}

# By the id of a task nobody can tell which columns its SQL renamed.
test_sql_that_goes_on_as_a_task_is_withheld_where_something_is_masked if {
	task := {"kind": "success", "method": "", "is_error": false, "task": true, "asks": [], "opens": []}
	decided(object.union(selected(analyst, {}), {"result": task})).effect == "deny"
	decided(but({"result": task})).effect == "allow"
}

test_a_renamed_column_is_masked_like_the_column_it_is if {
	decision := decided(selected(analyst, {}))
	fields(decision.mask) == {"x": {"name": "generalise"}}
	masked(decision.mask).PHI == "redact"
	dated := decided(selected(analyst, {"classes": ["BIRTH_DATE"]}))
	fields(dated.mask) == {"x": {"name": "generalise", "as_of": substring(result.time, 0, 4)}}
	wide := decided(selected(analyst, {"classes": ["MRN"]}))
	fields(wide.mask) == {"x": {"name": "redact"}}
	narrow := decided(selected(clinician, {"classes": ["SSN"]}))
	fields(narrow.mask) == {"x": {"name": "partial", "keep": 4}}
}

test_a_value_computed_of_masked_columns_is_redacted if {
	every changes in [{"transformed": true}, {"classes": ["ZIP", "NAME"]}, {"classes": ["PHI"]}] {
		decision := decided(selected(analyst, changes))
		fields(decision.mask) == {"x": {"name": "redact"}}
	}
	free := decided(selected(clinician, {"classes": ["PHI"], "transformed": true}))
	fields(free.mask) == {"x": {"name": "redact"}}
}

test_every_way_a_database_may_write_a_name_is_masked if {
	decision := decided(selected(analyst, {"fields": ["my_col", "mycol"]}))
	object.keys(fields(decision.mask)) == {"my_col", "mycol"}
}

test_what_a_role_sees_it_sees_under_any_name if {
	decision := decided(selected(clinician, {"classes": ["NAME"]}))
	decision.effect == "allow"
	fields(decision.mask) == {}
}

test_a_field_that_the_profile_masks_is_masked_under_another_name if {
	profile := {"birth_years": false, "rules": [{"select": {"field": "zip"}, "operator": {"name": "null"}}]}
	masks := object.union(data.gateway.defaults.masks, {"safe_harbor": profile})
	decision := decided(selected(analyst, {"classes": []}))
		with data.gateway.defaults.masks as masks
	fields(decision.mask) == {"x": {"name": "redact"}, "zip": {"name": "null"}}
}

test_what_cannot_be_masked_by_its_name_is_withheld if {
	every changes in [{"unresolved": true}, {"fields": []}] {
		decision := decided(selected(analyst, changes))
		decision.effect == "deny"
	}
	decided(but(of_sql(null))).effect == "deny"
}
