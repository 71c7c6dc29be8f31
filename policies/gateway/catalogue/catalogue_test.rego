package gateway.catalogue_test

listing := {
	"phase": "catalogue",
	"principal": {"groups": ["analysts"]},
	"upstream": {"name": "clinic", "labels": {}},
	"catalogue": {"kind": "tools", "items": [{"name": "run_sql"}, {"name": "read_patient"}, {"name": "wipe"}]},
}

visible(document) := names if {
	listed := data.gateway.catalogue.decision.visible with input as document
		with data.gateway.settings as data.gateway.defaults
	names := {name | some name in listed}
}

test_what_the_role_is_granted_is_shown if {
	visible(listing) == {"run_sql", "read_patient", "wipe"}
}

test_only_what_the_role_is_granted_is_shown if {
	roles := object.union(data.gateway.defaults.roles, {"analysis": {"upstreams": {"clinic": {"tool": ["read_*"]}}}})
	visible(listing) == {"read_patient"} with data.gateway.defaults.roles as roles
}

test_a_withdrawn_tool_is_not_shown if {
	visible(listing) == {"run_sql", "read_patient"} with data.gateway.defaults.tools as {"clinic": {"wipe": "deny"}}
}

test_an_engineer_is_shown_nothing_of_an_upstream_with_phi if {
	visible(object.union(listing, {"principal": {"groups": ["engineers"]}})) == set()
}

test_an_engineer_is_shown_an_upstream_without_phi if {
	asked := object.union(listing, {"principal": {"groups": ["engineers"]}, "upstream": {"labels": {"phi": false}}})
	count(visible(asked)) == 3
}

test_every_kind_of_listing_has_a_grant if {
	every kind in ["tools", "prompts", "resources", "resourceTemplates"] {
		count(visible(object.union(listing, {"catalogue": {"kind": kind}}))) == 3
	}
}

test_nobody_without_a_role_is_shown_anything if {
	document := object.union(listing, {"principal": {"groups": ["visitors"]}})
	data.gateway.catalogue.decision.effect == "deny" with input as document
		with data.gateway.settings as data.gateway.defaults
}

test_nothing_is_shown_of_a_listing_of_an_unknown_kind if {
	visible(object.union(listing, {"catalogue": {"kind": "secrets"}})) == set()
}

test_an_empty_input_is_denied if {
	data.gateway.catalogue.decision.effect == "deny" with input as {}
		with data.gateway.settings as data.gateway.defaults
}
