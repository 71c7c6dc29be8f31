# METADATA
# title: Tools
# description: >-
#   What calling a tool does: `read`, `write` or `deny`. SQL that was understood tells it best, then the organisation
#   (`settings.tools`), then the upstream's own `readOnlyHint`. A tool that nobody vouches for writes.
package gateway.tools

default access := "write"

access := "write" if data.gateway.sql.access == "write"

else := said if said := data.gateway.settings.tools[input.upstream.name][input.message.name]

else := "read" if data.gateway.sql.access == "read"

else := "read" if input.tool.annotations.readOnlyHint == true
