"""What generative methods share: classification heads and the gate between seen and unseen."""
