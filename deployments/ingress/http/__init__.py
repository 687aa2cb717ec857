"""Everything that speaks HTTP: the application, its surfaces (REST, OpenAI, page), and what stands before them."""
