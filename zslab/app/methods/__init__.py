"""Methods that a model file may hold; each module registers its own, see `zslab.app.methods.base`."""
