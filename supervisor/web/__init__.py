"""Mission control over HTTP: a process of its own beside the supervisor, for people's browsers and for programs.

The supervisor starts it, and it asks the supervisor as any other client does, so whatever comes over HTTP, however slow
or hostile, meets this process and neither a tick nor the supervisor. Nothing in here is imported by the supervisor but
`settings` and `keeper`: the HTTP library is an extra (`pip install neverblink[web]`).
"""
