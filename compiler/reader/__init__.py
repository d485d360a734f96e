"""Readers: model files in, ``fastml`` dialect out, bit-exact or refused."""
