"""Profiles and soaks as tables and pictures."""
