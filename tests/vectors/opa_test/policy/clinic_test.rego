package clinic_test

test_a_nurse_is_allowed_on_her_ward if {
	data.clinic.allow with input as {"role": "nurse", "ward": "west"}
}

test_a_nurse_may_read_fifty_rows if {
	most := data.clinic.rows("nurse")
	print("most rows", most)
	most == 50
}

test_is_not_true := "yes"

test_is_false := false

todo_test_a_doctor_on_leave if {
	false
}

test_rows[role] if {
	some role, most in {"doctor": 200, "nurse": 50}
	data.clinic.rows(role) == most
}

test_rows_by_ward[ward][role] if {
	some ward in ["east", "west"]
	some role, most in {"doctor": 200, "nurse": 25}
	data.clinic.rows(role) == most
}

helper if false
