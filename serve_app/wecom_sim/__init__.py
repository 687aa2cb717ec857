"""A WeCom on this machine, written from its protocol pages and not from our client: for tests and for newcomers.

It signs, encrypts and retries as WeCom does, polls streams, lets pictures expire, keeps quotas, and writes down who has
seen what. Of ``deployments.wecom`` it takes the settings alone, in ``command``: what both sides
get wrong in the same way would go unseen.
"""
