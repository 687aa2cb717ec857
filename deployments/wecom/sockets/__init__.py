"""The long connection of AI bots: one WebSocket a bot across the cluster, kept by whoever holds the bot's lease."""
