"""Learn latencies from tables and predict networks that were never measured."""
