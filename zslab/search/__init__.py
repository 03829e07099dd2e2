"""Search of settings on the validation split."""
