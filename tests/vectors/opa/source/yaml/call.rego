# METADATA
# title: Who may call
# entrypoint: true
package gateway.call

default decision := {"effect": "deny"}

# METADATA
# title: Readers read
decision := {"effect": "allow"} if {
	input.rows <= data.gateway.settings.rows
	not input.ward in data.clinic.closed
}
