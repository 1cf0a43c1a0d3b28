"""Molecules and their assays."""
