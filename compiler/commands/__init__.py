"""The sub-commands of ``fastmlc``, one module each."""
