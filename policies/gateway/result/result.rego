# METADATA
# title: Results
# description: Whether what an upstream says may reach the client, and what of it is masked.
package gateway.result

# Guards are packages as in call.rego, with a verdict of "allow" or "deny". `asks` and `receipt` always guard. One that
# is switched on in `settings.guards` and looks at results too, which `input.phase` tells it, has its name here.

verdict("asks") := data.gateway.asks.verdict

reasons("asks") := data.gateway.asks.reasons

verdict("receipt") := data.gateway.receipt.verdict

reasons("receipt") := data.gateway.receipt.reasons

verdict("budgets") := data.gateway.budgets.verdict

reasons("budgets") := data.gateway.budgets.reasons

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.result"}],
}

decision := {"effect": "allow", "mask": plan} if {
	# Most results end here, so nothing is collected for them.
	settings := data.gateway.settings
	role := settings.roles[data.gateway.roles.acting(settings)]
	data.gateway.asks.permits(input.result)
	data.gateway.receipt.permits(settings, role)
	every guard in switchable {
		passes(guard, settings.guards)
	}
	plan := data.gateway.masks.plan_under(settings, role)
} else := ruling

ruling := {"effect": "allow", "mask": data.gateway.masks.plan} if {
	every guard in guards {
		verdict(guard) == "allow"
	}
} else := {"effect": "allow", "mask": data.gateway.masks.plan, "reasons": refusals} if {
	is_object(input.emergency)
	every guard in guards {
		explained(guard)
	}
	data.gateway.emergency.overrides({reason.code | some reason in refusals})
} else := {"effect": "deny", "reasons": refusals} if {
	count(refusals) > 0
}

# A guard that refuses and does not say why is overridden by nothing, an emergency neither.
explained(guard) if {
	verdict(guard) == "allow"
} else if {
	count(reasons(guard)) > 0
}

passes(guard, on) if {
	not on[guard]
} else if {
	verdict(guard) == "allow"
}

switchable := ["budgets"]

guards := array.concat(["asks", "receipt"], [name | some name in switchable; data.gateway.settings.guards[name]])

refusals contains reason if {
	some guard in guards
	verdict(guard) != "allow"
	some reason in reasons(guard)
}
