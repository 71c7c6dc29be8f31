# METADATA
# title: Tools
# description: >-
#   What calling a tool does: `read`, `write` or `deny`. SQL and FHIR requests that were understood tell it best, then
#   the organisation (`settings.tools`), then the upstream's own `readOnlyHint`. A tool that nobody vouches for writes.
package gateway.tools

default verdict := "deny"

verdict := "allow" if {
	data.gateway.grants.kind != "tool"
} else := "allow" if {
	access == "read"
} else := data.gateway.roles.terms.writes if {
	access == "write"
}

# The same, short of who may write.
permits(settings, about) if {
	about != "tool"
} else if {
	access_under(settings) == "read"
}

default access := "write"

access := access_under(data.gateway.settings)

access_under(settings) := "write" if {
	input.facts.sql
	data.gateway.sql.access_under(settings) == "write"
} else := "write" if {
	input.facts.fhir
	data.gateway.fhir.access == "write"
} else := said if {
	said := settings.tools[input.upstream.name][input.message.name]
} else := "read" if {
	input.facts.sql
	data.gateway.sql.access_under(settings) == "read"
} else := "read" if {
	input.facts.fhir
	data.gateway.fhir.access == "read"
} else := "read" if {
	input.tool.annotations.readOnlyHint == true
}

reasons contains {
	"code": "write",
	"message": "This may change records: your role may not do that, or not without a reviewer's approval.",
	"rule": "gateway.tools",
} if {
	access == "write"
}

reasons contains {
	"code": "tool_denied",
	"message": "Nobody may call this tool through the gateway.",
	"rule": "gateway.tools",
} if {
	not access in ["read", "write"]
}
