"""Compares two builds of halotile: bits, time, preparation, planned memory."""
