"""Methods of others, written anew from their descriptions, to compare with; the tool rests on none."""
