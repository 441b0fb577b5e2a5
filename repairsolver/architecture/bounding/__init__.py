"""A lower bound on the price of every repair: a sweep over sets of shapes that overlooks no edit."""
