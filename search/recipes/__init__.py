"""Training recipes as TOML: the published ones, and one for digits."""
