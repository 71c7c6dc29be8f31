# METADATA
# title: Roles
# description: >-
#   The role a principal acts in: the first in `settings.precedence` that one of its groups gives. Nobody acts in two
#   roles at once, so that the rights of one never join the clear text of another.
package gateway.roles

name := held[0] if {
	held := [role |
		some group in input.principal.groups
		role := data.gateway.settings.groups[group]
	]
	count(held) == 1
} else := [role |
	some role in data.gateway.settings.precedence
	some group in input.principal.groups
	data.gateway.settings.groups[group] == role
][0]

# Undefined for a principal without a role, which no rule then allows anything.
terms := data.gateway.settings.roles[name]

# Rego orders every number before every text, so a threshold written as "25" would be above any count.
rows := terms.rows if is_number(terms.rows)
