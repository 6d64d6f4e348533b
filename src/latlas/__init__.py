"""latlas: an atlas of on-device latency.

Three sub-packages, each importing only those to its left::

    latlas.device_configs  <-  latlas.profiler  <-  latlas.predictor  <-  latlas.search
"""

__version__ = "0.1.0"
