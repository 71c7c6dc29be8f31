# METADATA
# title: PHI to upstreams without a contract
# description: >-
#   What a client sends to an upstream whose label `baa` is false (45 CFR 164.504(e): no business associate agreement)
#   may hold no PHI, except of the classes in `settings.guards.egress`.
package gateway.egress

default verdict := "deny"

verdict := "allow" if {
	not without_contract
} else := "allow" if {
	guards := data.gateway.settings.guards
	free := guards.egress.free
	every class, _ in input.facts.arguments.classes {
		class in free
	}
} else := "require_approval" if {
	input.facts.arguments.classes
	guards := data.gateway.settings.guards
	guards.egress.effect == "require_approval"
}

default without_contract := false

# A label that is there says so with a plain `true`; `"no"` is not taken for one.
without_contract if input.upstream.labels.baa != true

reasons contains {
	"code": "phi_egress",
	"message": "This upstream may not be sent protected health information, and there is some in what you send.",
	"rule": "gateway.egress",
} if {
	input.facts.arguments.classes
}

reasons contains {
	"code": "phi_egress_unknown",
	"message": "This upstream may not be sent protected health information, and nobody looked for it in what you send.",
	"rule": "gateway.egress",
} if {
	not input.facts.arguments.classes
}
