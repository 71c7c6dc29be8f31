# METADATA
# title: Budgets
# description: >-
#   How much a person may use in a window of time: calls, rows, distinct patients and PHI fields, by role, or by role
#   and purpose. What was used is counted by the gateway, in `input.usage`, for every window that the settings name.
package gateway.budgets

# Undefined for a role without budgets, for what speaks of the protocol itself and brings no records, and for asking
# after a call that is held: what that brings was decided and counted when it ran.
limits := budget(settings.guards.budgets, data.gateway.roles.name) if {
	not input.message.held
	settings := data.gateway.settings
	settings.methods[input.message.method] in ["tool", "resource", "prompt", "completion", "task"]
}

# A purpose may have limits of its own, if the role may act for it. They are limits only: what is counted is all that
# the person used, so that declaring one purpose and then another doubles nothing.
budget(budgets, role) := found if {
	found := budgets[concat("/", [role, data.gateway.purpose.labels.purpose])]
} else := budgets[role]

default verdict := "deny"

verdict := "allow" if {
	not limits
} else := "allow" if {
	counted
	count(exceeded) == 0
} else := "require_approval" if {
	input.phase == "call"
	approvable
} else := "allow" if {
	# A reviewer has let this one call go beyond the budget. What it brings is counted all the same.
	input.phase == "result"
	is_object(input.approval)
	approvable
}

approvable if {
	counted
	every excess in exceeded {
		limits[excess.window].over == "require_approval"
	}
}

default counted := false

# Nothing counts as unused that nobody has counted.
counted if {
	input.phase == "call"
	every window, _ in limits {
		numbers(window, ["calls", "rows", "patients", "phi_fields"])
	}
} else if {
	input.phase == "result"
	is_number(input.profile.rows)
	every window, _ in limits {
		numbers(window, ["calls", "rows", "patients", "phi_fields", "new_patients"])
	}
}

numbers(window, measures) if {
	every measure in measures {
		is_number(input.usage[window][measure])
	}
}

exceeded contains excess if {
	counted
	some window, terms in limits
	some measure in ["calls", "rows", "patients", "phi_fields"]
	limit := terms[measure]
	used := input.usage[window][measure]
	asked := more(measure, window, object.get(terms, "over", "deny"))
	is_number(used)
	is_number(asked)
	not within(used + asked, limit)
	excess := {"window": window, "measure": measure, "used": used, "limit": limit}
}

# A limit that is no number would be above any count: Rego orders numbers before all else.
within(number, limit) if {
	is_number(limit)
	number <= limit
}

# What this exchange adds. What a call will bring nobody knows yet, so it needs something to be left of the budget; but
# patients who were seen before may be seen again, so of them the result must tell, unless a reviewer is to be asked.
more(measure, window, over) := added[measure] if {
	input.phase == "result"
	measure != "patients"
} else := input.usage[window].new_patients if {
	input.phase == "result"
} else := 1 if {
	measure != "patients"
} else := 1 if {
	over == "require_approval"
} else := 0

added := {
	"calls": 1,
	"rows": input.profile.rows,
	"phi_fields": sum([number | some number in input.profile.classes]),
}

reasons contains {
	"code": concat("", ["budget_", excess.measure]),
	"message": sprintf(
		"Your budget for %v is used up: %v of %v %v used. Some of it comes back at %v. Ask for less until then.",
		[excess.window, excess.used, excess.limit, words[excess.measure], frees_up(excess.window)],
	),
	"rule": "gateway.budgets",
} if {
	some excess in exceeded
}

reasons contains {
	"code": "budget_unknown",
	"message": "What you have used of your budget is not known, so nothing more is given. Tell whoever runs the gateway.",
	"rule": "gateway.budgets",
} if {
	limits
	not counted
}

words := {"calls": "calls", "rows": "rows", "patients": "patients", "phi_fields": "PHI fields"}

frees_up(window) := time if {
	time := input.usage[window].frees_up
	is_string(time)
} else := "no time: this alone is more than all of it"
