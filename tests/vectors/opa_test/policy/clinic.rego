package clinic

default allow := false

allow if {
	input.role == "nurse"
	input.ward == data.wards[_]
}

allow if {
	input.role == "doctor"
	not on_leave
}

on_leave if input.leave == true

rows(role) := 200 if role == "doctor"

rows(role) := 25 if role == "nurse"
