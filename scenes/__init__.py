"""Rendered people in rendered places, with exact truth: a demo, a test bench and a source of training pictures."""
