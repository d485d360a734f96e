"""Interpreters of every level, simulation with outside tools, verification."""
