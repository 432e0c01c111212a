"""Who says so: keys, DIDs, signed statements, governance, quorum policies. Pure."""
