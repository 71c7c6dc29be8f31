# METADATA
# title: Grants
# description: >-
#   Whether the principal's role may use a method, and the tool, resource or prompt it names. Protocol methods are open
#   to every role; tasks to those that may call some tool; a method that `settings.methods` does not know to none.
package gateway.grants

default verdict := "deny"

verdict := "allow" if {
	kind == "protocol"
	data.gateway.roles.terms
} else := "allow" if {
	# What ran as a task comes back under an id that names no tool.
	kind == "task"
	phi_permitted
	count(granted.tool) > 0
} else := "allow" if {
	phi_permitted
	named(granted[kind], input.message.name)
}

# An answer to what the upstream asked has that request's method; it may pass where the question may.
kind := "protocol" if {
	input.message.kind == "response"
	input.message.method in data.gateway.settings.from_upstream.requests
} else := completed[input.message.params.ref.type] if {
	input.message.kind == "request"
	data.gateway.settings.methods[input.message.method] == "completion"
} else := method if {
	method := data.gateway.settings.methods[input.message.method]
	method == "protocol"
	input.message.kind != "response"
} else := method if {
	# Facts, and with them the other guards, know requests only.
	method := data.gateway.settings.methods[input.message.method]
	input.message.kind == "request"
}

# Completing an argument reads from the prompt or the resource template that has it.
completed := {"ref/prompt": "prompt", "ref/resource": "resource"}

# A grant that names the upstream replaces the one for `*`; they are not added up.
granted := grant if {
	grant := data.gateway.roles.terms.upstreams[input.upstream.name]
} else := data.gateway.roles.terms.upstreams["*"]

named(patterns, name) if {
	name != ""
	matched(patterns, name)
}

matched(patterns, name) if {
	"*" in patterns
} else if {
	name in patterns
} else if {
	some pattern in patterns
	glob.match(pattern, null, name)
}

# An upstream holds PHI unless its label says that it does not.
default phi_permitted := false

phi_permitted if {
	data.gateway.roles.terms.phi == true
} else if {
	input.upstream.labels.phi == false
}

reasons contains {
	"code": "no_role",
	"message": "None of your groups has a role here. Ask whoever administers the policy for one.",
	"rule": "gateway.grants",
} if {
	not data.gateway.roles.terms
}

reasons contains {
	"code": "phi_upstream",
	"message": "Your role may not reach protected health information, and this upstream holds it.",
	"rule": "gateway.grants",
} if {
	data.gateway.roles.terms
	not phi_permitted
}

reasons contains {
	"code": "not_granted",
	"message": "Your role may not use this method, tool, resource or prompt.",
	"rule": "gateway.grants",
} if {
	data.gateway.roles.terms
	phi_permitted
}
