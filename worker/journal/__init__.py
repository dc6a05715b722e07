"""The journal on disk: directory, segments, retention and fsync."""
