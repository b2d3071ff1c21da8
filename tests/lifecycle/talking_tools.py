"""The definitions of `talking.py`, as it says them."""

SCHEMA = {"type": "object", "properties": {"where": {"type": "string", "x-mcp-header": "Where"}}}
NAMES = ("now", "later", "hang", "ask", "say", "big")
TOOLS = [{"name": name, "description": name, "inputSchema": SCHEMA} for name in NAMES]
