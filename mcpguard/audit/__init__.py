"""What happened, in order: records and the chain that binds them. Pure; the journal in `system` does the writing."""
