"""Which part of an environment, and later which secrets, a server may see. Pure; never the secrets themselves."""
