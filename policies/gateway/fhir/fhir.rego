# METADATA
# title: FHIR guard
# description: >-
#   What a FHIR request would do, from `input.facts.fhir`. One that servers may read in different ways is refused, and
#   so are includes, operations and page sizes beyond `settings.guards.fhir`, and changes of whatever matches. What is
#   bound to no patient's compartment is a bulk request.
package gateway.fhir

default verdict := "deny"

verdict := "allow" if {
	is_object(input.facts)
	not input.facts.fhir
} else := "allow" if {
	understood
	every request in input.facts.fhir.requests {
		acceptable(request)
		bounded(request)
	}
} else := "require_approval" if {
	understood
	limits.bulk == "require_approval"
	every request in input.facts.fhir.requests {
		acceptable(request)
	}
}

limits := guards.fhir if guards := data.gateway.settings.guards

default understood := false

understood if {
	input.facts.fhir.understood == true
	count(input.facts.fhir.requests) > 0
}

# Undefined where there is no FHIR request. Does not depend on the settings: `gateway.tools` asks it whatever is on.
access := "read" if {
	understood
	every request in input.facts.fhir.requests {
		request.writes == false
	}
} else := "write" if {
	input.facts.fhir
}

acceptable(request) if {
	request.conditional == false
	counted(request)
	operable(request)
	included(request)
}

counted(request) if {
	is_null(request.count)
} else if {
	is_number(limits.count)
	request.count <= limits.count
}

operable(request) if {
	request.operation == ""
} else if {
	request.operation in limits.operations
} else if {
	bulk(request)
}

bulk(request) if request.operation in limits.bulk_operations

included(request) if {
	every include in request.includes {
		include in limits.includes
	}
	every include in request.revincludes {
		include in limits.revincludes
	}
	followed(request)
}

followed(request) if {
	request.iterate == false
} else if {
	limits.iterate == true
}

bounded(request) if {
	# Numbers alone, or what the server can do.
	request.interaction == "search"
	request.summary == "count"
} else if {
	request.interaction == "capabilities"
} else if {
	request.interaction in ["create", "update", "patch", "delete"]
} else if {
	request.type in limits.free
	not bulk(request)
} else if {
	request.compartment in limits.compartments
	is_number(limits.patients)
	count(request.patients) <= limits.patients
	not bulk(request)
} else if {
	# One record by its id, whosever it is.
	request.interaction in ["read", "vread", "history"]
	request.id != ""
	role_limit == "searches"
} else if {
	role_limit == "nothing"
	not bulk(request)
}

# What the role must bind to a compartment: `everything`, `searches` or `nothing`.
default role_limit := "searches"

role_limit := limits.roles[data.gateway.roles.name]

reasons contains {
	"code": "fhir_not_understood",
	"message": "This FHIR request could be read in more than one way. Write it plainly, as the specification shows it.",
	"rule": "gateway.fhir",
} if {
	not understood
}

reasons contains {
	"code": "fhir_conditional",
	"message": "This would change whatever matches a search. Name the one resource by its id.",
	"rule": "gateway.fhir",
} if {
	some request in input.facts.fhir.requests
	request.conditional == true
}

reasons contains {
	"code": "fhir_count",
	"message": "This asks for larger pages than are allowed. Give a smaller _count.",
	"rule": "gateway.fhir",
} if {
	some request in input.facts.fhir.requests
	not counted(request)
}

reasons contains {
	"code": "fhir_operation",
	"message": "This FHIR operation is not open here.",
	"rule": "gateway.fhir",
} if {
	some request in input.facts.fhir.requests
	not operable(request)
}

reasons contains {
	"code": "fhir_include",
	"message": "This includes other resources than may be included. Ask for them by requests of their own.",
	"rule": "gateway.fhir",
} if {
	some request in input.facts.fhir.requests
	not included(request)
}

reasons contains {
	"code": "fhir_bulk",
	"message": "This reads the records of many patients at once. Bind it to one, as in Patient/[id]/Observation.",
	"rule": "gateway.fhir",
} if {
	understood
	some request in input.facts.fhir.requests
	not bounded(request)
}
