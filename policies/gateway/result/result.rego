# METADATA
# title: Results
# description: Whether what an upstream says may reach the client, and what of it is masked.
package gateway.result

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{"code": "no_rule_allows", "message": "No rule allows this.", "rule": "gateway.result"}],
}

decision := {"effect": "allow", "mask": data.gateway.masks.plan} if {
	expected
	permitted
} else := {"effect": "deny", "reasons": refusals} if {
	count(refusals) > 0
}

default expected := false

# Whether the upstream may say this kind of thing at all.
expected if {
	input.result.kind == "success"
	every method in input.result.asks {
		method in data.gateway.settings.from_upstream.requests
	}
} else if {
	input.result.kind == "error"
	every method in input.result.asks {
		method in data.gateway.settings.from_upstream.requests
	}
} else if {
	input.result.kind == "notification"
	input.result.method in data.gateway.settings.from_upstream.notifications
} else if {
	input.result.kind == "request"
	input.result.method in data.gateway.settings.from_upstream.requests
}

default permitted := false

# Whether this principal may have it.
permitted if {
	data.gateway.masks.descriptive
	data.gateway.roles.terms
} else if {
	phi_permitted
	few_rows
	readable
}

default phi_permitted := false

phi_permitted if {
	data.gateway.roles.terms.phi == true
} else if {
	data.gateway.roles.terms
	count(input.profile.classes) == 0
}

default few_rows := false

few_rows if {
	is_number(input.profile.rows)
	input.profile.rows <= data.gateway.roles.rows
} else if {
	data.gateway.grants.kind == "protocol"
} else if {
	is_object(input.approval)
}

default readable := false

readable if {
	not input.profile.classes.BLOB
} else if {
	is_object(input.approval)
}

refusals contains {
	"code": "upstream_not_expected",
	"message": "Upstreams may not send the client this: sampling, elicitation and roots are closed unless opened by name.",
	"rule": "gateway.result",
} if {
	not expected
}

refusals contains {
	"code": "no_role",
	"message": "None of your groups has a role here. Ask whoever administers the policy for one.",
	"rule": "gateway.result",
} if {
	not data.gateway.roles.terms
}

refusals contains {
	"code": "phi_not_permitted",
	"message": "Your role may not receive protected health information, and there is some in this.",
	"rule": "gateway.result",
} if {
	data.gateway.roles.terms
	not phi_permitted
}

refusals contains {
	"code": "too_many_rows",
	"message": "These are more rows than your role may receive at once. Ask for fewer, or get the call approved.",
	"rule": "gateway.result",
} if {
	not few_rows
}

refusals contains {
	"code": "unreadable_content",
	"message": "This holds images, audio or files that cannot be masked. Get the call approved to receive them.",
	"rule": "gateway.result",
} if {
	not readable
}
