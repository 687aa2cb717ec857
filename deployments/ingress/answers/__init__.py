"""Answers given before, or being computed: cache, single flight, and what is masked before an answer is told."""
