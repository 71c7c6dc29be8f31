# METADATA
# title: What a role may receive
# description: >-
#   PHI never without `phi`; more rows at once than the role may have, and content that cannot be looked into, only
#   after an approval. What describes the upstream itself goes to everybody who has a role.
package gateway.receipt

default verdict := "deny"

verdict := "allow" if permits(data.gateway.settings, data.gateway.roles.terms)

permits(settings, role) if {
	phi_permitted(role)
	few_rows(role)
	not input.profile.classes.BLOB
} else if {
	phi_permitted(role)
	few_rows(role)
	readable
} else if {
	role
	data.gateway.masks.descriptive(settings)
}

phi_permitted(role) if {
	role.phi == true
} else if {
	role
	count(input.profile.classes) == 0
}

few_rows(role) if {
	is_number(role.rows)
	is_number(input.profile.rows)
	input.profile.rows <= role.rows
} else if {
	data.gateway.grants.kind == "protocol"
} else if {
	is_object(input.approval)
}

default readable := false

readable if {
	not input.profile.classes.BLOB
} else if {
	# What an organisation vouches for to hold no PHI may send what cannot be looked into.
	input.upstream.labels.phi == false
} else if {
	is_object(input.approval)
}

reasons contains {
	"code": "no_role",
	"message": "None of your groups has a role here. Ask whoever administers the policy for one.",
	"rule": "gateway.receipt",
} if {
	not data.gateway.roles.terms
}

reasons contains {
	"code": "phi_not_permitted",
	"message": "Your role may not receive protected health information, and there is some in this.",
	"rule": "gateway.receipt",
} if {
	role := data.gateway.roles.terms
	not phi_permitted(role)
}

reasons contains {
	"code": "too_many_rows",
	"message": "These are more rows than your role may receive at once. Ask for fewer, or get the call approved.",
	"rule": "gateway.receipt",
} if {
	role := data.gateway.roles.terms
	not few_rows(role)
}

reasons contains {
	"code": "unreadable_content",
	"message": "This holds images, audio or files that cannot be masked. Get the call approved to receive them.",
	"rule": "gateway.receipt",
} if {
	not readable
}
