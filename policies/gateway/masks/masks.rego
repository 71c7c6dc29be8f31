# METADATA
# title: Masks
# description: >-
#   The mask plan for what an upstream says: the role's profile in `settings.masks`, and before it a rule for each name
#   that SQL gives to a column which the profile masks. Of what describes the upstream itself, what the profile does to
#   `settings.identifiers`. A role whose profile is missing gets no plan, and then nothing.
package gateway.masks

# The plan, the short way: most results are of no SQL, or of columns that keep their names.
plan_under(settings, role) := whole if {
	not descriptive(settings)
	not input.facts.sql
	whole := base_under(settings, role)
} else := whole if {
	not descriptive(settings)
	input.facts.sql.outputs == []
	whole := base_under(settings, role)
} else := plan

plan := identifying if {
	descriptive(data.gateway.settings)
	is_array(base)
	is_array(data.gateway.settings.identifiers)
} else := base if {
	not input.facts.sql
} else := base if {
	input.facts.sql.outputs == []
} else := array.concat(renamed, base) if {
	not hides
}

# Of what describes the upstream, only identifiers that nobody takes for an ordinary word or date: a cursor, `_meta` and
# the prose may quote a patient, and a definition must reach the client as it is.
identifying := [{"select": {"class": class}, "operator": operator} |
	some class in data.gateway.settings.identifiers
	operator := of_class(class)
]

# Whether a year of birth gives away an age over 89 depends on the year it is now; the engine has no clock. Only the
# year: an answer that stays the same from call to call is read once.
base := base_under(data.gateway.settings, data.gateway.roles.terms)

base_under(settings, role) := rules(settings.masks[chosen(settings, role)])

rules(profile) := array.concat([birth_year], profile.rules) if {
	profile.birth_years == true
	this_year := substring(input.time, 0, 4)
	birth_year := {"select": {"class": "BIRTH_DATE"}, "operator": {"name": "generalise", "as_of": this_year}}
} else := profile.rules

# The purpose of use may choose another profile than the role's.
chosen(settings, role) := mask if {
	settings.guards.purpose
	mask := data.gateway.purpose.mask
} else := role.mask

redact := {"name": "redact"}

# The class whose rule takes a class that has none of its own, before `PHI` does.
wider := {"ZIP": "GEO", "BIRTH_DATE": "DATE", "AGE": "DATE"}

renamed := [{"select": {"field": field}, "operator": operator} |
	some output in input.facts.sql.outputs
	operator := operator_of(output)
	some field in output.fields
]

# Undefined where the profile leaves what the output holds as it is. A value computed of what is masked is masked as a
# whole, whatever would be left of the original. A field that is kept is kept under its own name only.
operator_of(output) := operator if {
	count(output.classes) == 1
	output.transformed == false
	count(selected_fields) == 0
	operator := of_class(output.classes[0])
	operator.name != "keep"
} else := redact if {
	some class in output.classes
	of_class(class).name != "keep"
} else := redact if {
	some source in output.sources
	source in selected_fields
}

selected_fields := {rule.select.field | some rule in base; rule.operator.name != "keep"}

# PHI is said of computed free text, in which nothing can be found any more.
of_class(class) := redact if {
	class == "PHI"
	count(base) > 0
} else := given[class] if {
	given[class]
} else := given[wider[class]] if {
	given[wider[class]]
} else := given.PHI

# The first rule for a class counts.
given := object.union_n([{class: rule.operator} |
	some rule in array.reverse(base)
	class := rule.select["class"]
])

default hides := false

# Whether something that the profile masks would come back under a name that nobody can tell beforehand.
hides if {
	# What comes of a task is asked for by an id, and then nobody knows of the SQL that it ran.
	input.facts.sql
	input.result.task == true
	count(base) > 0
} else if {
	input.facts.sql
	not told
} else if {
	some output in input.facts.sql.outputs
	hidden(output)
}

default told := false

told if is_array(input.facts.sql.outputs)

hidden(output) if {
	output.unresolved == true
	count(base) > 0
} else if {
	count(output.fields) == 0
	operator_of(output)
} else if {
	# A name that no mask rule could select by.
	some field in output.fields
	not regex.match(`[a-z0-9]`, field)
}

# What describes the upstream itself is not about a patient; masking names and dates in a tool's schema would break it.
descriptive(settings) if {
	input.result.kind == "success"
	input.message.method in settings.descriptive
}
