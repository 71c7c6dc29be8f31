# METADATA
# title: Masks
# description: >-
#   The mask plan for what an upstream says: the role's profile in `settings.masks`. A role whose profile is missing gets
#   no plan, and then nothing.
package gateway.masks

plan := [] if {
	descriptive
} else := array.concat([birth_year], profile.rules) if {
	profile.birth_years == true
} else := profile.rules

profile := data.gateway.settings.masks[data.gateway.roles.terms.mask]

# Whether a year of birth gives away an age over 89 depends on the year it is now; the engine has no clock.
birth_year := {
	"select": {"class": "BIRTH_DATE"},
	"operator": {"name": "generalise", "as_of": input.time},
}

default descriptive := false

# What describes the upstream itself is not about a patient; masking a tool's schema would only break it.
descriptive if {
	input.result.kind == "success"
	input.message.method in data.gateway.settings.descriptive
}
