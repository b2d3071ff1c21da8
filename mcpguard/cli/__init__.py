"""One file for each verb, and the shim that hosts start in a server's place."""
