"""Who dies, how, and what is left: everything through the real `mcpguard run`."""
