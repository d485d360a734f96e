"""Emitters: they walk the last level of the IR and print; they decide nothing."""
