package gateway.approval_test

review := {
	"phase": "approval",
	"principal": {"iss": "https://issuer.example", "sub": "officer", "groups": ["privacy-officers"]},
	"approval": {
		"requester": {"iss": "https://issuer.example", "sub": "analyst", "groups": ["analysts"]},
		"terms": {"groups": ["privacy-officers"], "quorum": 1},
	},
}

test_a_member_of_a_reviewing_group_counts if {
	data.gateway.approval.decision == {"effect": "allow", "counts": true} with input as review
}

test_others_may_not_review if {
	every groups in [[], ["auditors"], ["privacy-officer"]] {
		document := object.union(review, {"principal": {"groups": groups}})
		data.gateway.approval.decision.effect == "deny" with input as document
	}
}

test_nobody_reviews_their_own_request_whatever_their_groups if {
	document := object.union(review, {"principal": {"sub": "analyst", "groups": ["privacy-officers", "admins"]}})
	decision := data.gateway.approval.decision with input as document
	decision.effect == "deny"
	{reason.code | some reason in decision.reasons} == {"own_request"}
}

test_a_program_may_not_review_whatever_its_groups if {
	document := object.union(review, {"principal": {"kind": "agent"}})
	decision := data.gateway.approval.decision with input as document
	decision.effect == "deny"
	{reason.code | some reason in decision.reasons} == {"not_a_person"}
}

test_a_person_may if {
	document := object.union(review, {"principal": {"kind": "person"}})
	data.gateway.approval.decision.effect == "allow" with input as document
}

test_the_same_subject_of_another_issuer_is_somebody_else if {
	document := object.union(review, {"principal": {"sub": "analyst", "iss": "https://other.example"}})
	data.gateway.approval.decision.effect == "allow" with input as document
}

test_without_a_requester_nobody_may_review if {
	every path in ["approval/requester", "approval/requester/sub", "approval/requester/iss"] {
		document := json.remove(review, [path])
		decision := data.gateway.approval.decision with input as document
		decision.effect == "deny"
	}
}

test_a_reviewer_without_an_identity_may_not_review if {
	document := json.remove(review, ["principal/sub"])
	data.gateway.approval.decision.effect == "deny" with input as document
}

test_without_terms_nobody_may_review if {
	document := json.remove(review, ["approval/terms"])
	data.gateway.approval.decision.effect == "deny" with input as document
}

test_an_empty_input_is_denied if {
	data.gateway.approval.decision.effect == "deny" with input as {}
}
