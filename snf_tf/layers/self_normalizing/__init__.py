"""Self normalizing layers: they keep an approximate inverse, and train by it."""
