"""Telling people what happens, by whatever they read: Telegram, Discord, Slack, e-mail, a webhook.

`wording` makes notes of events, `outbox` decides what is sent to one target and when, `courier` has it sent by a
process of its own (`sender`), and `teller` is all of them for one bot. Where a target is, is a secret: see `secret`.
"""
