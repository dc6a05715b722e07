"""`git push live main`: the hooks of a bare repository, and what they do on a push.

`install` puts them there and takes them away, `receive` is what runs in a push. Between the two stands only the small
shell script `bin/post-receive`, which finds the interpreter that installed it.
"""
