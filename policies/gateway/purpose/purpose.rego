# METADATA
# title: Purpose of use
# description: >-
#   What a call is for: what the client declares, else what its role is taken to be for. Each role may declare the
#   purposes in `settings.guards.purpose`; the purpose is a label of the decision, and may choose the mask profile.
package gateway.purpose

default verdict := "deny"

verdict := "allow" if {
	claim
} else := "allow" if {
	# What speaks of the protocol itself is for no purpose.
	data.gateway.grants.kind == "protocol"
}

# The purpose that holds; undefined where the role may not act for what was declared, or nothing was.
claim := {"purpose": name, "masks": object.get(of_role, "masks", {})} if {
	settings := data.gateway.settings
	of_role := settings.guards.purpose.roles[data.gateway.roles.acting(settings)]
	name := declared(of_role)
	name in of_role.may
}

declared(of_role) := input.purpose if {
	input.purpose != ""
} else := of_role["default"]

labels := {"purpose": claim.purpose}

# The profile for this purpose, where it is another than the role's own.
mask := claim.masks[claim.purpose]

default silent := false

# Whether there is no purpose at all.
silent if {
	input.purpose == ""
	guards := data.gateway.settings.guards
	of_role := guards.purpose.roles[data.gateway.roles.name]
	not of_role["default"]
}

reasons contains {
	"code": "purpose_missing",
	"message": "Say what for: give a purpose of use, such as TREAT, in _meta[\"phigate/purpose\"].",
	"rule": "gateway.purpose",
} if {
	silent
}

reasons contains {
	"code": "purpose_not_permitted",
	"message": "Your role may not act for this purpose of use. Declare one that it may, or ask for another role.",
	"rule": "gateway.purpose",
} if {
	not silent
}
