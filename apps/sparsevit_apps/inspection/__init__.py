"""What a model file says about itself, and what follows from it."""
