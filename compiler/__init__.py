"""The drivers ``fastmlc`` and ``fastml-opt``, readers, emitters and what they share."""
