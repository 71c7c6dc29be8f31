# METADATA
# title: SQL guard
# description: >-
#   What the statements of a call do, from `input.facts.sql`. SQL that was not understood, that changes a schema or that
#   writes to every row of a table is refused, and so are columns that masking would not know again; a read that no key
#   and no small limit bounds needs an approval.
package gateway.sql

default verdict := "deny"

verdict := "allow" if {
	not input.facts.sql
} else := "deny" if {
	data.gateway.masks.hides
} else := "allow" if {
	understood
	every statement in input.facts.sql.statements {
		bounded(statement)
	}
} else := "require_approval" if {
	understood
	every statement in input.facts.sql.statements {
		reads_or_bounded(statement)
	}
}

default understood := false

understood if {
	input.facts.sql.understood == true
	count(input.facts.sql.statements) > 0
}

# Undefined where there is no SQL, or none that was understood.
access := "read" if {
	understood
	every statement in input.facts.sql.statements {
		statement.kind in data.gateway.settings.sql.reads
	}
} else := "write" if {
	input.facts.sql
}

# Only the kinds in settings are bounded at all: DDL, PRAGMA, ATTACH, GRANT and the like never are.
bounded(statement) if {
	statement.keyed == true
	statement.kind in data.gateway.settings.sql.reads
} else if {
	statement.keyed == true
	statement.kind in data.gateway.settings.sql.writes
} else if {
	statement.aggregate == true
	statement.kind in data.gateway.settings.sql.reads
} else if {
	statement.kind == "insert"
	statement.kind in data.gateway.settings.sql.writes
} else if {
	statement.kind in data.gateway.settings.sql.reads
	is_number(statement.limit)
	statement.limit <= data.gateway.roles.rows
}

ordinary(statement) if {
	statement.kind in data.gateway.settings.sql.reads
} else if {
	statement.kind in data.gateway.settings.sql.writes
}

reads_or_bounded(statement) if {
	bounded(statement)
} else if {
	statement.kind in data.gateway.settings.sql.reads
}

reasons contains {
	"code": "sql_not_understood",
	"message": "This SQL could not be read with certainty. Write it plainer, one standard statement at a time.",
	"rule": "gateway.sql",
} if {
	input.facts.sql
	not understood
}

reasons contains {
	"code": "sql_hidden_columns",
	"message": "This would come back under names by which it cannot be masked. Select the columns under their own names.",
	"rule": "gateway.sql",
} if {
	understood
	data.gateway.masks.hides
}

reasons contains {
	"code": "sql_schema_change",
	"message": "Only statements that read, insert, update or delete rows may run; this does something else.",
	"rule": "gateway.sql",
} if {
	understood
	some statement in input.facts.sql.statements
	not ordinary(statement)
}

reasons contains {
	"code": "sql_unbounded_write",
	"message": "This would change every row of a table. Say which rows, with a key in WHERE.",
	"rule": "gateway.sql",
} if {
	understood
	some statement in input.facts.sql.statements
	statement.kind in data.gateway.settings.sql.writes
	not bounded(statement)
}

reasons contains {
	"code": "bulk_select",
	"message": "This reads many records at once: no key and no small LIMIT says which.",
	"rule": "gateway.sql",
} if {
	understood
	some statement in input.facts.sql.statements
	statement.kind in data.gateway.settings.sql.reads
	not bounded(statement)
}
