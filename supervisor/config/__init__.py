"""neverblink.toml: every section, typed and strict."""
