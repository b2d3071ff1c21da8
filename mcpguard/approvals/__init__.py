"""Questions to people: tickets, grants, and the words that a person reads."""
