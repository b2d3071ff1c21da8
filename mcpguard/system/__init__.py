"""The kernel and the disk; each file answers one question. I/O."""
