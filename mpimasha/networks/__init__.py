"""Classifiers without a framework."""
