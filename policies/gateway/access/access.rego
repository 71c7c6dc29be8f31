# METADATA
# title: Access
# description: >-
#   Who may see approvals, sessions, evidence and the plaintext of sealed bodies, and whether they must say what for.
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

decision := {"effect": "allow"} if {
	member
	explained
} else := {"effect": "deny", "reasons": [purpose_missing]} if {
	member
}

purpose_missing := {
	"code": "purpose_missing",
	"message": "Say what you need this for; the purpose is recorded with the access.",
	"rule": "gateway.access",
}

terms := data.gateway.settings.access[input.access.kind]

default member := false

member if {
	some group in input.principal.groups
	group in terms.groups
} else if {
	# Whoever works on the gateway's own machine, with its keys. No token can say this: issuers of tokens are URLs.
	input.principal.iss == "local"
	terms.local == true
} else if {
	terms.reviewers == true
	some group in input.principal.groups
	group in input.approval.terms.groups
} else if {
	terms.requester == true
	input.approval.requester.sub == input.principal.sub
	input.approval.requester.iss == input.principal.iss
}

default explained := false

explained if {
	terms.purpose == false
} else if {
	trim_space(input.access.purpose) != ""
}
