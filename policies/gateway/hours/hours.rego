# METADATA
# title: Business hours
# description: >-
#   When a role may call: `settings.guards.hours` says on which days, from when to when, in which time zone, and what
#   happens outside. The time is `input.time`; summer time is the zone's own.
package gateway.hours

default verdict := "deny"

verdict := "allow" if {
	settings := data.gateway.settings
	hours := settings.guards.hours
	open(hours, hours.roles[data.gateway.roles.acting(settings)])
} else := "allow" if {
	some group in input.principal.groups
	group in guards.hours.unbound
} else := "allow" if {
	is_object(guards.hours.roles)
	not times
} else := "allow" if {
	data.gateway.grants.kind == "protocol"
} else := "require_approval" if {
	times.outside == "require_approval"
}

guards := data.gateway.settings.guards

# Undefined for a role that no hours bind.
times := roles[data.gateway.roles.name] if roles := guards.hours.roles

# Hours that end before they begin go through midnight, and belong to the day on which they begin. Text compares as
# the clock does, once it is known to be a time of day.
open(hours, of_role) if {
	# What nanoseconds in 64 bits cannot say is no error, but outside all hours.
	input.time > "1970"
	input.time < "2200"
	now := time.parse_rfc3339_ns(input.time)
	at := time.format([now, hours.zone, "15:04"])
	is_time(of_role.from)
	is_time(of_role.to)
	within(now, at, hours, of_role)
}

within(now, at, hours, of_role) if {
	of_role.from <= of_role.to
	of_role.from <= at
	at < of_role.to
	workday(now, hours, of_role)
} else if {
	of_role.to < of_role.from
	of_role.from <= at
	workday(now, hours, of_role)
} else if {
	of_role.to < of_role.from
	at < of_role.to
	workday(the_day_before(now, hours.zone), hours, of_role)
}

workday(now, hours, of_role) if {
	time.weekday([now, hours.zone]) in of_role.days
	date := time.format([now, hours.zone, "2006-01-02"])
	not closed(hours, date)
}

closed(hours, date) if date in hours.closed

# A time of the day before. Two hours further back than midnight: clocks may have been set back since.
the_day_before(now, zone) := now - (((clock[0] + 2) * 3600) + (clock[1] * 60)) * 1000000000 if {
	clock := time.clock([now, zone])
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
