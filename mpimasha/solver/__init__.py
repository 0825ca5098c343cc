"""`solve`, from the first round to the last: the loop, what ends it, and what looks on."""
