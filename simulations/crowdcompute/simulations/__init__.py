"""The same protocol code under virtual time: faults, liars, and reports with numbers."""
