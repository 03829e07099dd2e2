"""From images to features: backbones, descriptors and the files that hold their output."""
