"""Windows of the backbone's maps: where they lie, how many a plan keeps, which were computed."""
