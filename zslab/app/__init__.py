"""Models one can keep, and what is done with them: prediction on one's own images, new classes, pages and figures."""
