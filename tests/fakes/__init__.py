"""Things of the world that really work, without the world."""
