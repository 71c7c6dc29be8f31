# METADATA
# title: Masks
# description: >-
#   The mask plan for what an upstream says: the operator that the role's mask profile gives each PHI class that was
#   found, and each field it names. A class that the profile does not name has the operator of `*`.
package gateway.masks

profile := data.gateway.settings.masks[data.gateway.roles.terms.mask]

# What describes the upstream itself is not about a patient; masking a tool's schema would only break it.
plan := [] if {
	data.gateway.masks.descriptive
} else := array.concat(fields, classes) if {
	data.gateway.masks.profile
}

default descriptive := false

descriptive if {
	input.result.kind == "success"
	input.message.method in data.gateway.settings.descriptive
}

fields := [{"select": {"field": field}, "operator": operator(name)} |
	some field, name in data.gateway.masks.profile.fields
]

classes := [{"select": {"class": class}, "operator": operator(name)} |
	some class, _ in input.profile.classes
	name := chosen(class)
	name != "clear"
]

# A name that leads nowhere redacts: a plan with a hole in it would leave what it does not mention in the clear.
chosen(class) := name if name := data.gateway.masks.profile.classes[class]

else := name if name := data.gateway.masks.profile.classes["*"]

else := "redact"

operator(name) := defined if defined := data.gateway.settings.operators[name]

else := {"name": "redact"}
