package gateway.fhir_test

settings := {
	"compartments": ["Patient"],
	"patients": 1,
	"count": 100,
	"free": ["Practitioner", "Organization"],
	"includes": ["Observation:encounter"],
	"revincludes": ["Provenance:target"],
	"iterate": false,
	"operations": ["$everything"],
	"bulk_operations": ["$export"],
	"bulk": "require_approval",
	"roles": {"analysis": "everything", "engineering": "nothing"},
}

request := {
	"interaction": "search",
	"type": "Observation",
	"id": "",
	"operation": "",
	"writes": false,
	"conditional": false,
	"compartment": "Patient",
	"patients": ["1"],
	"count": 20,
	"summary": "",
	"elements": [],
	"includes": [],
	"revincludes": [],
	"iterate": false,
	"chained": false,
	"parameters": ["_count", "patient"],
}

call(requests, group) := {
	"phase": "call",
	"principal": {"groups": [group]},
	"upstream": {"name": "ehr", "labels": {"phi": false}},
	"tool": {"name": "fhir", "annotations": {}, "changed": false},
	"message": {"kind": "request", "method": "tools/call", "name": "fhir"},
	"facts": {"fhir": {"understood": true, "why": "", "requests": requests}},
}

asked(changes) := call([object.union(request, changes)], "clinicians")

decided(document) := decision if {
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": {"fhir": settings}})
}

limited(document, changes) := decision if {
	limits := object.union(settings, changes)
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": {"fhir": limits}})
}

codes(decision) := {reason.code | some reason in decision.reasons}

unbound := {"compartment": "", "patients": []}

test_a_search_for_one_patient_is_allowed if {
	decided(asked({})).effect == "allow"
	decided(asked({"count": null})).effect == "allow"
}

test_what_was_not_understood_is_refused if {
	every facts in [{"understood": false, "why": "path", "requests": []}, {"understood": true, "requests": []}, {}, "x", null] {
		document := json.patch(asked({}), [{"op": "replace", "path": "/facts/fhir", "value": facts}])
		decision := decided(document)
		decision.effect == "deny"
		"fhir_not_understood" in codes(decision)
	}
}

test_a_search_for_no_patient_is_a_bulk_request if {
	decision := decided(asked(unbound))
	decision.effect == "require_approval"
	codes(decision) == {"fhir_bulk"}
	denied := limited(asked(unbound), {"bulk": "deny"})
	denied.effect == "deny"
	codes(denied) == {"fhir_bulk"}
}

test_an_approved_bulk_request_runs if {
	decided(object.union(asked(unbound), {"approval": {"id": "x"}})).effect == "allow"
}

test_a_search_for_many_patients_is_a_bulk_request if {
	codes(decided(asked({"patients": ["1", "2"]}))) == {"fhir_bulk"}
	limited(asked({"patients": ["1", "2"]}), {"patients": 2}).effect == "allow"
}

test_a_compartment_that_does_not_count_is_none if {
	codes(decided(asked({"compartment": "Encounter", "patients": []}))) == {"fhir_bulk"}
	limited(asked({"compartment": "Encounter", "patients": []}), {"compartments": ["Patient", "Encounter"]}).effect == "allow"
}

test_types_without_patients_need_no_compartment if {
	decided(asked(object.union(unbound, {"type": "Practitioner"}))).effect == "allow"
}

test_a_number_is_no_bulk_request if {
	decided(asked(object.union(unbound, {"summary": "count"}))).effect == "allow"
}

reading := object.union(unbound, {"interaction": "read", "id": "55", "count": null})

test_one_record_by_its_id_is_read_unless_the_role_is_bound_always if {
	decided(asked(reading)).effect == "allow"
	analyst := call([object.union(request, reading)], "analysts")
	codes(decided(analyst)) == {"fhir_bulk"}
	own := call([object.union(request, {"interaction": "read", "type": "Patient", "id": "1"})], "analysts")
	decided(own).effect == "allow"
}

