# METADATA
# title: Access
# description: Who may see approvals, sessions, evidence and the plaintext of sealed bodies, and whether they must say what for.
package gateway.access

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{
		"code": "no_access",
		"message": "Your groups have no access to this.",
		"rule": "gateway.access",
	}],
}

decision := {"effect": "deny", "reasons": [{
	"code": "purpose_missing",
	"message": "Say what you need this for; the purpose is recorded with the access.",
	"rule": "gateway.access",
}]} if {
	member
	data.gateway.settings.access[input.access.kind].purpose
	not purpose_given
}

else := {"effect": "allow"} if member

default member := false

member if {
	some group in input.principal.groups
	group in data.gateway.settings.access[input.access.kind].groups
}

default purpose_given := false

purpose_given if trim_space(input.access.purpose) != ""
