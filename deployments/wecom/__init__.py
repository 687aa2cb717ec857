"""The chat platform: WeCom's callbacks in, answers about pictures out, nothing lost in between."""
