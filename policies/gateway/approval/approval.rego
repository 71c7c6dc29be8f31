# METADATA
# title: Approvals
# description: >-
#   Whether a reviewer may resolve an approval, and whether that counts to its quorum. Whoever asked never may, whatever
#   groups they are in.
package gateway.approval

# METADATA
# entrypoint: true
default decision := {
	"effect": "deny",
	"reasons": [{
		"code": "not_a_reviewer",
		"message": "Only members of the reviewing groups may resolve this approval.",
		"rule": "gateway.approval",
	}],
}

decision := {"effect": "deny", "reasons": refusals} if count(refusals) > 0

else := {"effect": "allow", "counts": true} if reviewer

default reviewer := false

reviewer if {
	some group in input.principal.groups
	group in input.approval.terms.groups
}

refusals contains {
	"code": "own_request",
	"message": "Whoever asked for a call cannot approve it.",
	"rule": "gateway.approval",
} if {
	input.principal.sub == input.approval.requester.sub
	input.principal.iss == input.approval.requester.iss
}

refusals contains {
	"code": "not_a_person",
	"message": "Only people review; this token belongs to a program.",
	"rule": "gateway.approval",
} if {
	input.principal.kind == "agent"
}

refusals contains {
	"code": "requester_unknown",
	"message": "It is not on record who asked, so nobody can be told apart from them.",
	"rule": "gateway.approval",
} if {
	not known_requester
}

default known_requester := false

known_requester if {
	is_string(input.approval.requester.sub)
	is_string(input.approval.requester.iss)
	is_string(input.principal.sub)
	is_string(input.principal.iss)
}
