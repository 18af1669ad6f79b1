"""What a model file says about itself, as tables."""
