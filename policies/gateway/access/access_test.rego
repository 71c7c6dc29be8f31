package gateway.access_test

ask(groups, kind, purpose) := {
	"phase": "access",
	"principal": {"iss": "https://issuer.example", "sub": "x", "groups": groups},
	"access": {"kind": kind, "purpose": purpose},
}

test_auditors_may_see_evidence_and_sessions if {
	every kind in ["evidence", "sessions", "approvals"] {
		data.gateway.access.decision.effect == "allow" with input as ask(["auditors"], kind, "")
	}
}

test_plaintext_needs_a_purpose if {
	every purpose in ["", "  "] {
		decision := data.gateway.access.decision with input as ask(["auditors"], "plaintext", purpose)
		decision.effect == "deny"
		decision.reasons[0].code == "purpose_missing"
	}
	data.gateway.access.decision.effect == "allow" with input as ask(["auditors"], "plaintext", "review 7")
}

test_plaintext_without_a_purpose_member_is_denied if {
	document := json.remove(ask(["auditors"], "plaintext", "x"), ["access/purpose"])
	data.gateway.access.decision.effect == "deny" with input as document
}

test_who_calls_may_not_look_into_the_evidence if {
	every groups in [[], ["clinicians"], ["analysts"], ["engineers"]] {
		every kind in ["evidence", "sessions", "plaintext", "approvals"] {
			data.gateway.access.decision.effect == "deny" with input as ask(groups, kind, "curious")
		}
	}
}

test_the_operator_of_the_machine_may_with_a_purpose if {
	operator := {"principal": {"iss": "local", "sub": "root", "groups": ["local-operator"]}}
	data.gateway.access.decision.effect == "allow" with input as object.union(ask([], "plaintext", "ticket 3"), operator)
	data.gateway.access.decision.effect == "deny" with input as object.union(ask([], "plaintext", ""), operator)
}

test_a_group_called_local_operator_is_not_the_operator if {
	data.gateway.access.decision.effect == "deny" with input as ask(["local-operator"], "plaintext", "x")
}

test_reviewers_and_the_requester_may_see_their_approval if {
	approval := {"approval": {
		"requester": {"iss": "https://issuer.example", "sub": "x"},
		"terms": {"groups": ["chiefs"]},
	}}
	asked := object.union(ask(["analysts"], "approvals", ""), approval)
	data.gateway.access.decision.effect == "allow" with input as asked
	chief := object.union(asked, {"principal": {"sub": "y", "groups": ["chiefs"]}})
	data.gateway.access.decision.effect == "allow" with input as chief
	other := object.union(asked, {"principal": {"sub": "y", "groups": ["analysts"]}})
	data.gateway.access.decision.effect == "deny" with input as other
}

test_the_requester_may_not_see_evidence_for_it if {
	approval := {"approval": {"requester": {"iss": "https://issuer.example", "sub": "x"}, "terms": {"groups": []}}}
	data.gateway.access.decision.effect == "deny" with input as object.union(ask([], "evidence", ""), approval)
}

test_an_unknown_kind_is_denied if {
	data.gateway.access.decision.effect == "deny" with input as ask(["auditors"], "keys", "x")
}

test_an_empty_input_is_denied if {
	data.gateway.access.decision.effect == "deny" with input as {}
}
