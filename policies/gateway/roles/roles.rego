# METADATA
# title: Roles
# description: >-
#   The role a principal acts in: the first in `settings.precedence` that one of its groups gives. Nobody acts in two
#   roles at once, so that the rights of one never join the clear text of another.
package gateway.roles

# Undefined for a principal without a role, which no rule then allows anything. Its numbers are not known to be numbers:
# Rego orders every number before every text, so a threshold written as "25" would be above any count.
terms := settings.roles[acting(settings)] if settings := data.gateway.settings

name := acting(data.gateway.settings)

acting(settings) := role if {
	[role] := [settings.groups[group] | some group in input.principal.groups]
} else := [role |
	some role in settings.precedence
	some group in input.principal.groups
	settings.groups[group] == role
][0]
