# METADATA
# title: $title
# description: >-
#   Which tools nobody may call: those in `settings.guards.$name`.
#   Say here what the guard decides instead.
package gateway.$name

# Nothing below holds when an input is not what it should be; then this does.
default verdict := "deny"

# `allow` lets the other guards decide; "require_approval" would hold the call for the reviewers that
# `settings.approvals` names for the code of the reason.
verdict := "allow" if {
	name := input.message.name
	tools := closed # First: what is undefined is nobody's to negate.
	not name in tools
}

closed := guards.$name.tools if guards := data.gateway.settings.guards

# Why, when the verdict is not "allow": the code is for programs, the message for whoever called. It goes into the
# evidence and back to the client, so it quotes nothing of the input.
reasons contains {
	"code": "${name}_closed",
	"message": "Nobody may use this tool. Ask for it to be opened, or use another.",
	"rule": "gateway.$name",
} if {
	input.message.name in closed
}
