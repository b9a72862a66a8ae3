"""Prints which package indexes this user's pip would ask, and how it would reach them."""

import json

from pip._internal.commands import create_command

# pip merges its files, its environment variables and its defaults while it reads a command line.
options, _ = create_command("download").parse_args(["placeholder"])
indexes = [] if options.no_index else [options.index_url, *options.extra_index_urls]
print(json.dumps({"indexes": indexes, "proxy": options.proxy or None, "certificates": options.cert or None}))
