# METADATA
# title: SQL guard
# description: >-
#   What the statements of a call do, from `input.facts.sql`. SQL that was not understood, that changes a schema or that
#   writes to every row of a table is refused; a read that no key and no limit bounds is a bulk select.
package gateway.sql

default present := false

present if input.facts.sql

default understood := false

understood if {
	input.facts.sql.understood == true
	count(input.facts.sql.statements) > 0
}

access := "write" if {
	some statement in input.facts.sql.statements
	not statement.kind in data.gateway.settings.sql.reads
}

else := "read" if data.gateway.sql.understood

# Kinds beyond reads and writes: DDL, PRAGMA, ATTACH, GRANT, transaction control and whatever else a dialect has.
default ordinary := false

ordinary if {
	every statement in input.facts.sql.statements {
		ordinary_kind(statement.kind)
	}
}

ordinary_kind(kind) if kind in data.gateway.settings.sql.reads

else if kind in data.gateway.settings.sql.writes

default bounded := false

bounded if {
	every statement in input.facts.sql.statements {
		bounded_statement(statement)
	}
}

bounded_statement(statement) if statement.keyed == true

else if statement.kind == "insert"

else if statement.aggregate == true

else if {
	is_number(statement.limit)
	statement.limit <= data.gateway.roles.terms.rows
	statement.kind in data.gateway.settings.sql.reads
}
