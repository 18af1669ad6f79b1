"""Frames on their way from sources to outlets, while they are alive."""
