"""The life of a job: starting ranks, what they exchange, noticing that one is missing, ending together."""
