"""One thin module per subcommand: parse, call, print. Heavy imports happen inside the functions."""
