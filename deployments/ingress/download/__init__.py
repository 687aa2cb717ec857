"""Pictures by address: ``urls`` parses, ``addresses`` says what is public, ``dialing`` connects, ``fetch`` fetches."""
