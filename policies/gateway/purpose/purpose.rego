# METADATA
# title: Purpose of use
# description: >-
#   What a call is for: what the client declares, else what its role is taken to be for. Each role may declare the
#   purposes in `settings.guards.purpose`; the purpose is a label of the decision, and may choose the mask profile.
package gateway.purpose

default verdict := "deny"

verdict := "allow" if {
	name in of_role.may
} else := "allow" if {
	# What speaks of the protocol itself is for no purpose.
	data.gateway.grants.kind == "protocol"
}

# Undefined where the client declares none and the role has none.
name := input.purpose if {
	input.purpose != ""
} else := of_role["default"]

of_role := guards.purpose.roles[data.gateway.roles.name] if guards := data.gateway.settings.guards

# The profile for this purpose, where it is another than the role's own.
mask := of_role.masks[name] if name in of_role.may

labels := {"purpose": name} if name in of_role.may

reasons contains {
	"code": "purpose_missing",
	"message": "Say what for: give a purpose of use, such as TREAT, in _meta[\"phigate/purpose\"].",
	"rule": "gateway.purpose",
} if {
	not name
}

reasons contains {
	"code": "purpose_not_permitted",
	"message": "Your role may not act for this purpose of use. Declare one that it may, or ask for another role.",
	"rule": "gateway.purpose",
} if {
	said := name
	not said in of_role.may
}

reasons contains {
	"code": "purpose_not_permitted",
	"message": "Your role may not act for this purpose of use. Declare one that it may, or ask for another role.",
	"rule": "gateway.purpose",
} if {
	not of_role
}
