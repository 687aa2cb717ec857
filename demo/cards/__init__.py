"""A small classifier of identity and bank cards: its drawn pictures, its training and its evaluation."""
