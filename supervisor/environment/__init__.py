"""A release's Python and libraries."""
