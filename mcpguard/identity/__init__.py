"""Facts about a peer, as values. Pure; `system` asks the kernel."""
