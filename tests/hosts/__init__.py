"""What is known of agent hosts stays true to its sources."""
