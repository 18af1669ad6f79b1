"""A run for months: what a file says, sources to sinks, with logs for machines and a reload."""
