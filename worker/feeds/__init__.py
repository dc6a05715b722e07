"""Feeds: processes that own the one connection to a source of events, and a worker's subscriptions to them."""
