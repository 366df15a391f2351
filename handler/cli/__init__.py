"""The command line: files, folders, patterns and buckets in; lines for people, JSON or COCO results out.

::

    parser.py      the options
    commands.py    options -> a question
    sources.py     names -> images
    work.py        images -> answers, one after the other
    output.py      answers -> stdout or a file that can be gone on with
    pictures.py    where drawn pictures go
    completion.py  scripts for shells
"""
