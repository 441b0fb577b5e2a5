"""Results for people and programs: sentences, JSON records and pictures, from results alone."""
