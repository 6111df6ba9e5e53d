"""What studies keep, drawn and written into the documentation."""
