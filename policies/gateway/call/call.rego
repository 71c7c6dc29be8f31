# METADATA
# title: Calls
# description: Whether a message from the client may go to its upstream, must be approved first, or is refused.
package gateway.call

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.call"}],
}

decision := {"effect": "deny", "reasons": refusals} if count(refusals) > 0

else := {"effect": "allow"} if count(holds) == 0

else := {"effect": "allow"} if is_object(input.approval)

else := {"effect": "require_approval", "reasons": holds, "approval": terms}

refusals contains {
	"code": "no_role",
	"message": "None of your groups has a role here. Ask whoever administers the policy for one.",
	"rule": "gateway.roles",
} if {
	not data.gateway.roles.terms
}

refusals contains {
	"code": "not_granted",
	"message": "Your role may not use this method, tool, resource or prompt.",
	"rule": "gateway.grants",
} if {
	input.message.kind != "response"
	not data.gateway.grants.permitted
}

refusals contains {
	"code": "unasked_response",
	"message": "This answers a question that no upstream may ask.",
	"rule": "gateway.grants",
} if {
	input.message.kind == "response"
	not input.message.method in data.gateway.settings.from_upstream.requests
}

refusals contains {
	"code": "phi_upstream",
	"message": "Your role may not reach protected health information, and this upstream holds it.",
	"rule": "gateway.grants",
} if {
	input.message.kind != "response"
	data.gateway.grants.reaches_phi
}

refusals contains {
	"code": "sql_not_understood",
	"message": "This SQL could not be read with certainty. Write it plainer, one standard statement at a time.",
	"rule": "gateway.sql",
} if {
	data.gateway.sql.present
	not data.gateway.sql.understood
}

refusals contains {
	"code": "sql_schema_change",
	"message": "Only statements that read, insert, update or delete rows may run; this one does something else.",
	"rule": "gateway.sql",
} if {
	data.gateway.sql.understood
	not data.gateway.sql.ordinary
}

refusals contains {
	"code": "sql_unbounded_write",
	"message": "This would change every row of a table. Say which rows with a key in WHERE.",
	"rule": "gateway.sql",
} if {
	data.gateway.sql.understood
	data.gateway.sql.ordinary
	data.gateway.sql.access == "write"
	not data.gateway.sql.bounded
}

refusals contains {
	"code": "write_not_granted",
	"message": "Your role may only read, and this tool may change something.",
	"rule": "gateway.tools",
} if {
	data.gateway.grants.kind == "tool"
	data.gateway.tools.access == "write"
	not data.gateway.roles.terms.writes in ["allow", "require_approval"]
}

refusals contains {
	"code": "tool_denied",
	"message": "Nobody may call this tool through the gateway.",
	"rule": "gateway.tools",
} if {
	data.gateway.grants.kind == "tool"
	not data.gateway.tools.access in ["read", "write"]
}

holds contains {
	"code": "write",
	"message": "This may change records, which a reviewer has to approve.",
	"rule": "gateway.tools",
} if {
	data.gateway.grants.kind == "tool"
	data.gateway.tools.access == "write"
	data.gateway.roles.terms.writes != "allow"
}

holds contains {
	"code": "bulk_select",
	"message": "This reads many patients at once: no key and no small LIMIT says which. A reviewer has to approve it.",
	"rule": "gateway.sql",
} if {
	data.gateway.sql.understood
	not data.gateway.sql.bounded
}

# Several reasons at once: whoever approves must be acceptable to each, and the strictest numbers hold.
terms := {
	"phase": "call",
	"groups": [group | some group in asked[0].groups; every other in asked { group in other.groups }],
	"quorum": max([each.quorum | some each in asked]),
	"expires_s": min([each.expires_s | some each in asked]),
	"justification": justification,
} if {
	# A reason without terms must not be waved through on the terms of another.
	count(asked) == count(holds)
}

asked := [data.gateway.settings.approvals[hold.code] | some hold in holds]

default justification := "optional"

justification := "required" if {
	some each in asked
	each.justification == "required"
}
