"""The latency profiler: measure, report, show."""
