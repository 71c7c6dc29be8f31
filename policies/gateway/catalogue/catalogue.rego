# METADATA
# title: Catalogue
# description: Which of the tools, resources and prompts that an upstream lists the client is shown.
package gateway.catalogue

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.catalogue"}],
}

decision := {"effect": "allow", "visible": visible} if data.gateway.roles.terms

kind := {
	"tools": "tool",
	"prompts": "prompt",
	"resources": "resource",
	"resourceTemplates": "resource",
}[input.catalogue.kind]

# What policy would refuse whatever its arguments is not offered; the call is decided all the same.
visible := [item.name |
	role := data.gateway.roles.terms
	data.gateway.grants.phi_permitted(role)
	granted := data.gateway.grants.granted(role)[kind]
	some item in input.catalogue.items
	data.gateway.grants.named(granted, item.name)
	not item.name in withdrawn
	offered(item)
]

# A tool that is not defined as it was accepted may be hidden until it is.
offered(item) if {
	not item.changed
} else := data.gateway.pins.listed

withdrawn := [tool |
	some tool, access in data.gateway.settings.tools[input.upstream.name]
	access == "deny"
]
