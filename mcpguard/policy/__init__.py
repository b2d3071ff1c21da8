"""Who may call what: rules in, decisions out. Pure; reads no file and no clock."""
