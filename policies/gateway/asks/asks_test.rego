package gateway.asks_test

from_upstream := {
	"requests": ["ping"],
	"notifications": ["notifications/progress"],
	"opens": ["https://login.example"],
	"upstreams": {"scribe": {
		"requests": ["sampling/createMessage", "elicitation/create"],
		"roles": ["treatment"],
		"opens": ["https://scribe.example"],
	}},
}

said(upstream, group, result) := {
	"phase": "result",
	"time": "2026-01-05T12:00:00.000000Z",
	"principal": {"groups": [group]},
	"upstream": {"name": upstream, "labels": {"phi": false}},
	"message": {"kind": "request", "method": "tools/call", "name": "x"},
	"result": result,
	"profile": {"classes": {}, "paths": [], "rows": 0, "patients": 0, "bytes": 9},
	"facts": {},
}

asking(method, origins) := {"kind": "request", "method": method, "is_error": false, "opens": origins}

modern(methods, origins) := {"kind": "success", "method": "", "is_error": false, "asks": methods, "opens": origins}

failing(methods, origins) := {"kind": "error", "method": "", "is_error": true, "code": -32042, "asks": methods, "opens": origins}

# The rule is tested by the settings as shipped, whatever a site has made of them.
received(document) := decision if {
	decision := data.gateway.result.decision with input as document with data.gateway.settings as data.gateway.defaults
}

decided(document) := decision if {
	decision := data.gateway.call.decision with input as document with data.gateway.settings as data.gateway.defaults
}

effect(upstream, group, result) := decision.effect if {
	decision := received(said(upstream, group, result))
		with data.gateway.defaults.from_upstream as from_upstream
}

telling(methods, origins) := {
	"kind": "notification",
	"method": "notifications/progress",
	"is_error": false,
	"asks": methods,
	"opens": origins,
}

each_way(method, origins) := [
	asking(method, origins),
	modern([method], origins),
	failing([method], origins),
	telling([method], origins),
]

test_an_upstream_may_ask_what_its_settings_open_for_the_role if {
	every result in each_way("sampling/createMessage", []) {
		effect("scribe", "clinicians", result) == "allow"
	}
}

test_it_may_not_ask_it_of_another_role if {
	every result in each_way("sampling/createMessage", []) {
		effect("scribe", "engineers", result) == "deny"
	}
}

test_another_upstream_may_not_ask_it if {
	every result in each_way("sampling/createMessage", []) {
		effect("clinic", "clinicians", result) == "deny"
	}
}

test_what_the_settings_do_not_open_stays_closed if {
	every method in ["roots/list", "no/such", "(malformed)"] {
		every result in each_way(method, []) {
			effect("scribe", "clinicians", result) == "deny"
		}
	}
}

test_one_closed_ask_among_open_ones_withholds_all if {
	effect("scribe", "clinicians", modern(["roots/list", "sampling/createMessage"], [])) == "deny"
}

test_pages_of_listed_origins_may_be_opened if {
	every origin in ["https://login.example", "https://scribe.example"] {
		every result in each_way("elicitation/create", [origin]) {
			effect("scribe", "clinicians", result) == "allow"
		}
	}
}

test_phishing_pages_of_other_origins_may_not_be_opened if {
	every origin in ["https://login.example.evil.example", "http://login.example", "(malformed)", ""] {
		every result in each_way("elicitation/create", ["https://login.example", origin]) {
			effect("scribe", "clinicians", result) == "deny"
		}
	}
}

test_without_a_word_about_origins_no_page_is_opened if {
	closed := json.remove(from_upstream, ["opens", "upstreams/scribe/opens"])
	every result in each_way("elicitation/create", ["https://login.example"]) {
		decision := received(said("scribe", "clinicians", result))
			with data.gateway.defaults.from_upstream as closed
		decision.effect == "deny"
	}
}

answer(upstream, group) := {
	"phase": "call",
	"principal": {"groups": [group]},
	"upstream": {"name": upstream, "labels": {"phi": false}},
	"tool": null,
	"message": {"kind": "response", "method": "sampling/createMessage", "name": ""},
	"facts": {},
}

answered(upstream, group) := decision.effect if {
	decision := decided(answer(upstream, group))
		with data.gateway.defaults.from_upstream as from_upstream
}

test_the_clients_answer_goes_where_the_question_may_come_from if {
	answered("scribe", "clinicians") == "allow"
	answered("scribe", "engineers") == "deny"
	answered("clinic", "clinicians") == "deny"
}

sent_along(upstream, group) := decision if {
	document := object.union(answer(upstream, group), {
		"tool": {"name": "x", "annotations": {"readOnlyHint": true}, "changed": false},
		"message": {"kind": "request", "method": "tools/call", "name": "x", "params": {"inputResponses": {"q": {"action": "accept"}}}},
	})
	decision := decided(document) with data.gateway.defaults.from_upstream as from_upstream
}

test_answers_sent_along_with_a_call_go_only_to_who_may_ask if {
	sent_along("scribe", "clinicians").effect == "allow"
	every asked in [["scribe", "engineers"], ["clinic", "clinicians"]] {
		decision := sent_along(asked[0], asked[1])
		decision.effect == "deny"
		{reason.code | some reason in decision.reasons} == {"answer_not_expected"}
	}
}

test_what_is_no_result_is_no_answer_either if {
	document := json.remove(said("scribe", "clinicians", {}), ["result"])
	decision := received(document) with data.gateway.defaults.from_upstream as from_upstream
	decision.effect == "deny"
}
