"""Pictures: what a frame is, how it lies in a model's input, and how files decode."""
