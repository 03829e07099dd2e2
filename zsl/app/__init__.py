"""Models one can keep, and what is done with them: prediction on one's own pictures, new classes, pages and figures."""
