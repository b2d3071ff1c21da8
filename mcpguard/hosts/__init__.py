"""What is known of agent hosts, as data. Pure."""
