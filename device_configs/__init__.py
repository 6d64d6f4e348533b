"""Known phones, one TOML file each; `latlas.profiler.device_config` reads and explains them.

They state what is publicly known; what is not certain is left out, and none has been compared with
a phone. Phones of one name with different systems on chip are separate files.
"""
