# METADATA
# title: Break-glass
# description: >-
#   What somebody may do in an emergency that policy would refuse otherwise, or have approved first (45 CFR
#   164.312(a)(2)(ii)). The client claims it, with a justification; the gateway puts the access on record, alerts, and
#   opens a review. Whoever owes too many reviews has to wait for them. Off unless `settings.emergency` says who may.
package gateway.emergency

# Undefined while nobody may break the glass.
terms := settings.emergency if settings := data.gateway.settings

covered if {
	agent == false
	settings := terms
	settings.roles[data.gateway.roles.name]
}

# Nobody could be asked afterwards why a program without a person behind it broke the glass.
default agent := false

agent if input.principal.kind == "agent"

# Whether every one of these refusals gives way to the emergency. Holds in the call phase for whoever claims one, and in
# the result phase when that call was allowed for its sake.
overrides(codes) if {
	count(codes) > 0
	agent == false
	settings := terms
	role := settings.roles[data.gateway.roles.name]
	every code in codes {
		code in role.overrides
	}
	open(settings)
}

open(settings) if {
	input.phase == "call"
	claimed
	under_way(settings)
} else if {
	input.phase == "call"
	claimed
	reviewed(settings)
} else if {
	input.phase == "result"
	input.emergency.granted == true
}

claimed if {
	input.emergency.requested == true
	input.emergency.justified == true
}

# More of the emergency that this person began a moment ago: it is reviewed with the rest of it.
under_way(settings) if {
	is_number(settings.expires_s)
	is_string(input.emergency.began)
	began := time.parse_rfc3339_ns(input.emergency.began)
	time.parse_rfc3339_ns(input.time) < began + (settings.expires_s * 1000000000)
}

# Another emergency can begin only while not too many wait for their review: this person's, and everybody's.
reviewed(settings) if {
	is_number(input.emergency.open_reviews)
	is_number(input.emergency.unreviewed)
	is_number(settings.open_reviews)
	is_number(settings.unreviewed)
	input.emergency.open_reviews < settings.open_reviews
	input.emergency.unreviewed < settings.unreviewed
}

labels := {"emergency": true, "emergency_s": terms.expires_s}

# Why an emergency that is claimed does not help, beside the refusal itself.
reasons contains {
	"code": "emergency_unjustified",
	"message": "An emergency needs a justification: say why in `_meta`, under phigate/justification.",
	"rule": "gateway.emergency",
} if {
	input.emergency.requested == true
	input.emergency.justified == false
}

reasons contains {
	"code": "emergency_locked",
	"message": "Emergencies before this one wait for their review. Have one closed before you begin another.",
	"rule": "gateway.emergency",
} if {
	claimed
	covered
	settings := terms
	not open(settings)
}

reasons contains {
	"code": "emergency_not_covered",
	"message": "Your role may not do this in an emergency either.",
	"rule": "gateway.emergency",
} if {
	claimed
	not covered
}
