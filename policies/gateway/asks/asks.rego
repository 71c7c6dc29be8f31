# METADATA
# title: What upstreams may ask and tell
# description: >-
#   Sampling, elicitation and roots are closed unless opened by name, as a request of the upstream, inside a modern
#   result (`inputRequests`) or as an error that asks the user to open a URL; so are notifications that nobody listed.
package gateway.asks

default verdict := "deny"

verdict := "allow" if {
	input.result.kind == "success"
	count(input.result.asks) == 0
} else := "allow" if {
	input.result.kind in ["success", "error"]
	every method in input.result.asks {
		method in data.gateway.settings.from_upstream.requests
	}
} else := "allow" if {
	input.result.kind == "notification"
	input.result.method in data.gateway.settings.from_upstream.notifications
} else := "allow" if {
	input.result.kind == "request"
	input.result.method in data.gateway.settings.from_upstream.requests
}

reasons contains {
	"code": "upstream_not_expected",
	"message": "Upstreams may not send the client this: sampling, elicitation and roots are closed unless opened by name.",
	"rule": "gateway.asks",
} if {
	verdict == "deny"
}
