"""What a run leaves behind: its folder, records of epochs, results."""
