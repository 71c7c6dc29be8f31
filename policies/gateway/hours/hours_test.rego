package gateway.hours_test

weekdays := ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]

day := {"days": weekdays, "from": "07:30", "to": "18:00", "outside": "deny"}

night := {"days": weekdays, "from": "22:00", "to": "06:00", "outside": "deny"}

guards(times) := {"hours": {"zone": "Europe/Berlin", "unbound": ["on-call"], "closed": ["2026-12-25"], "roles": {"analysis": times}}}

call(time) := {
	"phase": "call",
	"time": time,
	"principal": {"groups": ["analysts"]},
	"upstream": {"name": "clinic", "labels": {}},
	"tool": {"name": "read_patient", "annotations": {"readOnlyHint": true}, "changed": false},
	"message": {"kind": "request", "method": "tools/call", "name": "read_patient"},
	"facts": {},
}

decided(document, times) := decision if {
	decision := data.gateway.call.decision with input as document
		with data.gateway.settings as object.union(data.gateway.defaults, {"guards": guards(times)})
}

open(times, hour) if decided(call(hour), times).effect == "allow"

codes(decision) := {reason.code | some reason in decision.reasons}

# 2026-01-05 is a Monday, and Berlin is an hour ahead of UTC.
test_calls_are_open_from_the_first_minute_to_the_last if {
	open(day, "2026-01-05T06:30:00.000000Z")
	open(day, "2026-01-05T16:59:59.999999Z")
	not open(day, "2026-01-05T06:29:59.999999Z")
	not open(day, "2026-01-05T17:00:00.000000Z")
}

test_outside_hours_says_so if {
	codes(decided(call("2026-01-05T20:00:00Z"), day)) == {"outside_hours"}
}

test_a_weekend_is_closed if {
	not open(day, "2026-01-03T10:00:00Z")
	not open(day, "2026-01-04T10:00:00Z")
}

test_the_day_is_that_of_the_zone if {
	# Sunday 23:30 UTC is Monday 00:30 in Berlin.
	open(object.union(day, {"from": "00:00"}), "2026-01-04T23:30:00Z")
}

# Clocks go forward on 2026-03-29 at 01:00 UTC and back on 2026-10-25 at 01:00 UTC.
test_summer_time_is_the_zones_own if {
	not open(day, "2026-03-27T06:29:00Z")
	open(day, "2026-03-27T06:30:00Z")
	open(day, "2026-03-30T05:30:00Z")
	not open(day, "2026-03-30T05:29:00Z")
	open(day, "2026-10-23T05:30:00Z")
	not open(day, "2026-10-26T05:30:00Z")
	open(day, "2026-10-26T06:30:00Z")
}

test_a_night_shift_belongs_to_the_day_on_which_it_begins if {
	open(night, "2026-01-05T21:00:00Z") # Monday 22:00.
	open(night, "2026-01-06T04:59:00Z")
	not open(night, "2026-01-06T05:00:00Z")
	open(night, "2026-01-10T04:00:00Z") # Saturday 05:00, Friday's.
	not open(night, "2026-01-05T04:00:00Z") # Monday 05:00 would be Sunday's.
	not open(night, "2026-01-10T21:30:00Z")
}

test_a_night_in_which_clocks_change_is_still_one_night if {
	sundays := object.union(night, {"days": ["Saturday"]})
	open(sundays, "2026-03-28T23:00:00Z")
	open(sundays, "2026-03-29T03:59:00Z") # 05:59 summer time.
	not open(sundays, "2026-03-29T04:00:00Z")
	open(sundays, "2026-10-25T00:30:00Z") # 02:30, the first time.
	open(sundays, "2026-10-25T01:30:00Z") # 02:30, the second time.
	open(sundays, "2026-10-25T04:59:00Z") # 05:59 winter time, seven hours after midnight began.
	not open(sundays, "2026-10-25T05:00:00Z")
}

test_a_closed_day_is_closed if {
	not open(day, "2026-12-25T10:00:00Z")
	open(day, "2026-12-24T10:00:00Z")
}

test_outside_hours_a_reviewer_may_be_asked if {
	asking := object.union(day, {"outside": "require_approval"})
	decision := decided(call("2026-01-05T20:00:00Z"), asking)
	decision.effect == "require_approval"
	decision.approval.groups == ["privacy-officers"]
	approved := object.union(call("2026-01-05T20:00:00Z"), {"approval": {"id": "x"}})
	decided(approved, asking).effect == "allow"
}

test_other_roles_are_bound_by_no_hours if {
	document := object.union(call("2026-01-05T20:00:00Z"), {"principal": {"groups": ["clinicians"]}})
	decided(document, day).effect == "allow"
}

test_whoever_is_on_call_is_bound_by_no_hours if {
	document := object.union(call("2026-01-05T20:00:00Z"), {"principal": {"groups": ["analysts", "on-call"]}})
	decided(document, day).effect == "allow"
}

test_the_protocol_itself_has_no_hours if {
	document := object.union(call("2026-01-05T20:00:00Z"), {"message": {"method": "ping", "name": ""}})
	decided(document, day).effect == "allow"
}

test_hours_that_cannot_be_read_are_never_open if {
	every changes in [{"days": null}, {"from": "7"}, {"to": ""}, {"outside": "alow", "days": []}] {
		not open(object.union(day, changes), "2026-01-05T10:00:00Z")
	}
	not open([], "2026-01-05T10:00:00Z")
	not open(null, "2026-01-05T10:00:00Z")
}
