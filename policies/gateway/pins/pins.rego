# METADATA
# title: Tool pins
# description: >-
#   What becomes of a tool that is no longer defined as it was when it was accepted: `settings.changed_tools` is `hide`,
#   `deny`, `require_approval` or `ignore`. Guards calls of such a tool, and no others. Anything else than these words
#   hides it.
package gateway.pins

default verdict := "deny"

verdict := "allow" if {
	data.gateway.settings.changed_tools == "ignore"
} else := "require_approval" if {
	data.gateway.settings.changed_tools == "require_approval"
}

default listed := false

# Whether a changed tool is still offered.
listed if data.gateway.settings.changed_tools in ["deny", "require_approval", "ignore"]

reasons contains {
	"code": "tool_changed",
	"message": "This tool is not defined any more as it was accepted. Whoever runs the gateway must look at it first.",
	"rule": "gateway.pins",
}
