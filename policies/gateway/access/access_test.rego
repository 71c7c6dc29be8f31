package gateway.access_test

ask(groups, kind, purpose) := {
	"phase": "access",
	"principal": {"iss": "https://issuer.example", "sub": "x", "groups": groups},
	"access": {"kind": kind, "purpose": purpose},
}

decided(document) := decision if {
	decision := data.gateway.access.decision with input as document with data.gateway.settings as data.gateway.defaults
}

test_auditors_may_see_evidence_and_sessions if {
	every kind in ["evidence", "sessions", "approvals"] {
		decided(ask(["auditors"], kind, "")).effect == "allow"
	}
}

test_plaintext_needs_a_purpose if {
	every purpose in ["", "  "] {
		decision := decided(ask(["auditors"], "plaintext", purpose))
		decision.effect == "deny"
		decision.reasons[0].code == "purpose_missing"
	}
	decided(ask(["auditors"], "plaintext", "review 7")).effect == "allow"
}

test_plaintext_without_a_purpose_member_is_denied if {
	document := json.remove(ask(["auditors"], "plaintext", "x"), ["access/purpose"])
	decided(document).effect == "deny"
}

test_who_calls_may_not_look_into_the_evidence if {
	every groups in [[], ["clinicians"], ["analysts"], ["engineers"]] {
		every kind in ["evidence", "sessions", "plaintext", "approvals"] {
			decided(ask(groups, kind, "curious")).effect == "deny"
		}
	}
}

test_the_operator_of_the_machine_may_with_a_purpose if {
	operator := {"principal": {"iss": "local", "sub": "root", "groups": ["local-operator"]}}
	decided(object.union(ask([], "plaintext", "ticket 3"), operator)).effect == "allow"
	decided(object.union(ask([], "plaintext", ""), operator)).effect == "deny"
}

test_a_group_called_local_operator_is_not_the_operator if {
	decided(ask(["local-operator"], "plaintext", "x")).effect == "deny"
}

test_reviewers_and_the_requester_may_see_their_approval if {
	approval := {"approval": {
		"requester": {"iss": "https://issuer.example", "sub": "x"},
		"terms": {"groups": ["chiefs"]},
	}}
	asked := object.union(ask(["analysts"], "approvals", ""), approval)
	decided(asked).effect == "allow"
	chief := object.union(asked, {"principal": {"sub": "y", "groups": ["chiefs"]}})
	decided(chief).effect == "allow"
	other := object.union(asked, {"principal": {"sub": "y", "groups": ["analysts"]}})
	decided(other).effect == "deny"
}

test_the_requester_may_not_see_evidence_for_it if {
	approval := {"approval": {"requester": {"iss": "https://issuer.example", "sub": "x"}, "terms": {"groups": []}}}
	decided(object.union(ask([], "evidence", ""), approval)).effect == "deny"
}

test_an_unknown_kind_is_denied if {
	decided(ask(["auditors"], "keys", "x")).effect == "deny"
}

test_an_empty_input_is_denied if {
	decided({}).effect == "deny"
}
