"""Constant matrix-vector multiplication as graphs of shifted additions."""
