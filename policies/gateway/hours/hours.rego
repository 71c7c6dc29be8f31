# METADATA
# title: Business hours
# description: >-
#   When a role may call: `settings.guards.hours` says on which days, from when to when, in which time zone, and what
#   happens outside. The time is `input.time`; summer time is the zone's own.
package gateway.hours

default verdict := "deny"

verdict := "allow" if {
	not bound
} else := "allow" if {
	open
} else := "allow" if {
	data.gateway.grants.kind == "protocol"
} else := "require_approval" if {
	times.outside == "require_approval"
}

hours := guards.hours if guards := data.gateway.settings.guards

times := hours.roles[data.gateway.roles.name]

# Whether there are hours for this principal.
default bound := true

bound := false if {
	some group in input.principal.groups
	group in hours.unbound
} else := false if {
	is_object(hours.roles)
	not times
}

default open := false

# Hours that end before they begin go through midnight, and belong to the day on which they begin. Text compares as
# the clock does, once it is known to be a time of day.
open if {
	now := time.parse_rfc3339_ns(input.time)
	at := time.format([now, hours.zone, "15:04"])
	is_time(times.from)
	is_time(times.to)
	within(now, at)
}

within(now, at) if {
	times.from <= times.to
	times.from <= at
	at < times.to
	workday(now)
} else if {
	times.to < times.from
	times.from <= at
	workday(now)
} else if {
	times.to < times.from
	at < times.to
	workday(the_day_before(now))
}

workday(now) if {
	time.weekday([now, hours.zone]) in times.days
	date := time.format([now, hours.zone, "2006-01-02"])
	not date in hours.closed
}

# A time of the day before. Two hours further back than midnight: clocks may have been set back since.
the_day_before(now) := now - (((clock[0] + 2) * 3600) + (clock[1] * 60)) * 1000000000 if {
	clock := time.clock([now, hours.zone])
}

is_time(text) if {
	is_string(text)
	regex.match(`^(?:[01][0-9]|2[0-4]):[0-5][0-9]$`, text)
}

reasons contains {
	"code": "outside_hours",
	"message": "It is outside the hours in which your role may call.",
	"rule": "gateway.hours",
}
