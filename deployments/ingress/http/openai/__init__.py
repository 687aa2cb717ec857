"""The OpenAI chat surface: from its request to what the pipeline is asked, and from the reply to its completion."""
