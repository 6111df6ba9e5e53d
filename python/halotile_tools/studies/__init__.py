"""Measurements and verifications of halotile alone."""
