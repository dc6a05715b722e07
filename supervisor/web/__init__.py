"""The web page and the HTTP interface, in a separate process.

The supervisor starts that process, which is an ordinary client of the supervisor. So slow or hostile HTTP traffic
affects only this process, never a tick or the supervisor. The supervisor imports only `web_process` from here, because
the HTTP library is an extra (`pip install neverblink[web]`).
"""
