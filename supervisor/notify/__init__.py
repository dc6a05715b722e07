"""Notifications to people: Telegram, Discord, Slack, e-mail, a webhook.

`messages` turns events into notes. Each target has one queue (`queue`, which decides what is sent and when) and one
sender (`sender_process`, a child that runs `apprise_sender`); `notifier` connects them for one bot. A target's URL is a
secret: see `secret_urls`.
"""
