"""TFLite's benchmark_model: its command line, and what it prints."""
