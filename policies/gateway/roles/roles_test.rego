package gateway.roles_test

role(groups) := name if {
	document := {"principal": {"groups": groups}}
	name := data.gateway.roles.name with input as document with data.gateway.settings as data.gateway.defaults
}

test_a_group_gives_its_role if {
	role(["staff", "analysts"]) == "analysis"
}

test_of_several_roles_the_first_in_precedence_is_acted_in if {
	role(["analysts", "clinicians"]) == "treatment"
	role(["clinicians", "analysts"]) == "treatment"
	role(["auditors", "engineers"]) == "engineering"
}

test_unknown_groups_give_no_role if {
	not role(["visitors"])
	not role([])
}

# The settings as they are here, not those that are shipped.
test_every_role_that_a_group_gives_is_defined_and_has_precedence if {
	every _, name in data.gateway.settings.groups {
		data.gateway.settings.roles[name]
		name in data.gateway.settings.precedence
	}
}
