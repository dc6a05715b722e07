"""The demo: a small market, a bot, and deployments that succeed and fail."""
