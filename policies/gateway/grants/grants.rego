# METADATA
# title: Grants
# description: >-
#   Whether the principal's role may use a method, and the tool, resource or prompt it names. Protocol methods are open
#   to every role; tasks to those that may call some tool; a method that `settings.methods` does not know to none.
package gateway.grants

default verdict := "deny"

verdict := "allow" if permits(data.gateway.roles.terms, kind)

# Whether the role may send a message that is `about` a tool, a resource and so on.
permits(role, about) if {
	phi_permitted(role)
	named(granted(role)[about], input.message.name)
} else if {
	role
	about == "protocol"
} else if {
	# What ran as a task comes back under an id that names no tool.
	about == "task"
	phi_permitted(role)
	count(granted(role).tool) > 0
}

kind := kind_under(data.gateway.settings)

# What the message is about: "tool", "resource", "prompt", "task" or "protocol".
kind_under(settings) := method if {
	# Facts, and with them the other guards, know requests only.
	input.message.kind == "request"
	method := settings.methods[input.message.method]
	method != "completion"
} else := completed[input.message.params.ref.type] if {
	input.message.kind == "request"
	settings.methods[input.message.method] == "completion"
} else := "protocol" if {
	input.message.kind == "notification"
	settings.methods[input.message.method] == "protocol"
} else := "protocol" if {
	# An answer to what the upstream asked has that request's method; it may pass where the question may.
	input.message.kind == "response"
	data.gateway.asks.open(input.message.method)
}

# Completing an argument reads from the prompt or the resource template that has it.
completed := {"ref/prompt": "prompt", "ref/resource": "resource"}

# A grant that names the upstream replaces the one for `*`; they are not added up.
granted(role) := grant if {
	grant := role.upstreams[input.upstream.name]
} else := role.upstreams["*"]

named(patterns, name) if {
	name != ""
	"*" in patterns
} else if {
	name != ""
	name in patterns
} else if {
	name != ""
	some pattern in patterns
	glob.match(pattern, null, name)
}

# An upstream holds PHI unless its label says that it does not.
phi_permitted(role) if {
	role.phi == true
} else if {
	role
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
	role := data.gateway.roles.terms
	not phi_permitted(role)
}

reasons contains {
	"code": "not_granted",
	"message": "Your role may not use this method, tool, resource or prompt.",
	"rule": "gateway.grants",
} if {
	phi_permitted(data.gateway.roles.terms)
}
