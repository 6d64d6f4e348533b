"""Run models with LiteRT on this machine."""
