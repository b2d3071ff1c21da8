"""The reference monitor: events in, commands out. Pure; the daemon feeds it and carries out what it says."""
