# METADATA
# title: Calls
# description: >-
#   Whether a message from the client may go to its upstream, must be approved first, or is refused. Each guard has a
#   verdict of its own: all must allow; one that is missing, or says anything else than these words, refuses.
package gateway.call

# A guard is a package of its own with two rules:
#
#   verdict   "allow", "deny" or "require_approval"; give it `default verdict := "deny"`
#   reasons   a set of {"code", "message", "rule"}: why, when the verdict is not "allow". For each code that holds a
#             call, `settings.approvals` says on whose terms.
#
# `grants`, `tools` and `sql` always guard, `pins` guards tools that changed, and `asks` what answers an upstream's
# questions. Every other guard is switched on by its settings being there, under its own name in `settings.guards`, and
# costs nothing when they are not. A name there without a guard refuses every call. What refuses may give way to an
# emergency: see `gateway.emergency`.
# To add one: write the package, name it in the table below, describe its settings in policies/schema/settings.json.
# One that guards results too is named in result.rego as well.
#
# What a decision costs is what it goes through: a rule or a reference to `data` takes 3 to 5 us, a function that is
# given what it needs 1, and all else next to nothing. So bind `data.gateway.settings` or a role to a variable once, and
# go on from there. What guards every message has a function besides its rule: `permits` holds for no message that its
# `verdict` would not allow, and what ends in `_under` is the rule of that name under the settings it is given.

verdict("grants") := data.gateway.grants.verdict

reasons("grants") := data.gateway.grants.reasons

verdict("tools") := data.gateway.tools.verdict

reasons("tools") := data.gateway.tools.reasons

verdict("sql") := data.gateway.sql.verdict

reasons("sql") := data.gateway.sql.reasons

verdict("budgets") := data.gateway.budgets.verdict

reasons("budgets") := data.gateway.budgets.reasons

verdict("asks") := data.gateway.asks.verdict

reasons("asks") := data.gateway.asks.reasons

verdict("pins") := data.gateway.pins.verdict

reasons("pins") := data.gateway.pins.reasons

verdict("purpose") := data.gateway.purpose.verdict

reasons("purpose") := data.gateway.purpose.reasons

verdict("hours") := data.gateway.hours.verdict

reasons("hours") := data.gateway.hours.reasons

verdict("fhir") := data.gateway.fhir.verdict

reasons("fhir") := data.gateway.fhir.reasons

verdict("egress") := data.gateway.egress.verdict

reasons("egress") := data.gateway.egress.reasons

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.call"}],
}

decision := {"effect": "allow"} if {
	# Most calls end here, so nothing is collected for them.
	settings := data.gateway.settings
	settings.guards == {}
	permitted(settings)
} else := object.union({"effect": "allow"}, labelled(settings)) if {
	settings := data.gateway.settings
	permitted(settings)
	every guard, _ in settings.guards {
		verdict(guard) == "allow"
	}
} else := object.union(ruling, labelled(data.gateway.settings))

# Whether the guards that nobody can switch off allow the call.
permitted(settings) if {
	not input.tool.changed
	not input.message.params.inputResponses
	role := settings.roles[data.gateway.roles.acting(settings)]
	about := data.gateway.grants.kind_under(settings)
	data.gateway.grants.permits(role, about)
	data.gateway.tools.permits(settings, about)
	data.gateway.sql.permits(settings, input.facts)
}

# What the purpose of use makes of the decision in the records. An emergency has labels of its own.
labelled(settings) := {"labels": labels} if {
	settings.guards.purpose
	labels := data.gateway.purpose.labels
} else := {}

ruling := {"effect": "allow"} if {
	every guard in guards {
		verdict(guard) == "allow"
	}
} else := {"effect": "allow"} if {
	undenied
	is_object(input.approval)
} else := {"effect": "allow", "reasons": opposed, "labels": data.gateway.emergency.labels} if {
	is_object(input.emergency)
	every guard in guards {
		explained(guard)
	}
	data.gateway.emergency.overrides({reason.code | some reason in opposed})
} else := {"effect": "deny", "reasons": refusals | data.gateway.emergency.reasons} if {
	count(refusals) > 0
} else := {"effect": "require_approval", "reasons": holds, "approval": terms} if {
	held
	count(terms.groups) > 0
} else := {"effect": "deny", "reasons": (holds | {nobody}) | data.gateway.emergency.reasons} if held

# What an emergency would have to override.
opposed := refusals | holds

# A guard that does not allow and does not say why is overridden by nothing.
explained(guard) if {
	verdict(guard) == "allow"
} else if {
	count(reasons(guard)) > 0
}

guards := array.concat(constant, [name | some name, _ in data.gateway.settings.guards])

constant := array.concat(["grants", "tools", "sql"], sort(sometimes))

sometimes contains "pins" if input.tool.changed == true

# What the client has to say to what the upstream asked, sent along with the call that it asked at (MCP 2026-07-28).
sometimes contains "asks" if input.message.params.inputResponses

default undenied := false

undenied if {
	every guard in guards {
		verdict(guard) in ["allow", "require_approval"]
	}
}

# A guard that holds and does not say why is not released on the terms of another.
held if {
	undenied
	every guard in guards {
		explained(guard)
	}
}

refusals contains reason if {
	some guard in guards
	said := verdict(guard)
	not said in ["allow", "require_approval"]
	some reason in reasons(guard)
}

holds contains reason if {
	some guard in guards
	verdict(guard) == "require_approval"
	some reason in reasons(guard)
}

# Several reasons at once: whoever approves must be acceptable to each, and the strictest numbers hold.
terms := {
	"phase": "call",
	"groups": [group | some group in offers[0].groups; every offer in offers { group in offer.groups }],
	"quorum": max([object.get(offer, "quorum", 1) | some offer in offers]),
	"expires_s": min([object.get(offer, "expires_s", 900) | some offer in offers]),
	"justification": justification(offers),
} if {
	offers := [data.gateway.settings.approvals[hold.code] | some hold in holds]

	# A reason without terms must not be waved through on the terms of another.
	count(offers) == count(holds)
}

# A hold that no group could end is a refusal, and says so at once.
nobody := {
	"code": "nobody_approves",
	"message": sprintf(
		"No group may approve this for all of its reasons: name one in `settings.approvals` under each of %s.",
		[concat(", ", sort({hold.code | some hold in holds}))],
	),
	"rule": "gateway.call",
}

justification(offers) := "required" if {
	some offer in offers
	offer.justification == "required"
} else := "optional"
