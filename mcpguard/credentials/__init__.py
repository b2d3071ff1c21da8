"""Which part of an environment a server may see, and references to secrets. Pure; never the secrets themselves."""
