"""Readers: samples and images, whole or a rank's part of them."""
