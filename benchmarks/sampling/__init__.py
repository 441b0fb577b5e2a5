"""Whether statements by samples are as right as they claim to be, and what they cost."""
