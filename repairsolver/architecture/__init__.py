"""Repair of layer graphs: the cheapest edits after which all layers fit together, with a proof."""
