"""Remote stores: wheels and bytecode in object stores and on web servers, fetched and pushed whole.

No file is placed from a remote store. It has immutable objects, named by content.
"""
