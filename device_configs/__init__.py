"""Descriptions of known devices, one TOML file each; read them with ``importlib.resources``."""
