# METADATA
# title: Calls
# description: >-
#   Whether a message from the client may go to its upstream, must be approved first, or is refused. Each guard has a
#   verdict of its own: all must allow; one that is missing, or says anything else than these words, refuses.
package gateway.call

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.call"}],
}

decision := {"effect": "allow"} if {
	data.gateway.grants.verdict == "allow"
	data.gateway.tools.verdict == "allow"
	data.gateway.sql.verdict == "allow"
} else := {"effect": "deny", "reasons": refusals} if {
	count(refusals) > 0
} else := {"effect": "allow"} if {
	undenied
	is_object(input.approval)
} else := {"effect": "require_approval", "reasons": holds, "approval": terms} if {
	undenied
}

default undenied := false

undenied if {
	every guard in ["grants", "tools", "sql"] {
		verdicts[guard] in ["allow", "require_approval"]
	}
}

verdicts["grants"] := data.gateway.grants.verdict

verdicts["tools"] := data.gateway.tools.verdict

verdicts["sql"] := data.gateway.sql.verdict

reasons["grants"] := data.gateway.grants.reasons

reasons["tools"] := data.gateway.tools.reasons

reasons["sql"] := data.gateway.sql.reasons

refusals contains reason if {
	some guard, verdict in verdicts
	not verdict in ["allow", "require_approval"]
	some reason in reasons[guard]
}

holds contains reason if {
	some guard, verdict in verdicts
	verdict == "require_approval"
	some reason in reasons[guard]
}

# Several reasons at once: whoever approves must be acceptable to each, and the strictest numbers hold.
terms := {
	"phase": "call",
	"groups": [group | some group in offers[0].groups; every offer in offers { group in offer.groups }],
	"quorum": max([offer.quorum | some offer in offers]),
	"expires_s": min([offer.expires_s | some offer in offers]),
	"justification": justification(offers),
} if {
	offers := [data.gateway.settings.approvals[hold.code] | some hold in holds]

	# A reason without terms must not be waved through on the terms of another.
	count(offers) == count(holds)
}

justification(offers) := "required" if {
	some offer in offers
	offer.justification == "required"
} else := "optional"
