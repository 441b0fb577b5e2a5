"""torch modules as layer graphs, and repairs carried out on a copy of them."""
