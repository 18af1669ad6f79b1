"""A task that this project does not have: one class a picture, from the mean of its last map. One file a package."""
