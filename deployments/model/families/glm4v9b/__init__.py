"""GLM-4V-9B (``chatglm`` with a ``vision_config``), from the files as they are published."""
