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

decision := {"effect": "deny", "reasons": refusals} if count(refusals) > 0

else := {"effect": "allow", "mask": data.gateway.masks.plan}

refusals contains {
	"code": "no_role",
	"message": "None of your groups has a role here. Ask whoever administers the policy for one.",
	"rule": "gateway.roles",
} if {
	not data.gateway.roles.terms
}

refusals contains {
	"code": "upstream_request",
	"message": "Upstreams may not ask the client this: sampling, elicitation and roots are closed unless opened by name.",
	"rule": "gateway.result",
} if {
	input.result.kind == "request"
	not input.result.method in data.gateway.settings.from_upstream.requests
}

refusals contains {
	"code": "upstream_request",
	"message": "Upstreams may not ask the client this: sampling, elicitation and roots are closed unless opened by name.",
	"rule": "gateway.result",
} if {
	some method in input.result.asks
	not method in data.gateway.settings.from_upstream.requests
}

refusals contains {
	"code": "upstream_notification",
	"message": "Upstreams may not send the client this notification.",
	"rule": "gateway.result",
} if {
	input.result.kind == "notification"
	not input.result.method in data.gateway.settings.from_upstream.notifications
}

refusals contains {
	"code": "too_many_rows",
	"message": "This is more rows than your role may receive at once. Ask for fewer, or get the call approved.",
	"rule": "gateway.result",
} if {
	about_records
	not few_rows
	not is_object(input.approval)
}

refusals contains {
	"code": "phi_not_permitted",
	"message": "Your role may not receive protected health information, and there is some in this.",
	"rule": "gateway.result",
} if {
	not data.gateway.masks.descriptive
	count(input.profile.classes) > 0
	not data.gateway.roles.terms.phi
}

refusals contains {
	"code": "unreadable_content",
	"message": "This holds images, audio or files that cannot be masked. Get the call approved to receive them.",
	"rule": "gateway.result",
} if {
	input.profile.blobs > 0
	not is_object(input.approval)
}

default about_records := false

about_records if {
	input.result.kind == "success"
	data.gateway.grants.kind != "protocol"
}

default few_rows := false

few_rows if input.profile.rows <= data.gateway.roles.terms.rows
