"""HLS C++: one emitter, and flavours that are data."""
