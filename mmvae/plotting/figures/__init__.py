"""Figures, computed and drawn apart."""
