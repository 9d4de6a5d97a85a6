"""Incidents: the book in which everybody involved writes, and who is told of it."""
