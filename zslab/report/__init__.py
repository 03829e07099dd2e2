"""Tables, plots and HTML reports of finished runs."""
