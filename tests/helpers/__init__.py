"""What several test files need: tiny data sets, small trainers, naive references."""
