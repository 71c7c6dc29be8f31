# METADATA
# title: Grants
# description: >-
#   Whether a role may use a method, and the tool, resource or prompt it names. Protocol methods are open to every role;
#   a method that `settings.methods` does not know is open to none.
package gateway.grants

kind := data.gateway.settings.methods[input.message.method]

# A grant that names the upstream replaces the one for `*`; they are not added up.
granted := grant if grant := data.gateway.roles.terms.upstreams[input.upstream.name]

else := data.gateway.roles.terms.upstreams["*"]

default permitted := false

permitted if {
	data.gateway.grants.kind == "protocol"
	data.gateway.roles.terms
}

permitted if named(data.gateway.grants.granted[data.gateway.grants.kind], input.message.name)

named(patterns, name) if {
	"*" in patterns
	name != ""
}

else if name in patterns

else if {
	some pattern in patterns
	glob.match(pattern, null, name)
}

# An upstream holds PHI unless its label says that it does not.
default holds_phi := true

holds_phi := false if input.upstream.labels.phi == false

default reaches_phi := false

reaches_phi if {
	data.gateway.grants.kind != "protocol"
	data.gateway.grants.holds_phi
	not data.gateway.roles.terms.phi
}
