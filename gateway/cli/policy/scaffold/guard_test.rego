package gateway.${name}_test

settings := {"guards": {"$name": {"tools": ["export_everything"]}}}

call(tool) := {"message": {"kind": "request", "method": "tools/call", "name": tool}}

verdict(document) := answer if {
	answer := data.gateway.$name.verdict with input as document with data.gateway.settings as settings
}

codes(document) := {reason.code | some reason in reasons} if {
	reasons := data.gateway.$name.reasons with input as document with data.gateway.settings as settings
}

test_a_tool_that_the_settings_name_is_refused_with_its_reason if {
	verdict(call("export_everything")) == "deny"
	codes(call("export_everything")) == {"${name}_closed"}
}

test_any_other_tool_is_for_the_other_guards_to_decide if {
	verdict(call("read_patient")) == "allow"
	codes(call("read_patient")) == set()
}

test_what_belongs_to_no_tool_passes if {
	verdict({"message": {"kind": "request", "method": "tools/list", "name": ""}}) == "allow"
}

# What is missing or of the wrong kind must never let a call through.
test_a_message_without_a_name_is_refused if {
	verdict({"message": {}}) == "deny"
	verdict({}) == "deny"
}
