# METADATA
# title: What upstreams may ask and tell
# description: >-
#   Sampling, elicitation and roots are closed unless opened by name, as a request of the upstream, inside a modern
#   result or a task (`inputRequests`) or as an error that asks the user to open a page; so are notifications that
#   nobody listed. An upstream may be allowed more than all are, for some roles, and pages of listed origins only may be
#   opened.
package gateway.asks

default verdict := "deny"

verdict := "allow" if {
	input.result.kind == "success"
	input.result.asks == []
} else := "allow" if {
	input.result.kind in ["success", "error"]
	every method in input.result.asks {
		open(method)
	}
	every origin in input.result.opens {
		opens(origin)
	}
} else := "allow" if {
	input.result.kind == "notification"
	input.result.method in data.gateway.settings.from_upstream.notifications

	# A task's notification may want what its answer may.
	every method in input.result.asks {
		open(method)
	}
	every origin in input.result.opens {
		opens(origin)
	}
} else := "allow" if {
	input.result.kind == "request"
	open(input.result.method)
	every origin in input.result.opens {
		opens(origin)
	}
} else := "allow" if {
	# Answers that a client sends along with a call do not say what they answer.
	input.phase == "call"
	some method in ["elicitation/create", "roots/list", "sampling/createMessage"]
	open(method)
}

# The same: most results ask nothing.
permits(result) if {
	result.kind == "success"
	result.asks == []
} else if {
	verdict == "allow"
}

# Whether this upstream may ask this of a client with this role; and so whether that client's answer may go to it.
open(method) if {
	method in data.gateway.settings.from_upstream.requests
} else if {
	method in own.requests
	data.gateway.roles.name in own.roles
}

opens(origin) if {
	origin in data.gateway.settings.from_upstream.opens
} else if {
	origin in own.opens
}

own := settings.upstreams[input.upstream.name] if settings := data.gateway.settings.from_upstream

reasons contains {
	"code": "upstream_not_expected",
	"message": "Upstreams may not send the client this: sampling, elicitation and roots are closed unless opened by name.",
	"rule": "gateway.asks",
} if {
	input.result
}

reasons contains {
	"code": "answer_not_expected",
	"message": "This answers an upstream that may not ask you anything.",
	"rule": "gateway.asks",
} if {
	not input.result
}
