"""MCP on the wire: framing, strict JSON, message shapes, methods by era. Pure; no opinions on who may do what."""
