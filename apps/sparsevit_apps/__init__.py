"""The `sparsevit` command and what stands behind its subcommands."""
