"""TF-VAEGAN: networks, losses, training steps, synthesis and trainer (Narayan et al., ECCV 2020)."""
