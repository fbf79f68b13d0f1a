"""BuyerService: histories of interactions to vectors."""