test_a_role_that_is_bound_to_nothing_searches_freely if {
	decided(call([object.union(request, unbound)], "engineers")).effect == "allow"
}

test_history_of_a_type_is_a_bulk_request if {
	codes(decided(asked(object.union(unbound, {"interaction": "history"})))) == {"fhir_bulk"}
}

test_export_is_a_bulk_request_whatever_it_is_bound_to if {
	every where in [unbound, {"type": "Practitioner"}, {}] {
		exported := asked(object.union(where, {"interaction": "operation", "operation": "$export"}))
		codes(decided(exported)) == {"fhir_bulk"}
	}
	nobody := call([object.union(request, {"interaction": "operation", "operation": "$export"})], "engineers")
	codes(decided(nobody)) == {"fhir_bulk"}
}

test_an_operation_that_nobody_opened_is_refused if {
	decision := decided(asked({"interaction": "operation", "operation": "$graphql"}))
	decision.effect == "deny"
	codes(decision) == {"fhir_operation"}
	decided(asked({"interaction": "operation", "operation": "$everything"})).effect == "allow"
}

test_pages_have_a_largest_size if {
	decided(asked({"count": 100})).effect == "allow"
	codes(decided(asked({"count": 101}))) == {"fhir_count"}
	every cap in ["100", null, true, []] {
		limited(asked({"count": 5}), {"count": cap}).effect == "deny"
	}
}

test_only_listed_includes_are_included if {
	decided(asked({"includes": ["Observation:encounter"], "revincludes": ["Provenance:target"]})).effect == "allow"
	every changes in [{"includes": ["*"]}, {"revincludes": ["*"]}, {"includes": ["Provenance:target"]}, {"iterate": true}] {
		decision := decided(asked(changes))
		decision.effect == "deny"
		codes(decision) == {"fhir_include"}
	}
	limited(asked({"iterate": true}), {"iterate": true}).effect == "allow"
}

test_a_change_of_whatever_matches_is_refused if {
	changed := asked({"interaction": "delete", "writes": true, "conditional": true})
	decision := decided(object.union(changed, {"approval": {"id": "x"}}))
	decision.effect == "deny"
	"fhir_conditional" in codes(decision)
}

test_one_bad_request_in_a_batch_refuses_it if {
	batch := call([request, object.union(request, {"includes": ["*"]})], "clinicians")
	decided(batch).effect == "deny"
	bulk := call([request, object.union(request, unbound)], "clinicians")
	decided(bulk).effect == "require_approval"
}

unguarded(document) := decision if {
	decision := data.gateway.call.decision with input as document with data.gateway.settings as data.gateway.defaults
}

# What a request does is known whether or not the guard is on.
test_a_request_that_writes_is_a_write if {
	writing := asked({"interaction": "update", "id": "5", "writes": true})
	decision := unguarded(writing)
	codes(decision) == {"write"}
	analyst := call([object.union(request, {"writes": true})], "analysts")
	unguarded(analyst).effect == "deny"
	hinted := object.union(writing, {"tool": {"annotations": {"readOnlyHint": true}}})
	unguarded(hinted).effect == "require_approval"
}

test_a_request_that_only_reads_needs_no_word_of_the_upstream if {
	unguarded(asked({})) == {"effect": "allow"}
}

test_a_request_that_was_not_understood_is_a_write if {
	document := json.patch(asked({}), [{"op": "replace", "path": "/facts/fhir", "value": {"understood": false, "requests": []}}])
	codes(unguarded(document)) == {"write"}
}

test_what_is_no_fhir_request_is_not_looked_at if {
	document := json.patch(asked({}), [
		{"op": "replace", "path": "/facts", "value": {}},
		{"op": "replace", "path": "/tool/annotations", "value": {"readOnlyHint": true}},
	])
	decided(document).effect == "allow"
}
