"""Codecs for types that msgspec does not know. Each library is imported only where a state names one of its types."""
