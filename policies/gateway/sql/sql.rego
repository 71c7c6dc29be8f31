# METADATA
# title: SQL guard
# description: >-
#   What the statements of a call do, from `input.facts.sql`. SQL that was not understood, that changes a schema or that
#   writes to every row of a table is refused, and so are columns that masking would not know again; a read that no key
#   and no small limit bounds needs an approval.
package gateway.sql

default verdict := "deny"

verdict := "allow" if {
	# Facts that are missing settle nothing.
	is_object(input.facts)
	not input.facts.sql
} else := "allow" if {
	# Nothing comes back under another name, so nothing is hidden.
	input.facts.sql.outputs == []
	all_bounded(data.gateway.settings.sql)
} else := "deny" if {
	data.gateway.masks.hides
} else := "allow" if {
	all_bounded(data.gateway.settings.sql)
} else := "require_approval" if {
	understood
	kinds := data.gateway.settings.sql
	every statement in input.facts.sql.statements {
		reads_or_bounded(statement, kinds)
	}
}

# The same: most calls are of no SQL, or of such that hides nothing.
permits(settings, facts) if {
	is_object(facts)
	not facts.sql
} else if {
	facts.sql.outputs == []
	all_bounded(settings.sql)
} else if {
	verdict == "allow"
}

all_bounded(kinds) if {
	understood
	every statement in input.facts.sql.statements {
		bounded(statement, kinds)
	}
}

default understood := false

understood if {
	input.facts.sql.understood == true
	count(input.facts.sql.statements) > 0
}

# Undefined where there is no SQL.
access_under(settings) := "read" if {
	understood
	every statement in input.facts.sql.statements {
		statement.kind in settings.sql.reads
	}
} else := "write" if {
	input.facts.sql
}

# Only the kinds in settings are bounded at all: DDL, PRAGMA, ATTACH, GRANT and the like never are.
bounded(statement, kinds) if {
	statement.keyed == true
	statement.kind in kinds.reads
} else if {
	statement.keyed == true
	statement.kind in kinds.writes
} else if {
	statement.aggregate == true
	statement.kind in kinds.reads
} else if {
	# It reads no table, and calls nothing that could.
	statement.tables == []
	statement.functions == []
	statement.kind in kinds.reads
} else if {
	statement.kind == "insert"
	statement.kind in kinds.writes
} else if {
	statement.kind in kinds.reads
	is_number(statement.limit)
	rows := data.gateway.roles.terms.rows
	is_number(rows)
	statement.limit <= rows
}

ordinary(statement, kinds) if {
	statement.kind in kinds.reads
} else if {
	statement.kind in kinds.writes
}

reads_or_bounded(statement, kinds) if {
	bounded(statement, kinds)
} else if {
	statement.kind in kinds.reads
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
	kinds := data.gateway.settings.sql
	some statement in input.facts.sql.statements
	not ordinary(statement, kinds)
}

reasons contains {
	"code": "sql_unbounded_write",
	"message": "This would change every row of a table. Say which rows, with a key in WHERE.",
	"rule": "gateway.sql",
} if {
	understood
	kinds := data.gateway.settings.sql
	some statement in input.facts.sql.statements
	statement.kind in kinds.writes
	not bounded(statement, kinds)
}

reasons contains {
	"code": "bulk_select",
	"message": "This reads many records at once: no key and no small LIMIT says which.",
	"rule": "gateway.sql",
} if {
	understood
	kinds := data.gateway.settings.sql
	some statement in input.facts.sql.statements
	statement.kind in kinds.reads
	not bounded(statement, kinds)
}
