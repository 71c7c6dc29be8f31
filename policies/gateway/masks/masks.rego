# METADATA
# title: Masks
# description: >-
#   The mask plan for what an upstream says: the role's profile in `settings.masks`. A role whose profile is missing gets
#   no plan, and then nothing.
package gateway.masks

plan := [] if {
	data.gateway.masks.descriptive
} else := data.gateway.settings.masks[data.gateway.roles.terms.mask]

default descriptive := false

# What describes the upstream itself is not about a patient; masking a tool's schema would only break it.
descriptive if {
	input.result.kind == "success"
	input.message.method in data.gateway.settings.descriptive
}
