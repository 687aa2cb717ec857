"""Pictures by address: ``urls`` parses, ``lookups`` finds addresses, ``addresses`` says which are public, ``dialing``
connects, ``body`` receives, ``fetch`` does it all, in fair ``turns``."""
