"""Telling people what happens, by whatever they read: Telegram, Discord, Slack, e-mail, a webhook.

`messages` makes notes of events, `queue` decides what is sent to one target and when, `sender_process` sends it in a
process of its own (`apprise_sender`), and `notifier` is all of them for one bot. A target's URL is a
secret: see `secret_urls`.
"""
