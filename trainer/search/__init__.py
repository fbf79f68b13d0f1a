"""Search by text: the index of words, and how much words count beside the vectors."""
