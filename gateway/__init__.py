"""phigate: a policy-as-code gateway between AI agents and the MCP servers that reach protected health information."""
