"""What sampling can say: statements about the probability of a violation, with a confidence."""
